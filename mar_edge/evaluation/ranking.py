"""How well scores tell clips of a class from all others, at every threshold: ROC AUC, precision and recall.

Clips of equal score pass a threshold together, so their order does not matter.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mar_edge.counting import counted_of
from mar_edge.evaluation.intervals import GroupBootstrap, Interval, auc_interval, score_interval, united

Floats = NDArray[np.float64]


class Ranking:
    """Clips in the order of their scores for one class.

    Args:
        scores: of the class (N,), NaN-free.
        positive: which clips are of the class (N,); at least one is, and one is not.
        bootstrap: draws groups of the clips; None for independent clips.

    Attributes:
        thresholds: distinct scores, highest first (T,).

    Raises:
        ValueError: if all clips are of the class, or none is.
    """

    def __init__(self, scores: Floats, positive: NDArray[np.bool_], bootstrap: GroupBootstrap | None = None) -> None:
        if positive.all() or not positive.any():
            count = counted_of(int(positive.sum()), len(positive), "clip", "is", "are")
            raise ValueError(f"{count} of the class; some must be, and some not")
        self._order = np.argsort(-scores, kind="stable")
        ordered = scores[self._order]
        self._starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        self.thresholds: Floats = ordered[self._starts]
        self._positive = positive[self._order]
        self._bootstrap = bootstrap
        self._once = np.ones((1, len(scores)))

    @property
    def positives(self) -> int:
        """Clips of the class."""
        return int(self._positive.sum())

    @property
    def negatives(self) -> int:
        """All other clips."""
        return len(self._positive) - self.positives

    @cached_property
    def precision(self) -> Floats:
        """Share of the clips with at least this score that are of the class, at each of `thresholds` (T,)."""
        found, false = self._cumulated(self._once)
        return np.asarray((found / (found + false))[0])

    @cached_property
    def recall(self) -> Floats:
        """Share of the clips of the class that have at least this score, at each of `thresholds` (T,)."""
        return np.asarray(self._cumulated(self._once)[0][0] / self.positives)

    @cached_property
    def auc(self) -> float:
        """Probability that a clip of the class has a higher score than another one; equal scores count half."""
        return float(self._aucs(self._once)[0])

    @cached_property
    def average_precision(self) -> float:
        """Mean of the precisions at which the clips of the class are found, one after the other.

        Source: Manning, Raghavan and Schütze, "Introduction to information retrieval" (2008), section 8.4; without
        interpolation.
        """
        return float(self._average_precisions(self._once)[0])

    def curve(self, points: int) -> tuple[Floats, Floats, Floats]:
        """Return recall, precision and threshold of a precision-recall curve, from the highest threshold to the lowest.

        Args:
            points: most that are returned, evenly spread over the recall.
        """
        if len(self.thresholds) <= points:
            return self.recall, self.precision, self.thresholds
        wanted = np.linspace(self.recall[0], 1, points) - 1e-9  # thirds are not exact
        places = np.unique(np.searchsorted(self.recall, wanted, side="left").clip(0, len(self.recall) - 1))
        return self.recall[places], self.precision[places], self.thresholds[places]

    @property
    def intervals95(self) -> tuple[Interval, Interval]:
        """95 % intervals of `auc` and `average_precision`."""
        return self.auc_interval95, self.average_precision_interval95

    @cached_property
    def auc_interval95(self) -> Interval:
        """95 % interval of `auc`: Newcombe's, which the bootstrap over groups may widen."""
        alone = auc_interval(self.auc, self.positives, self.negatives)
        by_group = None if self._bootstrap is None else self._bootstrap.figure(self._aucs)
        return alone if by_group is None else united(alone, by_group)

    @cached_property
    def average_precision_interval95(self) -> Interval:
        """95 % interval of `average_precision`, which the bootstrap over groups may widen.

        For independent clips it is that of a share of as many clips as are of the class. Source: Boyd, Eng and Page, "Area under
        the precision-recall curve: point estimates and confidence intervals", ECML 2013, the binomial interval, in Wilson's form.
        """
        alone = score_interval(self.average_precision, self.positives)
        by_group = None if self._bootstrap is None else self._bootstrap.figure(self._average_precisions)
        return alone if by_group is None else united(alone, by_group)

    def _cumulated(self, times: Floats) -> tuple[Floats, Floats]:
        """Return how many clips of the class, and how many others, have at least a score: (D, T) each.

        Args:
            times: how often each clip counts (D, N).
        """
        times = times[:, self._order]
        of_class = np.add.reduceat(times * self._positive, self._starts, axis=1)
        others = np.add.reduceat(times * ~self._positive, self._starts, axis=1)
        return of_class.cumsum(axis=1), others.cumsum(axis=1)

    def _aucs(self, times: Floats) -> Floats:
        """Return the AUC of draws; NaN for one without clips of the class, or without others."""
        found, false = self._cumulated(times)
        of_class = np.diff(found, axis=1, prepend=0)
        others = np.diff(false, axis=1, prepend=0)
        worse = false[:, -1:] - false + others / 2
        with np.errstate(invalid="ignore"):
            return np.asarray((of_class * worse).sum(axis=1) / (found[:, -1] * false[:, -1]))

    def _average_precisions(self, times: Floats) -> Floats:
        """Return the average precision of draws; NaN for one without clips of the class."""
        found, false = self._cumulated(times)
        precision = found / np.maximum(found + false, 1)
        with np.errstate(invalid="ignore"):
            return np.asarray((np.diff(found, axis=1, prepend=0) * precision).sum(axis=1) / found[:, -1])
