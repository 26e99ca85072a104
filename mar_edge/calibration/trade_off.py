"""Trades accuracy against speed: the worst blocks stay FP32, one after another."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from onnx import ModelProto

from mar_edge.calibration.placement import int8_share
from mar_edge.calibration.quantise import quantise
from mar_edge.calibration.sensitivity import Damage
from mar_edge.calibration.trial import Trial
from mar_edge.counting import counted
from mar_edge.manifest import Parity
from mar_edge.model.graph_view import GraphView
from mar_edge.model_spec import Placement
from mar_edge.reporting import Progress, no_progress


class Row(NamedTuple):
    """One choice of blocks that stay FP32.

    Attributes:
        kept: the blocks.
        size_bytes: of the graph.
        int8_share: share of the multiply-accumulates that run in INT8.
        parity: against FP32.
        missed: the bounds of INT8 that it misses.
        loss: of top-1 in points with labels, otherwise of agreement with FP32.
    """

    kept: tuple[str, ...]
    size_bytes: int
    int8_share: float
    parity: Parity
    missed: tuple[str, ...]
    loss: float

    def is_enough(self, target_drop: float | None) -> bool:
        """Return whether it keeps the bounds, and loses no more than a target in points, if there is one."""
        return not self.missed and (target_drop is None or self.loss <= target_drop)


def loss_of(parity: Parity) -> float:
    """Return the loss of top-1 in points; without labels the percentage of clips whose class differs from FP32's."""
    if parity.top1 is not None and parity.reference_top1 is not None:
        return 100 * (parity.reference_top1 - parity.top1)
    assert parity.top1_agreement is not None
    return 100 * (1 - parity.top1_agreement)


def trade_off(
    model: ModelProto,
    thresholds: Mapping[str, float],
    trial: Trial,
    damages: Callable[[], Sequence[Damage]],
    *,
    placement: Placement,
    residuals: bool = True,
    kept: Collection[str] = (),
    progress: Progress = no_progress,
) -> Iterator[Row]:
    """Keep no block in FP32, then the worst one, then the two worst, until all are kept.

    Args:
        model: FP32; not changed.
        thresholds: see `quantise`.
        trial: the clips to measure the loss on.
        damages: returns those of `sensitivity`, the worst block first; called when a block has to be kept.
        placement: see `placement.sites`.
        residuals: see `placement.sites`.
        kept: parts that stay FP32 in any case, and are not in the rows.
        progress: called with the current step.

    Yields:
        The result of each choice; in the last one all blocks are FP32, which loses nothing.

    Raises:
        ExportError: if a graph cannot be run.
    """
    view = GraphView(model)
    blocks: list[str] = []
    left: Iterator[Damage] | None = None
    while True:
        progress(f"trade-off: {counted(len(blocks), 'block')} in fp32", 0, 0)
        everything = [*kept, *blocks]
        graph = quantise(model, thresholds, placement=placement, kept=everything, residuals=residuals)
        verdict = trial.judge(graph)
        yield Row(
            tuple(blocks),
            graph.ByteSize(),
            int8_share(view, placement, everything),
            verdict.parity,
            verdict.missed,
            loss_of(verdict.parity),
        )
        left = left or iter(damages())
        if (damage := next(left, None)) is None:
            return
        blocks.append(damage.block)
