"""Compares models on the same clips, with an interval that allows for clips of one group being alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mar_edge.counting import counted
from mar_edge.evaluation.intervals import GroupBootstrap, Interval, percentiles
from mar_edge.evaluation.metrics import Evaluation


def mean_interval95(values: NDArray[np.floating] | NDArray[np.bool_], groups: Sequence[str]) -> Interval:
    """Return the 95 % interval of the mean of a value over clips, by drawing whole groups with replacement.

    Args:
        values: of every clip (N,), at least one.
        groups: of every clip; clips that are independent have one each.
    """
    drawn = GroupBootstrap(groups)
    interval = percentiles(drawn.totals(values) / drawn.totals(np.ones(len(values))))
    assert interval is not None  # every draw has clips
    return interval


def say_difference(name: str, evaluation: Evaluation, other_name: str, other: Evaluation, groups: Sequence[str]) -> str:
    """Say whether one model is better than another on the same clips, as `Fine-tuning is better than the probe by 4.0 points`.

    Args:
        name: what the sentence is about.
        evaluation: its results.
        other_name: what it is compared with.
        other: its results, of clips with the same names.
        groups: of every clip of `other`.

    Raises:
        ValueError: if the clips are not the same.
    """
    right = dict(zip(evaluation.names, evaluation.right.tolist(), strict=True))
    if sorted(right) != sorted(other.names):
        raise ValueError(f"{name} and {other_name} were not judged on the same clips")
    gain = np.array([right[clip] for clip in other.names], np.float64) - other.right
    points, (low, high) = 100 * gain.mean(), mean_interval95(gain, groups)
    if low > 0:
        verdict = f"is better than {other_name} by {points:.1f} points"
    elif high < 0:
        verdict = f"is worse than {other_name} by {-points:.1f} points"
    else:
        verdict = f"is not shown to be better or worse than {other_name}: {points:+.1f} points"
    count = len(set(groups))
    drawn = (
        counted(len(gain), "clip")
        if count == len(gain)
        else f"{counted(len(gain), 'clip')} of {counted(count, 'group')}"
    )
    return f"{name} {verdict} (95 %: {100 * low:+.1f} to {100 * high:+.1f}, {drawn})"
