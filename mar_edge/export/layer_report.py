"""Reports a graph block by block: operators, the precision found in it, its work, and fusion in TensorRT.

Precision is read from the graph (types of tensors, Q/DQ), never from the manifest. Fusion in TensorRT follows its
documentation, not a built engine; only the layer report of a built engine proves it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from onnx import NodeProto

from mar_edge.calibration.placement import FUSIBLE_HEADS, FUSIBLE_TOKENS
from mar_edge.export.half.parts import leaves
from mar_edge.export.tensor_types import NAMES, element_types
from mar_edge.model.graph_view import GraphView, Product
from mar_edge.node_names import block_of, part_of

_GELU = ("Div", "Erf", "Add", "Mul", "Mul")
_CONVERSIONS = {"Cast", "QuantizeLinear", "DequantizeLinear"}
_SILENT = {"Reshape", "Transpose", "Split", "Identity", "Mul", "Div", "Sub"}
"""Operators that move or scale numbers and are not listed, unless a step has no others."""

_PIXELS = ("", "encoder")
"""Parts of the nodes from pixels to normalised tubelets: one step without separate rows."""

_HALF_HEADS = range(16, 257, 8)


class Fusion(NamedTuple):
    """Fusion of a step in TensorRT.

    Attributes:
        one_kernel: whether it can compute the step in one kernel; None if only an engine's report can show it.
        why: the reason, if it is not obvious.
    """

    one_kernel: bool | None
    why: str = ""


@dataclass(frozen=True)
class Step:
    """Operators that belong together: a product with the following operators, an attention, a norm.

    Attributes:
        name: inside its block, such as `attn.qkv`.
        operators: in words.
        precision: of the products, or of the inputs of a step without products.
        macs: multiply-accumulates of one clip.
        fusion: its fusion in TensorRT.
    """

    name: str
    operators: str
    precision: str
    macs: int
    fusion: Fusion


@dataclass(frozen=True)
class Blocks:
    """Identical neighbouring blocks.

    Attributes:
        name: such as `encoder.blocks.0`, `encoder.blocks.0 to 11`; empty for the nodes from pixels to normalised tubelets.
        count: number of blocks.
        steps: of each.
    """

    name: str
    count: int
    steps: tuple[Step, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all of them."""
        return self.count * sum(step.macs for step in self.steps)


def report(path: Path) -> list[Blocks]:
    """Describe a graph that mar-edge exported, in its order.

    Raises:
        ExportError: if it cannot be read, or contains an operator that our graphs do not have.
    """
    return _merged(_blocks(GraphView.read(path)))


def _merged(blocks: Iterable[Blocks]) -> list[Blocks]:
    """Join neighbouring blocks of a stack that have the same steps."""
    merged: list[Blocks] = []
    for (stack, _), group in groupby(blocks, lambda block: (_stack_of(block.name), block.steps)):
        same = list(group)
        first, last = same[0].name, same[-1].name
        name = first if len(same) == 1 or not stack else f"{first} to {last.rpartition('.')[2]}"
        merged.append(Blocks(name, len(same), same[0].steps))
    return merged


def _stack_of(name: str) -> str:
    head, found, _ = name.partition(".blocks.")
    return f"{head}.blocks" if found else name


def _blocks(view: GraphView) -> Iterator[Blocks]:
    names = {int(kind): name for kind, name in NAMES.items()}
    types = {name: names.get(kind, "other") for name, kind in element_types(view.model).items()}
    for name, group in groupby(_drafts(view), lambda draft: block_of(draft.nodes[0].name)):
        yield Blocks(name, 1, tuple(draft.step(view, types, name) for draft in group))


@dataclass
class _Draft:
    """Nodes of a step, while it is collected."""

    nodes: list[NodeProto] = field(default_factory=list)
    products: list[Product] = field(default_factory=list)
    rotary: bool = False

    def step(self, view: GraphView, types: dict[str, str], block: str) -> Step:
        part = part_of(self.nodes[0].name)
        name = part.removeprefix(block).removeprefix(".") if part != block else ""
        if self.products and self.products[0].role == "weights" and name == "attn":
            name = "attn.qkv"
        precision = self._precision(view, types)
        if self.rotary:
            name, operators = f"{name}.rotary", "turn by time + kept keys and values"
        else:
            operators = " + ".join(_words(view, self.nodes)) if part else _ends(self.nodes)
        return Step(
            name=name,
            operators=operators,
            precision=precision,
            macs=sum(product.macs for product in self.products),
            fusion=self._fusion(view, types, precision),
        )

    def _precision(self, view: GraphView, types: dict[str, str]) -> str:
        if self.products:
            found = [_product_precision(view, product.node, types) for product in self.products]
            return " and ".join(dict.fromkeys(found))
        taken = [name for node in self.nodes for name in node.input]
        return types["frames" if "frames" in taken else taken[0]]

    def _fusion(self, view: GraphView, types: dict[str, str], precision: str) -> Fusion:
        if not self.products:
            return _fusion_without_products(self.nodes, precision)
        if "uint8" in precision:
            return Fusion(False, "TensorRT does not support UINT8 products")
        if self.products[0].role == "weights":
            return Fusion(True)
        (*_, queries, width), (*_, keys) = (view.shapes[name] for name in self.products[0].node.input[:2])
        tokens = max(queries, keys)
        if reason := why_not_fused(precision, head_width=width, tokens=tokens):
            return Fusion(False, reason)
        softmax = next(node for node in self.nodes if node.op_type == "Softmax")
        inside = types[softmax.input[0]]
        if precision != "int8" and inside != precision:
            return Fusion(None, f"softmax is in {inside}, between casts: see an engine's report")
        return Fusion(True, f"head width {width}, {tokens} tokens")


