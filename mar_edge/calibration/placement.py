"""Which inputs of which nodes are quantised, and for whom.

TensorRT advises to quantise all inputs of products with weights, no outputs, and the residual input of skip connections
(https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/quantized-types-explicit-quantization.html,
"Q/DQ Layer-Placement Recommendations"). Its INT8 attention kernels take heads 16, 32 or 64 wide and at most 512 tokens
(https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/transformers-fused-attention.html); elsewhere
Q/DQ in attention would only tear the fused kernel apart. CPUs have no such limits: there both products of every
attention are quantised, and no residual, which measured neither faster nor more exact.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, NamedTuple

from onnx import NodeProto

from mar_edge.bundle import Placement
from mar_edge.model.graph_view import GraphView, Product, part_of

FUSIBLE_HEADS = (16, 32, 64)
"""Widths of a head that TensorRT's INT8 attention takes."""

FUSIBLE_TOKENS = 512
"""Longest sequence that TensorRT's INT8 attention takes."""

Kind = Literal["weights", "attention", "residual"]


class Site(NamedTuple):
    """One input that is quantised.

    Attributes:
        node: name of the node.
        operand: which of its inputs.
        tensor: what the input is in the FP32 graph.
        kind: what the node does with it.
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
        kept: parts and blocks that stay as they are, as `encoder.blocks.3` or `classifier.head`.
    """
    products = {product.node.name: product for product in view.products}
    found: list[Site] = []
    fusible = False
    for node in view.nodes:
        product = products.get(node.name)
        if product is not None and product.role == "scores":
            fusible = fits_attention(view, product)  # holds for the product with the values that follows
        if is_kept(node.name, kept):
            continue
        if product is not None:
            found += _product_sites(product, attention=placement == "cpu" or fusible)
        elif placement == "tensorrt" and residuals and (index := residual_input(view, node)) is not None:
            found.append(Site(node.name, index, node.input[index], "residual"))
    return found


def _product_sites(product: Product, *, attention: bool) -> list[Site]:
    node = product.node
    if product.role == "weights":
        return [Site(node.name, 0, node.input[0], "weights")]
    return [Site(node.name, index, node.input[index], "attention") for index in (0, 1)] if attention else []


def fits_attention(view: GraphView, scores: Product) -> bool:
    """Tell whether TensorRT can run an attention in INT8, from its first product, (B, heads, tokens, width) inputs."""
    *_, tokens, width = view.shapes[scores.node.input[0]]
    return width in FUSIBLE_HEADS and tokens <= FUSIBLE_TOKENS


def residual_input(view: GraphView, node: NodeProto) -> int | None:
    """Return which input of an addition skips the branch; None for what is no skip connection."""
    if node.op_type != "Add" or any(name in view.constants for name in node.input):
        return None
    # the branch begins where the skip does, so what skips has another consumer
    return next((index for index, name in enumerate(node.input) if len(view.consumers[name]) > 1), None)


def is_kept(name: str, kept: Collection[str]) -> bool:
    """Tell whether a node belongs to one of the parts or blocks that are kept."""
    part = part_of(name)
    return any(part == other or part.startswith(f"{other}.") for other in kept)


def int8_share(view: GraphView, placement: Placement, kept: Collection[str] = ()) -> float:
    """Return the share of the multiply-accumulates that run in INT8."""
    quantised = {site.node for site in sites(view, placement, kept=kept)}
    total = sum(product.macs for product in view.products)
    return sum(product.macs for product in view.products if product.node.name in quantised) / max(1, total)
