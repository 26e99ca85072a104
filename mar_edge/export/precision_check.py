"""Verifies that a graph computes in its nominal precision."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from onnx import ModelProto, NodeProto, TensorProto

from mar_edge.errors import ExportError
from mar_edge.export.half.parts import PIXELS, check_kept, covered, leaves
from mar_edge.export.tensor_types import FLOATS, HALF, NAMES, element_types
from mar_edge.model.graph_view import GraphView
from mar_edge.node_names import PRODUCTS

_QDQ = ("QuantizeLinear", "DequantizeLinear")
_FORBIDDEN_IN_FP32 = {
    TensorProto.FLOAT16,
    TensorProto.BFLOAT16,
    TensorProto.INT8,
    TensorProto.UINT8,
    TensorProto.INT4,
    TensorProto.UINT4,
    TensorProto.FLOAT8E4M3FN,
    TensorProto.FLOAT8E5M2,
}


def check_precision(
    model: ModelProto, precision: str, kept: Collection[str], in_fp32: Collection[str] = ()
) -> list[str]:
    """Report what in a graph does not have its nominal precision; empty if nothing.

    * fp32: no tensor except the frames is half or INT8.
    * fp16, bf16: all operators have inputs and outputs of that type, including weights, except the pixels and the kept parts, which
      compute in FP32.
    * int8: every product with weights that is not kept has INT8 tokens and weights, through DequantizeLinear; the kept
      ones do not; products of attention are INT8 in both inputs or in none; no bias is quantised.
    * int8-bf16: likewise, and all other operators compute in BF16, except the pixels and what stays FP32.

    Args:
        model: of any precision.
        precision: one of `PRECISIONS`.
        kept: parts that must be FP32, see `half_parts`; for INT8 those that must not be INT8.
        in_fp32: parts of `int8-bf16` that must be FP32.
    """
    try:
        found = leaves(model)
        check_kept(found.values(), [*kept, *in_fp32])
    except ExportError as error:
        return [str(error)]
    if precision == "fp32":
        return _check_fp32(model)
    if precision == "int8":
        return _check_int8(model, kept, found)
    if precision == "int8-bf16":
        return [*_check_int8(model, kept, found), *_check_half(model, "bf16", in_fp32, found, beside_int8=True)]
    return _check_half(model, precision, kept, found)


def _check_fp32(model: ModelProto) -> list[str]:
    inputs = {value.name for value in model.graph.input}
    others = [name for name, kind in element_types(model).items() if kind in _FORBIDDEN_IN_FP32 and name not in inputs]
    return _told(others, "tensors are half or INT8")


def _check_half(
    model: ModelProto, precision: str, kept: Collection[str], found: dict[str, str], *, beside_int8: bool = False
) -> list[str]:
    types = element_types(model)
    others = {TensorProto.INT64, *((TensorProto.INT8,) if beside_int8 else ())}
    wrong: dict[tuple[int, int], list[str]] = {}
    computing = 0  # the products, or beside INT8 all operators
    for node in model.graph.node:
        leaf = found[node.name]
        if node.op_type == "Cast" or not _takes_floats(node, types):
            continue
        wanted = int(TensorProto.FLOAT) if leaf == PIXELS or covered(leaf, kept) else HALF[precision]
        computing += wanted == HALF[precision] and (
            node.op_type not in _QDQ if beside_int8 else node.op_type in PRODUCTS
        )
        for name in (*node.input, *node.output):
            if name and types[name] != wanted and types[name] not in others:
                wrong.setdefault((types[name], wanted), []).append(node.name)
    problems: list[str] = []
    for (kind, wanted), names in wrong.items():
        problems += _told(
            list(dict.fromkeys(names)),
            f"operators have inputs or outputs in {NAMES.get(kind, f'type {kind}')} that should be {NAMES[wanted]}",
        )
    if not computing:
        problems.append(f"no {'operator' if beside_int8 else 'matrix product'} is {precision}")
    return problems


def _check_int8(model: ModelProto, kept: Collection[str], found: dict[str, str]) -> list[str]:
    view, types = GraphView(model), element_types(model)
    plain: list[str] = []
    secret: list[str] = []
    uneven: list[str] = []
    for node in model.graph.node:
        if node.op_type not in PRODUCTS:
            continue
        quantised = [_from_int8(view, types, name) for name in node.input[:2]]
        if covered(found[node.name], kept):
            secret += [node.name] if any(quantised) else []
        elif view.weights_name(node) is None:  # attention; whether it is INT8 depends on the placement
            uneven += [node.name] if quantised[0] != quantised[1] else []
        elif not all(quantised):
            plain.append(node.name)
    biases = [
        node.name
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and types[node.input[0]] == TensorProto.INT32
    ]
    return [
        *_told(plain, "products with weights do not have INT8 tokens and INT8 weights"),
        *_told(secret, "products are INT8 although their parts must be FP32"),
        *_told(uneven, "products of attention are INT8 in one input only"),
        *_told(biases, "biases are quantised"),
        *([] if any(node.op_type in _QDQ for node in model.graph.node) else ["nothing is quantised"]),
    ]


def _from_int8(view: GraphView, types: dict[str, int], name: str) -> bool:
    """Return whether a tensor was INT8 before dequantisation."""
    node = view.producer.get(name)
    return (
        node is not None
        and node.op_type == "DequantizeLinear"
        and types[node.input[0]] in (TensorProto.INT8, TensorProto.UINT8)
    )


def _takes_floats(node: NodeProto, types: dict[str, int]) -> bool:
    return any(types[name] in FLOATS for name in (*node.input, *node.output) if name)


def _told(names: Iterable[str], what: str) -> list[str]:
    """Return one sentence for all problems of a kind."""
    names = list(names)
    count = f"{len(names)}, such as " if len(names) > 1 else ""
    return [f"{what} ({count}{names[0]})"] if names else []
