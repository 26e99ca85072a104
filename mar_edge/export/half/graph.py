"""Rewrites an FP32 graph as a strongly typed FP16 or BF16 one: everything that is not intentionally FP32 is half, including weights.

Libraries were tried on egomotion's graph and are not suitable (`onnxruntime` 1.31, `nvidia-modelopt` 0.47):

* `onnxruntime.transformers.float16.convert_float_to_float16` has no BF16. Between two neighbours of its
  `node_block_list` it casts to FP16 and back, which rounds and overflows exactly the values that must stay FP32 (19 such casts with
  pixels and norms blocked); it writes casts behind the nodes that use them, which `onnx.checker` rejects; and it clips
  weights beyond 65504 without a notice.
* ModelOpt AutoCast keeps names and casts well, but pins `onnx~=1.21` and `onnxruntime-gpu~=1.24` and requires CuPy, lief and
  polygraphy: 220 MB in addition to torch, in a separate environment. Its BF16 graphs are opset 22, newer than
  JetPack 6's parser; it decides from FP32 ranges alone, never from what half arithmetic does to the logits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from mar_edge.errors import ExportError
from mar_edge.export.half.parts import PIXELS, check_kept, covered, leaves
from mar_edge.export.tensor_types import FLOATS, HALF, LARGEST, NUMPY, element_types
from mar_edge.model.graph_view import part_of
from mar_edge.runtime.measurement.clip_runner import FRESH, PAST


def to_half(model: ModelProto, precision: str, kept: Collection[str]) -> ModelProto:
    """Rewrite a graph so that everything except the pixels and the kept parts computes in half precision.

    `frames` stay uint8, and `logits` and a step graph's `bias` float32; its keys and values become half, inputs and outputs.
    Nodes keep their names; casts are named `PART/Cast[_n]` after the FP32 part
    that they serve.

    Args:
        model: an FP32 graph from `graph.write_graph`, or a quantised one: its scales become half, its INT8 stays;
            not changed.
        precision: `fp16` or `bf16`.
        kept: parts that stay FP32, see `half_parts`.

    Raises:
        ExportError: if a kept part does not exist, or a weight is outside the range of the precision.
    """
    found = leaves(model)
    check_kept(found.values(), kept)
    full = {name for name, leaf in found.items() if leaf == PIXELS or covered(leaf, kept)}
    return _Writer(model, precision, full).write()


class _Writer:
    """One rewriting.

    Args:
        model: the FP32 graph.
        precision: `fp16` or `bf16`.
        full: names of the nodes that stay FP32.
    """

    def __init__(self, model: ModelProto, precision: str, full: set[str]) -> None:
        self._model, self._precision, self._full = model, precision, full
        self._half = HALF[precision]
        self._types = element_types(model)
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._written: dict[str, TensorProto] = {}
        self._nodes: list[NodeProto] = []
        self._made: dict[str, int] = {value.name: self._outside(value) for value in model.graph.input}
        self._wanted: dict[str, int] = {value.name: self._outside(value) for value in model.graph.output}
        self._inside: dict[str, str] = {}  # outputs of the graph that its own nodes use in another type, by name
        self._maker: dict[str, str] = {}
        self._casts: dict[tuple[str, int], str] = {}
        self._names = Counter(node.name for node in model.graph.node)

    def write(self) -> ModelProto:
        """Return the graph; weights are converted one by one, so that a large model is not copied in FP32."""
        for node in self._model.graph.node:
            self._write_node(node)
        result = ModelProto()
        result.ir_version = self._model.ir_version
        result.producer_name = self._model.producer_name
        result.opset_import.extend(self._model.opset_import)
        result.metadata_props.extend(self._model.metadata_props)
        result.graph.name = self._model.graph.name
        for given, written in (
            (self._model.graph.input, result.graph.input),
            (self._model.graph.output, result.graph.output),
        ):
            written.extend(given)
            for value in written:
                value.type.tensor_type.elem_type = self._outside(value)
        result.graph.node.extend(self._nodes)
        result.graph.initializer.extend(self._written.values())
        return result

    def _outside(self, value: ValueInfoProto) -> int:
        """Return the type of an input or output of the new graph."""
        return self._half if value.name.startswith((PAST, FRESH)) else int(value.type.tensor_type.elem_type)

    def _write_node(self, node: NodeProto) -> None:
        """Write a node in its type, the casts before it, and the cast of an output of the graph after it."""
        half = node.name not in self._full
        kind = self._half if half else TensorProto.FLOAT
        new = NodeProto()
        new.CopyFrom(node)
        for index, name in enumerate(node.input):
            new.input[index] = self._as(name, kind, node)
        self._nodes.append(new)
        for index, name in enumerate(node.output):
            real = self._types[name] in FLOATS
            made = name
            if real and self._wanted.get(name, kind) != kind:
                new.output[index] = made = node.name
                self._inside[name] = made
            self._made[made] = kind if real else self._types[name]
            self._maker[made] = node.name
            if made != name:
                self._cast(made, self._wanted[name], node, name)

    def _as(self, name: str, kind: int, node: NodeProto) -> str:
        """Return the name of a tensor in a type, for a node that uses it."""
        if not name or self._types[name] not in FLOATS:
            if name in self._constants:
                self._written[name] = self._constants[name]
            return name
        if name in self._constants:
            return self._constant(name, kind, node)
        name = self._inside.get(name, name)
        if self._made[name] == kind:
            return name
        if (name, kind) not in self._casts:
            self._casts[name, kind] = self._cast(name, kind, node)
        return self._casts[name, kind]

    def _cast(self, name: str, kind: int, node: NodeProto, output: str = "") -> str:
        """Write a cast, named after the part on its FP32 side."""
        part = part_of(node.name if kind == TensorProto.FLOAT else self._maker.get(name, ""))
        base = f"{part}/Cast"
        self._names[base] += 1
        label = base if self._names[base] == 1 else f"{base}_{self._names[base]}"
        self._nodes.append(helper.make_node("Cast", [name], [output or label], name=label, to=kind))
        return output or label

    def _constant(self, name: str, kind: int, node: NodeProto) -> str:
        """Write a constant in a type; one that FP32 and half nodes share is written twice."""
        if kind == TensorProto.FLOAT:
            self._written[name] = self._constants[name]
            return name
        label = f"{name}/{self._precision}"
        if label not in self._written:
            value: NDArray[np.float32] = np.asarray(numpy_helper.to_array(self._constants[name]), np.float32)
            with np.errstate(over="ignore"):
                rounded = value.astype(NUMPY[self._precision])
            if not np.isfinite(rounded.astype(np.float32)).all():
                raise ExportError(
                    f"a weight of {part_of(node.name)} is {np.abs(value).max():.3g}, and the range of {self._precision} ends at "
                    f"{LARGEST[self._precision]:.3g}; keep that part in fp32"
                )
            self._written[label] = numpy_helper.from_array(rounded, label)
        return label