def why_not_fused(precision: str, *, head_width: int, tokens: int) -> str | None:
    """Return why TensorRT cannot compute an attention in one kernel.

    Args:
        precision: of both products.
        head_width: width of a head's query.
        tokens: number of tokens that attend to each other.

    Returns:
        The reason; None if it can. Source: TensorRT's documentation, "Fused Attention".
    """
    if precision == "int8":
        reasons = []
        if head_width not in FUSIBLE_HEADS:
            reasons.append(f"head width {head_width} is not {', '.join(map(str, FUSIBLE_HEADS))}")
        if tokens > FUSIBLE_TOKENS:
            reasons.append(f"{tokens} tokens are more than {FUSIBLE_TOKENS}")
        return "; ".join(reasons) or None
    if precision in ("fp16", "bf16"):
        fits = head_width in _HALF_HEADS
        return None if fits else f"head width {head_width} is not a multiple of 8 from 16 to 256"
    return f"no fused attention in {precision}"


def _fusion_without_products(nodes: list[NodeProto], precision: str) -> Fusion:
    kinds = {node.op_type for node in nodes}
    if not part_of(nodes[0].name):
        return Fusion(None, "see an engine's report")
    if "LayerNormalization" in kinds:
        return Fusion(True, "" if precision == "fp32" else "fp32 inside")
    if kinds & {"Gather", "ReduceMean"}:
        return Fusion(True)
    return Fusion(None, "see an engine's report")


def _drafts(view: GraphView) -> Iterator[_Draft]:
    """Split the graph into steps; a node that does not begin a step belongs to the previous one."""
    products = {id(product.node): product for product in view.products}
    parts = leaves(view.model)
    draft = _Draft()
    for node in view.nodes:
        product = products.get(id(node))
        begins = product.role != "mix" if product else node.op_type in ("LayerNormalization", "Gather", "ReduceMean")
        if node.op_type == "Gather" and draft.nodes and draft.nodes[-1].op_type == "Gather":
            begins = False  # of tubelets, and of their positions
        rotary = parts[node.name].endswith(".rotary")
        begins = begins or (rotary and not draft.rotary)
        if begins and draft.nodes and part_of(node.name) not in _PIXELS:
            yield draft
            draft = _Draft(rotary=rotary)
        draft.nodes.append(node)
        if product:
            draft.products.append(product)
    if draft.nodes:
        yield draft


def _words(view: GraphView, nodes: list[NodeProto]) -> list[str]:
    """Name the operators of a step: additions by their operand, the five operators of GELU as one."""
    words: list[str] = []
    rest = [node for node in nodes if node.op_type not in _CONVERSIONS]
    while rest:
        if tuple(node.op_type for node in rest[: len(_GELU)]) == _GELU:
            words.append("GELU")
            rest = rest[len(_GELU) :]
            continue
        node = rest.pop(0)
        if node.op_type == "Add":
            words.append(_addend(view, node))
        elif node.op_type not in _SILENT:
            words.append(node.op_type)
    return words or list(dict.fromkeys(node.op_type for node in nodes))


def _ends(nodes: list[NodeProto]) -> str:
    """Name a step by its first and last operator."""
    return f"{nodes[0].op_type} to {nodes[-1].op_type}"


def _addend(view: GraphView, node: NodeProto) -> str:
    """Return what an addition adds."""
    for name in node.input:
        if name in view.constants:
            return "bias" if len(view.constants[name].dims) == 1 else "positions"
        before = view.producer.get(name)
        while before is not None and before.op_type in ("Reshape", "Cast"):
            name, before = before.input[0], view.producer.get(before.input[0])
        if name == "bias":
            return "band"
        if before is not None and before.op_type == "Gather" and before.input[0] in view.constants:
            return "positions"
    return "residual"


def _product_precision(view: GraphView, node: NodeProto, types: dict[str, str]) -> str:
    """Return the precision of a product: int8 if both its inputs were dequantised, otherwise their type."""
    before = [view.producer.get(name) for name in node.input[:2]]
    if all(maker is not None and maker.op_type == "DequantizeLinear" for maker in before):
        stored = {types[maker.input[0]] for maker in before if maker is not None}
        return " x ".join(sorted(stored))
    return types[node.input[0]]
