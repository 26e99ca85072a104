"""What TensorRT's oldest parser refuses is found in the graph, by node."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from mar_edge.errors import ExportError
from mar_edge.export.graph import write_graph
from mar_edge.export.tensorrt_check import check, problems
from mar_edge.model.config import build
from mar_edge.model.graph_view import GraphView
from tests.fakes.tiny_model import TINY


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    """A graph of ours."""
    path = tmp_path_factory.mktemp("graph") / "graph.onnx"
    torch.manual_seed(0)
    write_graph(build(TINY), 0.5, path)
    check(path)  # which TensorRT takes
    return onnx.load(path)


def changed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy to break."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def node(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    """Return a node by name."""
    found: list[onnx.NodeProto] = [node for node in model.graph.node if node.name == name]
    assert len(found) == 1
    return found[0]


def test_an_operator_that_it_does_not_take_is_named(model: onnx.ModelProto) -> None:
    broken = changed(model)
    node(broken, "encoder.blocks.1.attn/Softmax").op_type = "Softmaxx"
    node(broken, "encoder.blocks.0/Erf").domain = "com.microsoft"
    assert problems(GraphView(broken)) == [
        "Erf 'encoder.blocks.0/Erf' in encoder.blocks.0 is an operator that its parser does not support",
        "Softmaxx 'encoder.blocks.1.attn/Softmax' in encoder.blocks.1.attn is an operator that its parser does not support",
    ]


def test_integers_are_for_shapes_alone(model: onnx.ModelProto) -> None:
    broken = changed(model)
    broken.graph.initializer.append(numpy_helper.from_array(np.array([3]), "three"))
    node(broken, "encoder.blocks.0/Mul").input[1] = "three"
    cast = node(broken, "/Cast")
    cast.attribute[0].i = TensorProto.INT32
    shape = helper.make_node("Shape", ["frames"], ["size"], name="/Shape")
    broken.graph.node.append(shape)
    assert problems(GraphView(broken)) == [
        "Cast '/Cast' outputs INT32",
        "Mul 'encoder.blocks.0/Mul' in encoder.blocks.0 computes with 'three', which is INT64",
        "Shape '/Shape' outputs INT64 in a shape that is unknown before it runs",
    ]


def test_opset_and_what_goes_in_and_out(model: onnx.ModelProto) -> None:
    broken = changed(model)
    broken.opset_import[0].version = 23
    broken.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    assert problems(GraphView(broken)) == [
        "operator set 23 is not one of 9 to 20",
        "'logits' is FLOAT16; only frames UINT8 and logits FLOAT are allowed as input and output",
    ]


@pytest.mark.parametrize(
    ("dtype", "zero", "problem"),
    [
        (np.int8, 0, None),
        (np.int8, 3, "has a zero point that is not 0"),
        (np.uint8, 0, "quantises to UINT8, not INT8"),
        (np.int32, 0, "is of a quantised bias (INT32); biases stay in floating point"),
    ],
)
def test_quantisation_is_symmetric_int8(model: onnx.ModelProto, dtype: type, zero: int, problem: str | None) -> None:
    broken = changed(model)
    target = node(broken, "encoder.blocks.0.fc1/Add")
    index = next(i for i, name in enumerate(target.input) if name in GraphView(model).constants)
    bias = numpy_helper.to_array(GraphView(model).constants[target.input[index]])
    broken.graph.initializer.extend(
        [
            numpy_helper.from_array(bias.astype(dtype), "q"),
            numpy_helper.from_array(np.array(0.1, np.float32), "s"),
            numpy_helper.from_array(np.array(zero, dtype), "z"),
        ]
    )
    name = "encoder.blocks.0.fc1/DequantizeLinear"
    broken.graph.node.insert(0, helper.make_node("DequantizeLinear", ["q", "s", "z"], [name], name=name))
    target.input[index] = name
    found = problems(GraphView(broken))
    assert found == ([] if problem is None else [f"DequantizeLinear '{name}' in encoder.blocks.0.fc1 {problem}"])


def test_scales_are_constant(model: onnx.ModelProto) -> None:
    broken = changed(model)
    broken.graph.node.append(
        helper.make_node("QuantizeLinear", ["logits", "encoder/Add"], ["q"], name="classifier.head/QuantizeLinear")
    )
    assert problems(GraphView(broken)) == [
        "QuantizeLinear 'classifier.head/QuantizeLinear' in classifier.head has a scale that is not constant"
    ]


def test_the_export_fails_by_name(model: onnx.ModelProto, tmp_path: Path) -> None:
    broken = changed(model)
    for layer in broken.graph.node:
        if layer.op_type == "Softmax":
            layer.op_type = "Hardermax"
    onnx.save(broken, tmp_path / "mask50-fp32.onnx")
    with pytest.raises(
        ExportError, match=r"TensorRT would reject mask50-fp32.onnx: Hardermax 'encoder.blocks.0.attn/Softmax' in"
    ):
        check(tmp_path / "mask50-fp32.onnx")
