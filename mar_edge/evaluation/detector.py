"""One class of a model as a detector: from which score on how many of its clips are found, and how many others are taken for it.

What counts is what a live stream does: an event of a class begins where the class has the best score of all, and that score reaches the
class's onset. A live stream smooths the scores of its windows; here they are those of whole clips.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mar_edge.counting import counted
from mar_edge.evaluation.intervals import Interval
from mar_edge.evaluation.metrics import Evaluation
from mar_edge.evaluation.ranking import Floats, Ranking
from mar_edge.printable import printable

FEW_CLIPS = 10
"""With fewer clips of a class, its figures say little."""

CURVE_POINTS = 100
"""Most points of a precision-recall curve in JSON and reports."""


@dataclass(frozen=True)
class OperatingPoint:
    """What an onset makes of labelled clips.

    Attributes:
        onset: score at which events begin; None where every class has its own.
        found: clips of the class in which an event of the class begins.
        positives: clips of the class.
        false: other clips in which one begins.
        negatives: other clips.
        recall95: 95 % interval of `recall`.
        false_alarms95: 95 % interval of `false_alarms`.
    """

    onset: float | None
    found: int
    positives: int
    false: int
    negatives: int
    recall95: Interval
    false_alarms95: Interval

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "onset": self.onset,
            "found": self.found,
            "clips": self.positives,
            "recall": round(self.recall, 6),
            "recall95": rounded(self.recall95),
            "false": self.false,
            "others": self.negatives,
            "false_alarms": round(self.false_alarms, 6),
            "false_alarms95": rounded(self.false_alarms95),
        }

    @property
    def recall(self) -> float:
        """Share of the clips of the class that are found."""
        return self.found / self.positives

    @property
    def false_alarms(self) -> float:
        """Share of the other clips in which an event begins."""
        return self.false / self.negatives


class ClassDetector:
    """One class against all others.

    Args:
        evaluation: scores and true classes of clips.
        index: number of the class; there are clips of it, and others.

    Attributes:
        label: the class.
        ranking: of the clips by the score of the class.
    """

    def __init__(self, evaluation: Evaluation, index: int) -> None:
        self.label = evaluation.labels[index]
        self._evaluation = evaluation
        self._positive: NDArray[np.bool_] = evaluation.targets == index
        scores = evaluation.scores[:, index].astype(np.float64).clip(0, 1)
        self.ranking = Ranking(scores, self._positive, evaluation.bootstrap)
        # no event of the class begins where another class is better
        self._fires: Floats = np.where(evaluation.predicted == index, scores, -1.0)
        self._lowest = 1 / len(evaluation.labels)

    @cached_property
    def best_f1(self) -> tuple[float, float | None]:
        """The highest F1, and an onset that has it, of several the highest; 0 and None if the class is best in no clip of it."""
        own, others = (np.sort(self._fires[which]) for which in (self._positive, ~self._positive))
        onsets = np.unique(own[own >= 0])
        if not len(onsets):
            return 0.0, None
        found, false = (len(part) - np.searchsorted(part, onsets, side="left") for part in (own, others))
        f1 = 2 * found / (found + false + self.ranking.positives)
        best = len(f1) - 1 - int(f1[::-1].argmax())
        return float(f1[best]), self._below(float(onsets[best]))

    def at(self, onset: float) -> OperatingPoint:
        """Return what an onset makes of the clips."""
        fires = self._fires >= onset
        return point_of(self._evaluation, onset, fires, self._positive)

    def onset_for(self, false_alarms: float) -> float | None:
        """Return an onset that lets an event begin in at most this share of the other clips, and in as many of the class as possible.

        It lies in the middle between the last clip that it lets pass and the next one, which it does not.

        Args:
            false_alarms: 0 to 1.

        Returns:
            None if no clip of the class has a high enough score.
        """
        others = np.sort(self._fires[~self._positive])[::-1]
        allowed = math.floor(false_alarms * len(others) + 1e-9)  # 0.29 of 100 are not 28
        limit = others[allowed] if allowed < len(others) else -1.0
        own = self._fires[self._positive]
        passing = own[(own > limit) & (own >= 0)]
        return self._below(float(passing.min())) if len(passing) else None

    def _below(self, score: float) -> float:
        """Return a short number above the next lower score, and at most this one."""
        # the best score of a clip is never below that of a guess
        guess = self._lowest if self._lowest < score else 0.0
        lower = float(self._fires[self._fires < score].max(initial=guess))
        middle = (lower + score) / 2
        for digits in range(2, 17):
            short = round(middle, digits)
            if lower < short <= score:
                return short
        return score

    def told_of_few(self, false_alarms: float | None) -> str | None:
        """Return what too few clips mean for the figures, in a sentence; None if there are enough.

        Args:
            false_alarms: the wanted share; None if none is wanted.
        """
        said = []
        if self.ranking.positives < FEW_CLIPS:
            low, high = self._evaluation.share_interval95(self._fires >= 0, self._positive)
            clips = counted(self.ranking.positives, "clip")
            said.append(
                f"only {clips} of it: its recall is known to {100 * low:.0f} to {100 * high:.0f} % at best, and an onset chosen "
                "from them may be far from the best"
            )
        if false_alarms is not None and false_alarms * self.ranking.negatives < 1:
            nothing = np.zeros(len(self._fires), bool)
            worst = self._evaluation.share_interval95(nothing, ~self._positive)[1]
            others = counted(self.ranking.negatives, "clip")
            said.append(
                f"{others} of other classes cannot show {100 * false_alarms:g} %: none at all still means up to {100 * worst:.1f} %"
            )
        return f"{printable(self.label)}: {'; '.join(said)}" if said else None

    def to_json(self, *, intervals: bool) -> dict[str, Any]:
        """Return the JSON object of what holds at every onset.

        Args:
            intervals: whether the intervals of AUC and average precision are told.
        """
        f1, onset = self.best_f1
        auc, average = self.ranking.intervals95 if intervals else (None, None)
        recall, precision, thresholds = self.ranking.curve(CURVE_POINTS)
        return {
            "label": self.label,
            "clips": self.ranking.positives,
            "others": self.ranking.negatives,
            "auc": round(self.ranking.auc, 6),
            "auc95": auc and rounded(auc),
            "average_precision": round(self.ranking.average_precision, 6),
            "average_precision95": average and rounded(average),
            "f1": round(f1, 6),
            "f1_onset": onset,
            "curve": {
                "recall": recall.round(6).tolist(),
                "precision": precision.round(6).tolist(),
                "threshold": thresholds.round(6).tolist(),
            },
        }


def point_of(
    evaluation: Evaluation, onset: float | None, fires: NDArray[np.bool_], positive: NDArray[np.bool_]
) -> OperatingPoint:
    """Return what fires among labelled clips.

    Args:
        evaluation: of the clips.
        onset: that was used; None where every class has its own.
        fires: in which clips an event begins (N,).
        positive: in which one should (N,).
    """
    return OperatingPoint(
        onset=onset,
        found=int((fires & positive).sum()),
        positives=int(positive.sum()),
        false=int((fires & ~positive).sum()),
        negatives=int((~positive).sum()),
        recall95=evaluation.share_interval95(fires, positive),
        false_alarms95=evaluation.share_interval95(fires, ~positive),
    )


def rounded(interval: Interval) -> list[float]:
    """Return an interval for JSON."""
    return [round(end, 6) for end in interval]
