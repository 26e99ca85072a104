"""Which inputs of which nodes are quantised, for which engine.

TensorRT recommends to quantise all inputs of products with weights, no outputs, and the residual input of skip connections
(https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/quantized-types-explicit-quantization.html,
"Q/DQ Layer-Placement Recommendations"). Its INT8 attention kernels support heads 16, 32 or 64 wide and at most 512 tokens
(https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/transformers-fused-attention.html); elsewhere
Q/DQ in attention would only break the fused kernel. CPUs have no such limits: there the products of every
attention are quantised, and no residuals, which were neither faster nor more accurate in measurements.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, NamedTuple

from onnx import NodeProto

from mar_edge.model.graph_view import GraphView, Product
from mar_edge.model_spec import Placement
from mar_edge.node_names import is_product, part_of, product_part

FUSIBLE_HEADS = (16, 32, 64)
"""Widths of a head that TensorRT's INT8 attention supports."""

FUSIBLE_TOKENS = 512
"""Longest sequence that TensorRT's INT8 attention supports."""

Kind = Literal["weights", "attention", "residual"]


class Site(NamedTuple):
    """One input that is quantised.

    Attributes:
        node: name of the node.
        operand: index of its input.
        tensor: the input's tensor in the FP32 graph.
        kind: role of the input.
    """

    node: str
    operand: int
    tensor: str
    kind: Kind


def sites(view: GraphView, placement: Placement, *, residuals: bool = True, kept: Collection[str] = ()) -> list[Site]:
    """Return all activations that a placement quantises, in the graph's order.

    Args:
        view: a graph without Q/DQ.
        placement: `cpu` or `tensorrt`.
        residuals: whether `tensorrt` quantises the residual inputs of skip connections.
        kept: parts and blocks that stay unchanged, such as `encoder.blocks.3`, `encoder.blocks.3.attn.mix` or
            `classifier.head`.
    """
    products = {product.node.name: product for product in view.products}
    attention = _attention(view, placement, kept)
    found: list[Site] = []
    for node in view.nodes:
        if is_kept(node.name, kept):
            continue
        product = products.get(node.name)
        if product is not None and product.role == "weights":
            found.append(Site(node.name, 0, node.input[0], "weights"))
        elif node.name in attention:
            found += [Site(node.name, operand, node.input[operand], "attention") for operand in (0, 1)]
        elif placement == "tensorrt" and residuals and (operand := residual_input(view, node)) is not None:
            found.append(Site(node.name, operand, node.input[operand], "residual"))
    return found


def _attention(view: GraphView, placement: Placement, kept: Collection[str]) -> set[str]:
    """Return the products of attention that may be quantised; TensorRT's kernel has both in INT8 or none."""
    inner = [product for product in view.products if product.role != "weights"]
    found: set[str] = set()
    for scores, mix in zip(inner[::2], inner[1::2], strict=True):
        names = {scores.node.name, mix.node.name}
        if placement == "cpu" or (fits_attention(view, scores) and not any(is_kept(name, kept) for name in names)):
            found |= names
    return found


def fits_attention(view: GraphView, scores: Product) -> bool:
    """Return whether TensorRT can run an attention in INT8, from its first product, (B, heads, tokens, width) queries and turned keys."""
    query, key = (view.shapes[name] for name in scores.node.input[:2])
    return query[-1] in FUSIBLE_HEADS and max(query[-2], key[-1]) <= FUSIBLE_TOKENS


def residual_input(view: GraphView, node: NodeProto) -> int | None:
    """Return which input of an addition skips the branch; None if it is not a skip connection."""
    if node.op_type != "Add" or any(name in view.constants for name in node.input):
        return None
    # the branch begins where the skip does, so the skipping tensor has another consumer; an input of the graph is a bias
    return next(
        (i for i, name in enumerate(node.input) if name in view.producer and len(view.consumers[name]) > 1), None
    )


def is_kept(name: str, kept: Collection[str]) -> bool:
    """Return whether a node belongs to one of the parts or blocks that are kept; products have the names of their steps."""
    part = product_part(name) if is_product(name) else part_of(name)
    return any(part == other or part.startswith(f"{other}.") for other in kept)


def int8_share(view: GraphView, placement: Placement, kept: Collection[str] = ()) -> float:
    """Return the share of the multiply-accumulates that run in INT8."""
    quantised = {site.node for site in sites(view, placement, kept=kept)}
    total = sum(product.macs for product in view.products)
    return sum(product.macs for product in view.products if product.node.name in quantised) / max(1, total)
