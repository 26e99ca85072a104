"""Emulates a half graph's logits on hardware with half precision, on a CPU without it.

ONNX Runtime and OpenVINO run FP16 graphs on x86 CPUs in FP32, between casts that they remove: 40000 + 40000 - 40000 is
40000 there, and not infinite (measured with onnxruntime 1.31, its optimisations off, and openvino 2026.4). So here
every half tensor of the graph is FP32 that is cast to half and back immediately; ONNX Runtime does not remove
such casts, at any level of optimisation.

Conservative assumptions about the hardware, based on TensorRT's documentation:

* every operator of the graph stores its result in half, although engines fuse many and round less often;
* the sums in matrix products and in the means of layer norms are FP32, and their results stored in half;
* layer norm and softmax store every step in half: centred values, their squares, the variance, exponentials, their sum.
  TensorRT's normalisation layer computes in FP32 by default, but FP16 layer norms that overflow are its
  most frequent warning;
* the sum over tokens before the classifier's last layers is stored in half before it is divided by their number.
"""

from __future__ import annotations

from typing import Any

from onnx import ModelProto, NodeProto, TensorProto, helper

from mar_edge.export.half.steps import Speller
from mar_edge.export.tensor_types import HALF, element_types
from mar_edge.telemetry import import_onnxruntime


def emulate(model: ModelProto) -> ModelProto:
    """Return an FP32 graph for ONNX Runtime in which every tensor is rounded like that of the half graph.

    Keys and values of a step graph are FP32 outside of it, and rounded inside.

    Args:
        model: from `half_graph.to_half`; not changed. Its types determine the precision, and which parts are FP32.
    """
    half = {name: kind for name, kind in element_types(model).items() if kind in HALF.values()}
    result = with_inputs_of(model, "emulation")
    result.graph.output.extend(model.graph.output)
    for value in (*result.graph.input, *result.graph.output):
        if value.name in half:  # keys and values: the host keeps rounded numbers
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    nodes: list[NodeProto] = []
    for tensor in model.graph.initializer:
        result.graph.initializer.append(tensor)
        if tensor.name in half:  # stays half, to save memory, and is cast whenever the graph runs
            result.graph.initializer[-1].name = f"{tensor.name}/half"
            nodes.append(cast(f"{tensor.name}/half", tensor.name, TensorProto.FLOAT))
    speller = Speller()
    for node in model.graph.node:
        kind = half.get(node.output[0])
        if kind is None:
            nodes.append(node)
            continue
        for step in speller.spell_out(node):
            nodes += rounded(step.node, kind) if step.computes else [step.node]
    result.graph.node.extend(nodes)
    result.graph.initializer.extend(speller.constants.values())
    return result


def with_inputs_of(model: ModelProto, name: str) -> ModelProto:
    """Return a graph of the same version and inputs as another, and nothing else yet."""
    result = ModelProto()
    result.ir_version = model.ir_version
    result.opset_import.extend(model.opset_import)
    result.graph.name = name
    result.graph.input.extend(model.graph.input)
    return result


def session(model: ModelProto) -> Any:
    """Load a graph into ONNX Runtime unchanged: without optimisations, and computed in the order of its nodes.

    The default order computes nodes for outputs last, and so keeps all tensors that probes reduce to a number:
    5.9 GiB instead of 1.1 for the small preset.
    """
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def rounded(node: NodeProto, kind: int) -> list[NodeProto]:
    """Return a node with one output, and the casts of its result to a half type and back."""
    (name,) = node.output
    exact = NodeProto()
    exact.CopyFrom(node)
    exact.output[0] = f"{name}/exact"
    return [exact, *round_trip(f"{name}/exact", name, kind)]


def round_trip(source: str, result: str, kind: int) -> list[NodeProto]:
    """Return the casts of a tensor to a half type and back to FP32."""
    return [cast(source, f"{result}/half", kind), cast(f"{result}/half", result, TensorProto.FLOAT)]


def cast(source: str, result: str, kind: int) -> NodeProto:
    """Return a cast with a unique name."""
    return helper.make_node("Cast", [source], [result], name=f"{source} to {result}", to=kind)
