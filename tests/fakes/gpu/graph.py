"""A graph that multiplies a clip by weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLIP = (4, 32, 32, 3)


def write_graph(path: Path, kind: int = TensorProto.FLOAT) -> None:
    """Write a graph that multiplies a clip by weights of a type."""
    rng = np.random.default_rng(1)
    weights = rng.normal(0, 1e-4, (int(np.prod(CLIP)), 3)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["frames"], ["pixels"], name="/Cast", to=kind),
        helper.make_node("Reshape", ["pixels", "shape"], ["flat"], name="/Reshape"),
        helper.make_node("MatMul", ["flat", "weights"], ["product"], name="classifier.head/MatMul"),
        helper.make_node("Cast", ["product"], ["logits"], name="classifier.head/Cast", to=TensorProto.FLOAT),
    ]
    tensor = helper.make_tensor("weights", TensorProto.FLOAT, weights.shape, weights.tobytes(), raw=True)
    if kind == TensorProto.FLOAT16:
        tensor = numpy_helper.from_array(weights.astype(np.float16), "weights")
    graph = helper.make_graph(
        nodes,
        "clips",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["batch", *CLIP])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [tensor, numpy_helper.from_array(np.array([-1, len(weights)]), "shape")],
        value_info=[helper.make_tensor_value_info("flat", kind, ["batch", len(weights)])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), path)
