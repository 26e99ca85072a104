"""How well a model does: accuracy and its interval, confusion, calibration, from scores and true classes alone.

The predicted class is the one with the highest score, and of equal scores the first, as the runtime predicts it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Z95 = NormalDist().inv_cdf(0.975)
ECE_BINS = 15

Interval = tuple[float, float]
"""Lower and upper end, each 0 to 1."""


@dataclass(frozen=True)
class ClassAccuracy:
    """How one class fared.

    Attributes:
        label: the class.
        clips: clips that show it.
        right: how many of them were recognised.
    """

    label: str
    clips: int
    right: int

    @property
    def accuracy(self) -> float | None:
        """Share of its clips that were recognised; None without clips."""
        return self.right / self.clips if self.clips else None

    @property
    def interval95(self) -> Interval | None:
        """95 % interval of `accuracy`; None without clips."""
        return wilson(self.right, self.clips) if self.clips else None


class Bin(NamedTuple):
    """Clips of similar confidence, (low, high].

    Attributes:
        low, high: ends of the bin.
        clips: clips in it.
        confidence: their mean score of the predicted class; NaN without clips.
        accuracy: share of them that are right; NaN without clips.
    """

    low: float
    high: float
    clips: int
    confidence: float
    accuracy: float


def wilson(right: int, count: int) -> Interval:
    """Return the 95 % score interval of a share.

    Args:
        right: successes.
        count: trials, at least one.

    Raises:
        ValueError: if there are no trials, or more successes than trials.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    if not 0 <= right <= count or not count:
        raise ValueError(f"{right} of {count} is not a share")
    share = right / count
    scale = 1 + Z95**2 / count
    middle = (share + Z95**2 / (2 * count)) / scale
    reach = Z95 / scale * math.sqrt(share * (1 - share) / count + Z95**2 / (4 * count**2))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def ranks(scores: NDArray[np.float32], targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return at which place the true class comes, 0 for first.

    Args:
        scores: (N, C).
        targets: true classes (N,).

    Returns:
        int64 (N,); classes of equal score come in the order of their numbers.
    """
    true = np.take_along_axis(scores, targets[:, None], axis=1)  # (N, 1)
    before = np.arange(scores.shape[1])[None] < targets[:, None]  # (N, C)
    better: NDArray[np.bool_] = (scores > true) | ((scores == true) & before)
    places: NDArray[np.int64] = np.count_nonzero(better, axis=1)
    return places


def confusion_matrix(targets: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Return counts (classes, classes): row is the true class, column the predicted one."""
    counts: NDArray[np.int64] = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (targets, predicted), 1)
    return counts


def per_class(confusion: NDArray[np.int64], labels: tuple[str, ...]) -> tuple[ClassAccuracy, ...]:
    """Return how every class fared, in the order of the labels."""
    return tuple(
        ClassAccuracy(label, int(row.sum()), int(row[index]))
        for index, (label, row) in enumerate(zip(labels, confusion, strict=True))
    )


def confused_pairs(confusion: NDArray[np.int64], count: int) -> list[tuple[int, int, int]]:
    """Return the most frequent mistakes as (true class, predicted class, clips), most frequent first."""
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:count]
    pairs = [(int(flat // len(wrong)), int(flat % len(wrong))) for flat in order]
    return [(true, said, int(wrong[true, said])) for true, said in pairs if wrong[true, said]]


def reliability(confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int = ECE_BINS) -> tuple[Bin, ...]:
    """Sort clips into bins of equal width by their confidence.

    Args:
        confidence: score of the predicted class (N,), 0 to 1.
        right: whether it was right (N,).
        bins: how many bins.

    Source: Guo et al., "On calibration of modern neural networks", ICML 2017, arXiv 1706.04599, section 2.
    """
    edges = np.linspace(0, 1, bins + 1)
    # bin m is ((m - 1) / M, m / M]; nothing lies below the first
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    out = []
    for index in range(bins):
        here = place == index
        some = bool(here.any())
        out.append(
            Bin(
                float(edges[index]),
                float(edges[index + 1]),
                int(here.sum()),
                float(confidence[here].mean()) if some else math.nan,
                float(right[here].mean()) if some else math.nan,
            )
        )
    return tuple(out)


def calibration_error(bins: tuple[Bin, ...]) -> float:
    """Return the expected calibration error: mean distance of accuracy and confidence, weighted by clips.

    Source: Guo et al. 2017, equation 3.
    """
    total = sum(part.clips for part in bins)
    return sum(part.clips * abs(part.accuracy - part.confidence) for part in bins if part.clips) / total


def mean_loss(scores: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
    """Return the mean of -ln(score of the true class), that score held above the smallest normal float32."""
    true = np.take_along_axis(scores, targets[:, None], axis=1)[:, 0].astype(np.float64)
    return float(-np.log(np.maximum(true, np.finfo(np.float32).tiny)).mean())
