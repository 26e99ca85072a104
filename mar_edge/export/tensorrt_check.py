"""Finds what TensorRT's oldest supported parser would reject, before a long build: JetPack 6 has that of 10.3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mar_edge.errors import ExportError
from mar_edge.node_names import part_of

if TYPE_CHECKING:
    from onnx import NodeProto

    from mar_edge.model.graph_view import GraphView

OPSETS = range(9, 21)
"""Operator sets according to `docs/operators.md` of onnx-tensorrt for TensorRT 10.0; 10.3 added none."""

_TAKEN = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Celu Clip
Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DeformConv DepthToSpace DequantizeLinear
Div Dropout Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gemm
GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization GRU
HardSigmoid HardSwish Hardmax Identity If InstanceNormalization IsInf IsNaN LayerNormalization LeakyRelu Less
LessOrEqual Log LogSoftmax Loop LRN LSTM LpNormalization LpPool MatMul Max MaxPool Mean
MeanVarianceNormalization Min Mod Mul Neg NonMaxSuppression NonZero Not OneHot Or PRelu Pad Pow QuantizeLinear
RNN RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2
ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape
Resize ReverseSequence RoiAlign Round Scan ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh
Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile
TopK Transpose Trilu Unsqueeze Upsample Where Xor
"""

OPERATORS = frozenset(_TAKEN.split())
"""The operators that onnx-tensorrt lists for 8.5, and those that its changelog adds up to 10.3. It may support more."""

_KEPT = ("past_", "new_")
"""Beginnings of the names of a step graph's keys and values."""

SHAPE_OPERANDS: dict[str, tuple[int, ...]] = {
    "Expand": (1,),
    "Gather": (1,),
    "GatherElements": (1,),
    "GatherND": (1,),
    "Pad": (1, 3),
    "ReduceMean": (1,),
    "ReduceSum": (1,),
    "Reshape": (1,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "Unsqueeze": (1,),
}
"""Inputs for places and options: only these may be integers."""


def check(path: Path) -> None:
    """Check a graph before TensorRT builds it.

    Raises:
        ExportError: if TensorRT 10.3 would reject it; the message names the nodes.
    """
    from mar_edge.model.graph_view import GraphView

    if found := problems(GraphView.read(path)):
        more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
        raise ExportError(
            f"TensorRT would reject {path.name}: {'; '.join(found[:5])}{more}. Export it again with this version of "
            "mar-edge, or report it"
        )


def problems(graph: GraphView) -> list[str]:
    """Return what TensorRT 10.3 would reject, one sentence for each node, with its part of the model."""
    return [*_header(graph), *(problem for node in graph.nodes for problem in _node(graph, node))]


def _header(graph: GraphView) -> Iterator[str]:
    from onnx import TensorProto

    for opset in graph.model.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version not in OPSETS:
            yield f"operator set {opset.version} is not one of {OPSETS.start} to {OPSETS.stop - 1}"
    kinds = {
        value.name: value.type.tensor_type.elem_type for value in [*graph.model.graph.input, *graph.model.graph.output]
    }
    wanted: dict[str, int | None] = {"frames": TensorProto.UINT8, "logits": TensorProto.FLOAT}
    allowed = "frames UINT8 and logits FLOAT"
    if "step" in kinds:
        kept = {kinds[name] for name in kinds if name.startswith(_KEPT)}
        floats = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16}
        one = next(iter(kept)) if len(kept) == 1 and kept <= floats else None
        wanted |= {"step": TensorProto.INT64, "bias": TensorProto.FLOAT}
        wanted |= {name: one for name in kinds if name.startswith(_KEPT)}
        allowed = "frames UINT8, step INT64, bias and logits FLOAT, and past_ and new_ ones of one floating-point type"
    for name, kind in kinds.items():
        if wanted.get(name) != kind:
            yield f"'{name}' is {_name(kind)}; only {allowed} are allowed as input and output"


def _node(graph: GraphView, node: NodeProto) -> Iterator[str]:
    if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
        yield f"{_where(node)} is an operator that its parser does not support"
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        yield from _quantisation(graph, node)
    else:
        yield from _integers(graph, node)


def _integers(graph: GraphView, node: NodeProto) -> Iterator[str]:
    """Find computations with integers and doubles."""
    from onnx import TensorProto

    refused = (TensorProto.INT64, TensorProto.INT32, TensorProto.DOUBLE)
    for index, name in enumerate(node.input):
        tensor = graph.constants.get(name)
        if tensor is None or index in SHAPE_OPERANDS.get(node.op_type, ()):
            continue
        if node.op_type == "Gather" and tensor.data_type == TensorProto.INT64:
            continue  # of a table of indices; INT64 is a type of its own from TensorRT 10.0 on
        if tensor.data_type in refused:
            yield f"{_where(node)} computes with '{name}', which is {_name(tensor.data_type)}"
    to = next((attribute.i for attribute in node.attribute if attribute.name == "to"), None)
    if node.op_type == "Cast" and to in refused:
        yield f"{_where(node)} outputs {_name(to)}"
    if node.op_type in ("Shape", "Size", "ArgMax", "ArgMin", "NonZero", "TopK"):
        yield f"{_where(node)} outputs INT64 in a shape that is unknown before it runs"


def _quantisation(graph: GraphView, node: NodeProto) -> Iterator[str]:
    """Find Q/DQ nodes that are not symmetric INT8 with constant scales."""
    from onnx import TensorProto

    if len(node.input) < 2 or node.input[1] not in graph.constants:
        yield f"{_where(node)} has a scale that is not constant"
    data = graph.constants.get(node.input[0])
    if data is not None and node.op_type == "DequantizeLinear" and data.data_type == TensorProto.INT32:
        yield f"{_where(node)} is of a quantised bias (INT32); biases stay in floating point"
        return
    if len(node.input) < 3 or not node.input[2]:
        return
    zero = graph.constants.get(node.input[2])
    if zero is None:
        yield f"{_where(node)} has a zero point that is not constant"
    elif zero.data_type != TensorProto.INT8:
        yield f"{_where(node)} quantises to {_name(zero.data_type)}, not INT8"
    elif graph.constant(node.input[2]).any():
        yield f"{_where(node)} has a zero point that is not 0"


def _where(node: NodeProto) -> str:
    part = part_of(node.name)
    return f"{node.op_type} '{node.name or node.output[0]}'" + (f" in {part}" if part else "")


def _name(kind: int) -> str:
    from onnx import TensorProto

    return str(TensorProto.DataType.Name(kind))
