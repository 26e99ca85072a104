"""Writes explicit quantisation into a graph: Q/DQ pairs before products, weights as int8.

ONNX Runtime's quantiser (`QDQQuantizer` of 1.31) gives the same products, and a test compares ours with it. It
is not suitable, as it quantises a tensor for all its consumers: the residual input of a skip connection cannot be quantised
without the layer norm beside it; and it takes 3.2 s for ViT-B, while this takes 0.45 s, which matters because a calibration
creates dozens of graphs. NVIDIA's ModelOpt 0.47 pins `onnx~=1.21` and `onnxruntime-gpu~=1.24`, requires CuPy, and places by
patterns that do not use measurements.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from mar_edge.calibration.placement import Site, sites
from mar_edge.calibration.ranges import LEVELS
from mar_edge.calibration.rewriting import with_nodes
from mar_edge.errors import ExportError
from mar_edge.model.graph_view import GraphView, part_of
from mar_edge.model_spec import Placement

OPSET = 19
"""Minimum opset for FP16 scales, which `export.half.precision` creates if it converts the other parts to FP16."""

SMALLEST_SCALE = 2.0**-20
"""Smallest scale, still representable in FP16. Smaller activations are rounded more coarsely, without effect."""


def quantise(
    model: ModelProto,
    thresholds: Mapping[str, float],
    *,
    placement: Placement,
    kept: Collection[str] = (),
    residuals: bool = True,
) -> ModelProto:
    """Return a graph whose products run in INT8.

    Activations are symmetric int8 with one scale, weights symmetric int8 with a scale for every output channel, and
    biases stay unchanged.

    Args:
        model: FP32, its nodes named by part; not changed.
        thresholds: largest magnitude of every activation that is to be quantised.
        placement: see `placement.sites`.
        kept: parts and blocks that stay unchanged.
        residuals: see `placement.sites`.

    Raises:
        ExportError: if the opset is too old, or a threshold is missing.
    """
    version = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if version < OPSET:
        raise ExportError(f"the graph has opset {version}, and Q/DQ needs {OPSET}; export the model again")
    view = GraphView(model)
    writer = _Writer(view, thresholds)
    wanted: dict[str, list[Site]] = {}
    for site in sites(view, placement, residuals=residuals, kept=kept):
        wanted.setdefault(site.node, []).append(site)
    for node in view.nodes:
        writer.add(node, wanted.get(node.name, []))
    return writer.finish()


class _Writer:
    """Collects the nodes and constants of the new graph."""

    def __init__(self, view: GraphView, thresholds: Mapping[str, float]) -> None:
        self._view = view
        self._thresholds = thresholds
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, TensorProto] = {}
        self._names: Counter[str] = Counter()

    def add(self, node: NodeProto, found: list[Site]) -> None:
        """Add a node, its inputs quantised."""
        copy = NodeProto()
        copy.CopyFrom(node)
        for site in found:
            copy.input[site.operand] = self._activation(node.name, site.tensor)
            if site.kind == "weights":
                copy.input[1] = self._weights(node)
        self._nodes.append(copy)

    def finish(self) -> ModelProto:
        """Return the graph; constants that are no longer used are left out."""
        return with_nodes(self._view.model, self._nodes, {**self._view.constants, **self._constants})

    def _activation(self, consumer: str, tensor: str) -> str:
        """Quantise an activation for one consumer; return its new input."""
        threshold = self._thresholds.get(tensor)
        if threshold is None:
            raise ExportError(f"there is no range for '{tensor}'; calibrate this graph")
        quantiser = self._name(consumer, "QuantizeLinear")
        scale = self._constant(f"{quantiser}:scale", np.asarray(max(SMALLEST_SCALE, threshold / LEVELS), np.float32))
        zero = self._constant(f"{quantiser}:zero_point", np.zeros((), np.int8))
        self._nodes.append(onnx.helper.make_node("QuantizeLinear", [tensor, scale, zero], [quantiser], quantiser))
        return self._dequantise(consumer, [quantiser, scale, zero])

    def _weights(self, node: NodeProto) -> str:
        """Quantise the weights of a product; return its new input."""
        name = node.input[1]
        axis = 0 if node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute) else 1
        values, scales = quantise_weights(self._view.constant(name), axis)
        stored = self._constant(f"{node.name}:weights", values)
        scale = self._constant(f"{node.name}:weights_scale", scales)
        zero = self._constant(f"{node.name}:weights_zero_point", np.zeros(len(scales), np.int8))
        return self._dequantise(node.name, [stored, scale, zero], axis=axis)

    def _dequantise(self, consumer: str, inputs: list[str], **attributes: Any) -> str:
        name = self._name(consumer, "DequantizeLinear")
        self._nodes.append(onnx.helper.make_node("DequantizeLinear", inputs, [name], name, **attributes))
        return name

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        self._constants[name] = numpy_helper.from_array(value, name)
        return name

    def _name(self, consumer: str, operator: str) -> str:
        base = f"{part_of(consumer)}/{operator}"
        self._names[base] += 1
        return base if self._names[base] == 1 else f"{base}_{self._names[base]}"


def quantise_weights(weights: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantise a weight matrix symmetrically, each output channel by its largest magnitude.

    Args:
        weights: (in, out), or (out, in).
        axis: of the output channels.

    Returns:
        Values of the same shape, and scales (out,).
    """
    largest = np.abs(weights).max(axis=1 - axis, keepdims=True)
    scales = np.maximum(largest / LEVELS, SMALLEST_SCALE).astype(np.float32)
    values = np.clip(np.rint(weights / scales), -LEVELS, LEVELS).astype(np.int8)
    return values, scales.reshape(-1)
