"""Graphs that measure, while they run in FP32, where half precision would overflow and where it would cause errors.

Every figure is reduced to one number inside the graph, so that the tensors of a large model are never all in memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from onnx import ModelProto, NodeProto, TensorProto, helper

from mar_edge.export.half.emulation import round_trip, rounded, with_inputs_of
from mar_edge.export.half.parts import PIXELS
from mar_edge.export.half.steps import Speller, Step
from mar_edge.export.tensor_types import FLOATS, element_types
from mar_edge.runtime.measurement.clip_runner import FRESH


class Probe(NamedTuple):
    """A graph that measures.

    Attributes:
        model: the graph.
        leaves: for each measuring output, the leaves that its figure describes.
    """

    model: ModelProto
    leaves: dict[str, set[str]]


def peak_probe(model: ModelProto, leaves: dict[str, str]) -> Probe:
    """Return a graph that outputs the logits, and the largest absolute value of every number that half would store.

    A figure describes the leaf that produces the number and those that use it.

    Args:
        model: the FP32 graph; not changed.
        leaves: of its nodes, see `half_parts.leaves`.
    """
    found: dict[str, set[str]] = {}
    taking = takers(model, leaves)
    speller = Speller()
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        leaf = leaves[node.name]
        for step in [Step(node, False)] if leaf == PIXELS else speller.spell_out(node):
            nodes.append(step.node)
            if step.computes:
                (name,) = step.node.output
                found[f"{name}/peak"] = {leaf, *taking.get(name, ())}
                nodes += _figure(name, f"{name}/size", "Abs")
                nodes += _figure(f"{name}/size", f"{name}/peak", "ReduceMax", keepdims=0)
    return Probe(_graph(model, nodes, speller, [*(value.name for value in model.graph.output), *found]), found)


def error_probe(model: ModelProto, leaves: dict[str, str], kind: int, kept: Collection[str]) -> Probe:
    """Return a graph that computes in FP32 and in half side by side and outputs the errors of the tensors between leaves.

    For each tensor that leaves a leaf there are three sums of squares, which describe that leaf: `TENSOR/signal` of itself,
    `TENSOR/total` of its error in the half graph, and `TENSOR/own` of the error that the leaf alone causes with exact inputs.

    Args:
        model: the FP32 graph; not changed.
        leaves: of its nodes.
        kind: the half type.
        kept: leaves that stay FP32.
    """
    found: dict[str, set[str]] = {}
    passing = passing_tensors(model, leaves)
    full = {PIXELS, *kept}
    whole = _Twins(model, leaves, kind, "total", full, exact=set())
    alone = _Twins(model, leaves, kind, "own", full, exact=passing)
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        nodes.append(node)
        leaf = leaves[node.name]
        if leaf == PIXELS:
            continue
        nodes += whole.of(node) + alone.of(node)
        for name in passing.intersection(node.output):
            found |= {f"{name}/{what}": {leaf} for what in ("signal", "total", "own")}
            nodes += _figure(name, f"{name}/signal", "ReduceSumSquare", keepdims=0)
            for twins in (whole, alone):
                error = f"{name}/{twins.title}/error"
                nodes += _figure(twins.named(name), error, "Sub", name)
                nodes += _figure(error, f"{name}/{twins.title}", "ReduceSumSquare", keepdims=0)
    speller = whole.speller
    speller.constants |= alone.speller.constants
    return Probe(_graph(model, nodes, speller, [*_kept(model), *found]), found)


def _kept(model: ModelProto) -> list[str]:
    """Return the outputs of a step graph that its next step needs."""
    return [value.name for value in model.graph.output if value.name.startswith(FRESH)]


def passing_tensors(model: ModelProto, leaves: dict[str, str]) -> set[str]:
    """Return the tensors that leave their leaf, without pixels."""
    taking = takers(model, leaves)
    last = {value.name for value in model.graph.output}
    return {
        name
        for node in model.graph.node
        for name in node.output
        if leaves[node.name] != PIXELS and (name in last or taking[name] != {leaves[node.name]})
    }


def takers(model: ModelProto, leaves: dict[str, str]) -> dict[str, set[str]]:
    """Return the leaves that use each tensor."""
    found: dict[str, set[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            found.setdefault(name, set()).add(leaves[node.name])
    return found


class _Twins:
    """Writes nodes a second time, in half.

    Args:
        model: the FP32 graph.
        leaves: of its nodes.
        kind: the half type.
        title: suffix of the twins' names.
        full: leaves that stay FP32.
        exact: tensors that twins use in FP32, instead of their twins.
    """

    def __init__(
        self, model: ModelProto, leaves: dict[str, str], kind: int, title: str, full: set[str], *, exact: set[str]
    ) -> None:
        self.speller = Speller()
        self.title = title
        self._leaves, self._kind, self._full, self._exact = leaves, kind, full, exact
        self._types = element_types(model)
        self._made_in = {name: leaves[node.name] for node in model.graph.node for name in node.output}
        self._near: set[str] = set()

    def named(self, name: str) -> str:
        """Return the name of a tensor's twin."""
        return f"{name}/{self.title}/twin"

    def of(self, node: NodeProto) -> list[NodeProto]:
        """Return a node's twin, and the nodes it needs before it."""
        full = self._leaves[node.name] in self._full
        nodes: list[NodeProto] = []
        twin = NodeProto()
        twin.CopyFrom(node)
        twin.name = self.named(node.name)
        for index, name in enumerate(node.input):
            if self._types[name] not in FLOATS:
                continue
            leaf = self._made_in.get(name, PIXELS)  # constants are FP32 at first, like pixels
            source = name if leaf == PIXELS or name in self._exact else self.named(name)
            twin.input[index] = source
            if not full and leaf in self._full:
                twin.input[index] = near = f"{source}/{self.title}/near"
                nodes += [] if near in self._near else round_trip(source, near, self._kind)
                self._near.add(near)
        for index, name in enumerate(node.output):
            twin.output[index] = self.named(name)
        for step in self.speller.spell_out(twin):
            nodes += rounded(step.node, self._kind) if step.computes and not full else [step.node]
        return nodes


def _figure(source: str, result: str, operator: str, *more: str, **attributes: Any) -> list[NodeProto]:
    return [helper.make_node(operator, [source, *more], [result], name=result, **attributes)]


def _graph(model: ModelProto, nodes: list[NodeProto], speller: Speller, outputs: Iterable[str]) -> ModelProto:
    """Return a graph with the inputs and constants of another."""
    result = with_inputs_of(model, "probe")
    result.graph.initializer.extend(model.graph.initializer)
    result.graph.initializer.extend(speller.constants.values())
    result.graph.node.extend(nodes)
    result.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs)
    return result
