"""Channel equalisation: moves outlier channels from activations into weights.

A trained transformer has channels many times larger than the others, and one scale for the entire activation leaves
those few steps. Between a layer norm and the products that use its output, a channel may be divided by any s and the
matching row of the weights multiplied by it: the graph computes the same. Source: SmoothQuant, arXiv 2211.10438, 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from onnx import ModelProto, NodeProto, numpy_helper

from mar_edge.calibration.rewriting import with_nodes
from mar_edge.calibration.statistics import Statistics
from mar_edge.model.graph_view import GraphView

ALPHA = 0.5
"""The best value: 0.25 and 0.75 were never better than both this and no equalisation, see docs/how-to/int8.md."""

OUTLIER = 8.0
"""A layer norm is equalised if its largest channel is this many times larger than the median one. Even channels gain
nothing and lose something: afterwards every channel fills the range, and larger values of other clips are cut."""

_SMALLEST = 1e-5
"""Assumed magnitude of channels that are zero, or whose weights are."""


class Pair(NamedTuple):
    """A layer norm and the products that are the only users of its output."""

    norm: NodeProto
    products: Sequence[NodeProto]


def uneven(view: GraphView, statistics: Statistics) -> list[Pair]:
    """Return the pairs with outlier channels, in the graph's order."""
    found = []
    for pair in pairs(view):
        channels = statistics.tensors[pair.norm.output[0]].channel_max
        if channels.max() > OUTLIER * max(_SMALLEST, float(np.median(channels))):
            found.append(pair)
    return found


def pairs(view: GraphView) -> list[Pair]:
    """Return what can be equalised, in the graph's order."""
    weighted = {product.node.name for product in view.products if product.role == "weights"}
    found = []
    for node in view.nodes:
        if node.op_type == "LayerNormalization":
            takers = view.consumers.get(node.output[0], [])
            if takers and all(taker.name in weighted and taker.input[0] == node.output[0] for taker in takers):
                found.append(Pair(node, takers))
    return found


def equalise(model: ModelProto, statistics: Statistics, alpha: float) -> ModelProto:
    """Return an FP32 graph that computes the same, with even channels after layer norms with outliers.

    A channel is divided by max|x|^alpha / max|w|^(1 - alpha): at 0.5 activations and weights end up equally uneven.

    Args:
        model: FP32; not changed.
        statistics: of the outputs of its layer norms.
        alpha: share of the unevenness that is moved to the weights, 0 to 1.
    """
    view = GraphView(model)
    nodes = {node.name: node for node in map(_copy, view.nodes)}
    constants = dict(view.constants)
    for norm, products in uneven(view, statistics):
        axes = [_input_axis(node) for node in products]
        weights = [view.constant(node.input[1]) for node in products]
        rows = np.max([np.abs(w).max(axis=1 - axis) for w, axis in zip(weights, axes, strict=True)], axis=0)
        columns = statistics.tensors[norm.output[0]].channel_max
        scale = np.maximum(columns, _SMALLEST) ** alpha / np.maximum(rows, _SMALLEST) ** (1 - alpha)
        scale = scale.astype(np.float32)  # (C,)
        # equal constants are shared in the graph, so every node gets its own
        for place in range(1, len(norm.input)):
            name = f"{norm.name}:{place}"
            constants[name] = numpy_helper.from_array(view.constant(norm.input[place]) / scale, name)
            nodes[norm.name].input[place] = name
        for product, values, axis in zip(products, weights, axes, strict=True):
            name = f"{product.name}:equalised"
            constants[name] = numpy_helper.from_array(values * np.expand_dims(scale, 1 - axis), name)
            nodes[product.name].input[1] = name
    return with_nodes(model, list(nodes.values()), constants)


def _copy(node: NodeProto) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy


def _input_axis(node: NodeProto) -> int:
    """Return the axis of a product's weights that corresponds to the input's channels."""
    return 1 if any(a.name == "transB" and a.i for a in node.attribute) else 0
