"""Element types of a graph's tensors, without the copy of all weights that ONNX's own inference makes."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike
from onnx import ModelProto, NodeProto, TensorProto

HALF: dict[str, int] = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
"""Element types of the half precisions."""

NUMPY: dict[str, DTypeLike] = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16}
"""Numpy types of the half precisions."""

LARGEST = {"fp16": 65504.0, "bf16": float.fromhex("0x1.fep127")}
"""Largest number of each half precision."""

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)

NAMES: dict[int, str] = {
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "uint8",
    TensorProto.INT32: "int32",
    TensorProto.INT64: "int64",
}
"""Names of element types in messages."""


def element_types(model: ModelProto) -> dict[str, int]:
    """Return the element type of every tensor of one of our graphs.

    Our operators output the type of their first input, except casts and Q/DQ; tests compare this with ONNX's inference.
    """
    types: dict[str, int] = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    types |= {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    for node in model.graph.node:
        kind = _result(node, types)
        types |= dict.fromkeys(node.output, kind)
    return types


def _result(node: NodeProto, types: dict[str, int]) -> int:
    if node.op_type == "Cast":
        return int(next(attribute.i for attribute in node.attribute if attribute.name == "to"))
    if node.op_type == "DequantizeLinear":
        return types[node.input[1]]
    if node.op_type == "QuantizeLinear":
        return types[node.input[2]] if len(node.input) > 2 else int(TensorProto.UINT8)
    return types[node.input[0]]
