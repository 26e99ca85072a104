"""Computes queries, keys and values with three products instead of one, for TensorRT.

One product and a Split are the faster form on CPUs. TensorRT divides the product at the Split, and then computes its
three parts with weights widened to FP32 or FP16, although their Q/DQ nodes ask for INT8 (seen in the list of layers of
TensorRT-RTX 1.7). As separate products, they stay INT8.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from mar_edge.model.graph_view import GraphView, part_of

LETTERS = "qkv"


def separate_qkv(model: ModelProto) -> ModelProto:
    """Return a graph with three products for each Split of one; its results are the same.

    The new nodes are named `PART/MatMul_q` etc. (see `part_names.ATTENTION`); a bias of zeros is left out.

    Args:
        model: FP32, its nodes named by part; not changed.
    """
    view = GraphView(model)
    nodes: list[NodeProto] = []
    dropped: set[str] = set()
    constants = dict(view.constants)
    for node in view.nodes:
        found = _joint(view, node)
        if found is None:
            nodes.append(node)
            continue
        product, addition = found
        dropped |= {product.name, addition.name}
        weights = np.split(view.constant(product.input[1]), 3, axis=1)  # (D, D) each
        biases = np.split(view.constant(_bias(view, addition)), 3)
        for letter, weight, bias, output in zip(LETTERS, weights, biases, node.output, strict=True):
            values = {f"weights_{letter}": weight} | ({f"bias_{letter}": bias} if bias.any() else {})
            tensors = {name: f"{product.name}:{name}" for name in values}
            for name, value in values.items():
                constants[tensors[name]] = _tensor(value, tensors[name])
            nodes += _linear(part_of(node.name), letter, product.input[0], list(tensors.values()), output)
    kept = [node for node in nodes if node.name not in dropped]
    used = {name for node in kept for name in node.input}
    graph = helper.make_graph(
        kept,
        model.graph.name,
        model.graph.input,
        model.graph.output,
        [tensor for name, tensor in constants.items() if name in used],
    )
    return helper.make_model(
        graph,
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
        producer_name=model.producer_name,
        producer_version=model.producer_version,
    )


def _joint(view: GraphView, node: NodeProto) -> tuple[NodeProto, NodeProto] | None:
    """Return the product and the bias's addition before a Split into queries, keys and values."""
    if node.op_type != "Split" or len(node.output) != 3:
        return None
    addition = view.producer.get(node.input[0])
    if addition is None or addition.op_type != "Add":
        return None
    product = next((view.producer[name] for name in addition.input if name in view.producer), None)
    if product is None or product.op_type != "MatMul" or product.input[1] not in view.constants:
        return None
    return product, addition


def _bias(view: GraphView, addition: NodeProto) -> str:
    first, second = addition.input
    return str(first if first in view.constants else second)


def _linear(part: str, letter: str, tokens: str, constants: list[str], output: str) -> list[NodeProto]:
    """Return a product and, with a bias, its addition; the last node outputs `output`."""
    weights, *bias = constants
    name = f"{part}/MatMul_{letter}"
    if not bias:
        return [helper.make_node("MatMul", [tokens, weights], [output], name)]
    addition = f"{part}/Add_{letter}"
    return [
        helper.make_node("MatMul", [tokens, weights], [name], name),
        helper.make_node("Add", [name, bias[0]], [output], addition),
    ]


def _tensor(value: NDArray[Any], name: str) -> Any:
    return numpy_helper.from_array(np.ascontiguousarray(value), name)
