"""Compares models on the same clips, with an interval that allows for clips of one group being alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mar_edge.counting import counted
from mar_edge.evaluation.intervals import Z95, GroupBootstrap, Interval, percentiles, united, wilson
from mar_edge.evaluation.metrics import Evaluation


def share_interval95(right: NDArray[np.bool_], groups: Sequence[str]) -> Interval:
    """Return the 95 % interval of the share of clips that are right: Wilson's, which the bootstrap over groups may widen.

    Args:
        right: of every clip (N,), at least one.
        groups: of every clip; clips that are independent have one each.
    """
    return _widened(wilson(int(right.sum()), len(right)), right, groups)


@dataclass(frozen=True)
class Difference:
    """How much more of the same clips one model recognises than another.

    Attributes:
        gain: share of clips, -1 to 1.
        interval95: its 95 % interval.
        clips: number of clips.
        groups: number of groups that they come in.
    """

    gain: float
    interval95: Interval
    clips: int
    groups: int

    @property
    def verdict(self) -> Literal["better", "worse", "unclear"]:
        """Whether the interval leaves a doubt."""
        low, high = self.interval95
        return "better" if low > 0 else "worse" if high < 0 else "unclear"

    @property
    def figures(self) -> str:
        """The interval in points and what it is from, in brackets."""
        low, high = (100 * end for end in self.interval95)
        clips = counted(self.clips, "clip")
        drawn = clips if self.groups == self.clips else f"{clips} of {counted(self.groups, 'group')}"
        return f"(95 %: {low:+.1f} to {high:+.1f}, {drawn})"

    def said(self, name: str, other: str) -> str:
        """Return a sentence, as `Fine-tuning is better than the probe by 4.0 points (95 %: +1.0 to +7.0, 80 clips)`.

        Args:
            name: what the sentence is about.
            other: what it is compared with.
        """
        points = 100 * self.gain
        verdict = {
            "better": f"is better than {other} by {points:.1f} points",
            "worse": f"is worse than {other} by {-points:.1f} points",
            "unclear": f"is not shown to be better or worse than {other}: {points:+.1f} points",
        }
        return f"{name} {verdict[self.verdict]} {self.figures}"


def compare(evaluation: Evaluation, other: Evaluation, groups: Sequence[str]) -> Difference:
    """Compare two models on the same clips.

    The interval is that of independent clips, which the bootstrap over groups may widen: alone it would collapse where there is one
    group, or all groups are alike.

    Args:
        evaluation: results of one.
        other: results of the other, of the same clips in the same order.
        groups: of every clip.

    Raises:
        ValueError: if the clips are not the same.

    Source: Bonett and Price, "Adjusted Wald confidence interval for a difference of binomial proportions based on paired data",
    Journal of Educational and Behavioral Statistics 37 (2012).
    """
    if evaluation.names != other.names or not np.array_equal(evaluation.targets, other.targets):
        raise ValueError("the two were not judged on the same clips")
    gain = evaluation.right.astype(np.float64) - other.right
    count = len(gain)
    more, fewer = (((gain == sign).sum() + 1) / (count + 2) for sign in (1, -1))
    reach = Z95 * math.sqrt((more + fewer - (more - fewer) ** 2) / (count + 2))
    alone = max(-1.0, more - fewer - reach), min(1.0, more - fewer + reach)
    return Difference(float(gain.mean()), _widened(alone, gain, groups), count, len(set(groups)))


def _widened(alone: Interval, values: NDArray[np.floating] | NDArray[np.bool_], groups: Sequence[str]) -> Interval:
    """Return an interval of the mean of values, widened by the bootstrap over groups; of one group, or independent clips, as it is."""
    drawn = GroupBootstrap(groups)
    if drawn.count in (1, len(groups)):
        return alone
    by_group = percentiles(drawn.totals(values) / drawn.totals(np.ones(len(values))))
    assert by_group is not None  # every draw has clips
    return united(alone, by_group)
