"""Accuracy against speed: the worst blocks stay FP32, one after another, until the loss is small enough."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from onnx import ModelProto

from mar_edge.bundle import Parity
from mar_edge.calibration.placement import int8_share
from mar_edge.calibration.quantise import quantise
from mar_edge.calibration.sensitivity import Damage
from mar_edge.calibration.trial import Trial
from mar_edge.errors import OptionError
from mar_edge.model.graph_view import GraphView
from mar_edge.model_spec import Placement


class Row(NamedTuple):
    """One choice of blocks that stay FP32.

    Attributes:
        kept: the blocks.
        size_bytes: of the graph.
        int8_share: share of the multiply-accumulates that run in INT8.
        parity: against FP32.
        loss: of top-1 in points where there are labels, or else of agreement with FP32.
    """

    kept: tuple[str, ...]
    size_bytes: int
    int8_share: float
    parity: Parity
    loss: float


def loss_of(parity: Parity) -> float:
    """Return the loss of top-1 in points; without labels the clips in a hundred whose class is another than FP32's."""
    if parity.top1 is not None and parity.reference_top1 is not None:
        return 100 * (parity.reference_top1 - parity.top1)
    assert parity.top1_agreement is not None
    return 100 * (1 - parity.top1_agreement)


def trade_off(
    model: ModelProto,
    thresholds: Mapping[str, float],
    trial: Trial,
    damages: Sequence[Damage],
    *,
    placement: Placement,
    target_drop: float,
    residuals: bool = True,
    kept: Collection[str] = (),
    progress: Callable[[str], None] = lambda _message: None,
) -> list[Row]:
    """Keep blocks in FP32 until the loss is at most the target.

    Args:
        model: FP32; not changed.
        thresholds: see `quantise`.
        trial: what the loss is measured on.
        damages: of `sensitivity`, the worst block first.
        placement: see `placement.sites`.
        target_drop: loss in points that may remain, see `loss_of`.
        residuals: see `placement.sites`.
        kept: what stays FP32 in any case, and is not in the rows.
        progress: told what is being done.

    Returns:
        All that was tried; the last one is the choice. At worst all blocks are FP32, which loses nothing.

    Raises:
        OptionError: if the target is negative.
    """
    if not target_drop >= 0:
        raise OptionError(f"a drop of {target_drop:g} points cannot be met; 0 or more can")
    view = GraphView(model)
    rows: list[Row] = []
    for count in range(len(damages) + 1):
        blocks = tuple(damage.block for damage in damages[:count])
        everything = [*kept, *blocks]
        progress(f"trade-off: {count} of {len(damages)} blocks in fp32")
        graph = quantise(model, thresholds, placement=placement, kept=everything, residuals=residuals)
        parity = trial.judge(graph)
        share = int8_share(view, placement, everything)
        rows.append(Row(blocks, graph.ByteSize(), share, parity, loss_of(parity)))
        if rows[-1].loss <= target_drop:
            break
    return rows
