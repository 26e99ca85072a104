"""Attributes the error of a half graph's logits to its parts."""

from __future__ import annotations

from collections import defaultdict

from onnx import ModelProto, NodeProto

from mar_edge.export.half.parts import PIXELS
from mar_edge.export.half.probes import passing_tensors


def blame_leaves(model: ModelProto, leaves: dict[str, str], sums: dict[str, float]) -> dict[str, float]:
    """Return each leaf's share of the logits' error, from 0 to 1.

    The squared error of a tensor is that of its leaf, and for the rest that of its input tensors, in
    proportion to their errors: absolute ones if they are added, relative ones if they are multiplied. Followed
    back from the logits, this measures a leaf's effect on the logits, not the error of its own numbers.

    A number that is rounded when it is stored would be rounded when it is read if only its producer were FP32; so a leaf
    that reads it gets the same share.

    Args:
        model: the FP32 graph.
        leaves: of its nodes.
        sums: from `half_probes.error_probe`, over all clips.
    """
    passing = passing_tensors(model, leaves)
    maker = {name: node for node in model.graph.node for name in node.output}
    due: defaultdict[str, float] = defaultdict(float)
    due["logits"] = 1.0
    made: defaultdict[str, float] = defaultdict(float)
    taken: defaultdict[str, float] = defaultdict(float)
    for node in reversed(model.graph.node):
        for name in passing.intersection(node.output):
            leaf, total = leaves[node.name], sums[f"{name}/total"]
            own = min(1.0, sums[f"{name}/own"] / total) if total else 0.0
            made[leaf] += due[name] * own
            sources = _sources(name, maker, passing, leaves)
            absolute = node.op_type == "Add" and len(sources) > 1
            errors = {
                source: sums[f"{source}/total"] / (1.0 if absolute else sums[f"{source}/signal"] or 1.0)
                for source in sources
            }
            for source, error in errors.items():
                passed = due[name] * (1 - own) * error / (sum(errors.values()) or 1.0)
                due[source] += passed
                rounding = sums[f"{source}/own"] / (sums[f"{source}/total"] or 1.0)
                taken[leaf] += passed * min(1.0, rounding)
    return {leaf: max(made[leaf], taken[leaf]) for leaf in leaves.values() if leaf != PIXELS}


def _sources(name: str, maker: dict[str, NodeProto], passing: set[str], leaves: dict[str, str]) -> set[str]:
    """Return the passing tensors that a tensor is computed from."""
    found: set[str] = set()
    waiting = list(maker[name].input)
    while waiting:
        source = waiting.pop()
        if source in passing:
            found.add(source)
        elif source in maker and leaves[maker[source].name] != PIXELS:
            waiting += maker[source].input
    return found
