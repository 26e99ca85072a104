"""Measures the error of each block when only it is INT8."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from onnx import ModelProto

from mar_edge.calibration.quantise import quantise
from mar_edge.calibration.trial import Trial
from mar_edge.model.graph_view import GraphView, block_of
from mar_edge.model_spec import Placement
from mar_edge.reporting import Progress, no_progress


class Damage(NamedTuple):
    """How much the logits change when only one block is INT8.

    Attributes:
        block: such as `encoder.blocks.3`, or `classifier.head` for a part outside of blocks.
        kl: mean divergence from FP32, in nats.
        top1_agreement: share of the clips for which both predict the same class.
        cosine: smallest cosine between the logits of a clip.
    """

    block: str
    kl: float
    top1_agreement: float
    cosine: float


def blocks_of(view: GraphView) -> list[str]:
    """Return the blocks that have matrix products, in the graph's order."""
    return list(dict.fromkeys(block_of(product.node.name) for product in view.products))


def sensitivity(
    model: ModelProto,
    thresholds: Mapping[str, float],
    trial: Trial,
    *,
    placement: Placement,
    residuals: bool = True,
    kept: Collection[str] = (),
    progress: Progress = no_progress,
) -> list[Damage]:
    """Measure every block, the worst one first.

    Args:
        model: FP32; not changed.
        thresholds: see `quantise`.
        trial: the clips to measure on.
        placement: see `placement.sites`.
        residuals: see `placement.sites`.
        kept: parts that stay FP32 in any case.
        progress: called with the current step.

    Raises:
        ExportError: if a graph cannot be run.
    """
    blocks = blocks_of(GraphView(model))
    found = []
    for index, block in enumerate(blocks):
        progress(f"sensitivity: {block}, {index + 1} of {len(blocks)}", 0, 0)
        others = [other for other in blocks if other != block]
        graph = quantise(model, thresholds, placement=placement, kept=[*kept, *others], residuals=residuals)
        parity = trial.judge(graph).parity
        assert parity.kl is not None and parity.top1_agreement is not None and parity.cosine is not None
        found.append(Damage(block, parity.kl, parity.top1_agreement, parity.cosine))
    return sorted(found, key=lambda damage: -damage.kl)
