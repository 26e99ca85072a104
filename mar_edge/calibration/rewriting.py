"""Builds a new graph from nodes and constants: removing constants from an existing one would not free their memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
from onnx import ModelProto, NodeProto, TensorProto


def with_nodes(model: ModelProto, nodes: Sequence[NodeProto], constants: Mapping[str, TensorProto]) -> ModelProto:
    """Return a model like another one with other nodes.

    Args:
        model: source of inputs, outputs, versions and notes.
        nodes: in an order in which they can run.
        constants: by name; those that no node uses are left out.
    """
    used = dict.fromkeys(name for node in nodes for name in node.input if name in constants)
    graph = onnx.helper.make_graph(
        nodes, model.graph.name, model.graph.input, model.graph.output, [constants[name] for name in used]
    )
    result = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    result.producer_name, result.producer_version = model.producer_name, model.producer_version
    result.metadata_props.extend(model.metadata_props)
    return result
