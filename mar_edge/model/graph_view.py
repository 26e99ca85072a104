"""Reads exported ONNX graphs: the model part of a node, its matrix product, its shapes."""

from __future__ import annotations

from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper, shape_inference

from mar_edge.errors import ExportError
from mar_edge.node_names import block_of as block_of
from mar_edge.node_names import part_of as part_of

Role = Literal["weights", "scores", "mix"]
"""Role of a matrix product: tokens with weights, queries with keys, or attention with values."""


SMALL = 64
"""Constants of up to this many values may be shapes, which shape inference must read."""


class Product(NamedTuple):
    """A matrix product.

    Attributes:
        node: MatMul or Gemm.
        role: its role.
        macs: multiply-accumulates of one clip.
    """

    node: NodeProto
    role: Role
    macs: int


class GraphView:
    """A graph with indices for queries.

    Args:
        model: as returned by `onnx.load`; not changed.
    """

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.nodes: list[NodeProto] = list(model.graph.node)

    @classmethod
    def read(cls, path: Path) -> GraphView:
        """Load a graph.

        Raises:
            ExportError: if it is not a graph.
        """
        try:
            return cls(onnx.load(str(path)))
        except (OSError, ValueError, DecodeError) as error:
            raise ExportError(f"{path} cannot be read as an ONNX graph: {error}") from error

    @cached_property
    def constants(self) -> dict[str, onnx.TensorProto]:
        """Initialisers by name."""
        return {tensor.name: tensor for tensor in self.model.graph.initializer}

    def constant(self, name: str) -> NDArray[Any]:
        """Return an initialiser's value."""
        return np.asarray(numpy_helper.to_array(self.constants[name]))

    @cached_property
    def producer(self) -> dict[str, NodeProto]:
        """The node that outputs a tensor."""
        return {name: node for node in self.nodes for name in node.output}

    @cached_property
    def consumers(self) -> dict[str, list[NodeProto]]:
        """The nodes that use a tensor, in the graph's order."""
        found: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                found.setdefault(name, []).append(node)
        return found

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Static shape of every tensor for a batch of one."""
        graph = self.model.graph
        # weights are passed as inputs: shape inference copies the model, and they may take gigabytes
        weights = [tensor for tensor in graph.initializer if prod(tensor.dims) > SMALL]
        light = onnx.helper.make_graph(
            self.nodes,
            "shapes",
            [
                *(_first_of_batch(value) for value in graph.input),
                *(onnx.helper.make_tensor_value_info(w.name, w.data_type, list(w.dims)) for w in weights),
            ],
            [_first_of_batch(value) for value in graph.output],
            [tensor for tensor in graph.initializer if prod(tensor.dims) <= SMALL],
        )
        inferred = shape_inference.infer_shapes(
            onnx.helper.make_model(light, opset_imports=self.model.opset_import, ir_version=self.model.ir_version),
            data_prop=True,
        )
        shapes = {tensor.name: tuple(tensor.dims) for tensor in inferred.graph.initializer}
        for value in [*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output]:
            dims = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
            if all(dims):
                shapes[value.name] = dims
        return shapes

    def weights_name(self, node: NodeProto) -> str | None:
        """Return the initialiser that holds a product's weights, looking through Q/DQ and casts; None for attention."""
        name: str = node.input[1]
        while name not in self.constants:
            before = self.producer.get(name)
            if before is None or before.op_type not in ("DequantizeLinear", "QuantizeLinear", "Cast"):
                return None
            name = before.input[0]
        return name

    @cached_property
    def products(self) -> list[Product]:
        """All matrix products, in the graph's order.

        Raises:
            ExportError: if a shape is unknown, or there is an operator that our graphs do not contain.
        """
        found: list[Product] = []
        for node in self.nodes:
            if node.op_type in ("MatMul", "Gemm"):
                left, out = self.shapes.get(node.input[0]), self.shapes.get(node.output[0])
                if not left or not out:
                    raise ExportError(f"cannot count {node.op_type} '{node.name}': its shape is unknown")
                transposed = any(a.name == "transA" and a.i for a in node.attribute)
                macs = prod(out) * left[0 if transposed else -1]
                found.append(Product(node, self._role(node, found), macs))
            elif node.op_type in ("Conv", "ConvTranspose", "Einsum", "Attention"):
                raise ExportError(
                    f"cannot count {node.op_type} '{node.name}': graphs of mar-edge do not contain this operator"
                )
        return found

    def _role(self, node: NodeProto, before: list[Product]) -> Role:
        if self.weights_name(node) is not None:
            return "weights"
        return "mix" if before and before[-1].role == "scores" else "scores"


def _first_of_batch(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    fixed = onnx.ValueInfoProto()
    fixed.CopyFrom(value)
    if fixed.type.tensor_type.shape.dim[0].dim_param:
        fixed.type.tensor_type.shape.dim[0].dim_value = 1
    return fixed
