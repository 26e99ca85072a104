"""Metrics of a model: accuracy and its interval, confusion, calibration, from scores and true classes alone.

The predicted class is the one with the highest score, of equal scores the first, as in the runtime.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mar_edge.counting import counted
from mar_edge.datasets.groups import Grouping
from mar_edge.evaluation.intervals import GroupBootstrap, Interval, mean_interval, percentiles, united, wilson

ECE_BINS = 15
TOP = 5

FEW_GROUPS = 10
"""With fewer, a bootstrap over groups tells little of how different further groups may be."""


@dataclass(frozen=True)
class ClassAccuracy:
    """The result of one class.

    Attributes:
        label: the class.
        clips: clips of the class.
        right: how many of them were recognised.
        by_group: 95 % interval of `accuracy` by a bootstrap over groups; None for independent clips.
    """

    label: str
    clips: int
    right: int
    by_group: Interval | None = None

    @property
    def accuracy(self) -> float | None:
        """Share of its clips that were recognised; None without clips."""
        return self.right / self.clips if self.clips else None

    @property
    def interval95(self) -> Interval | None:
        """95 % interval of `accuracy`; None without clips."""
        if not self.clips:
            return None
        alone = wilson(self.right, self.clips)
        return alone if self.by_group is None else united(alone, self.by_group)


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


def ranks(scores: NDArray[np.float32], targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rank of the true class, 0 for first.

    Args:
        scores: (N, C).
        targets: true classes (N,).

    Returns:
        int64 (N,); classes of equal score are ordered by their numbers.
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
    """Return the result of every class, in the order of the labels."""
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
    # bin m is ((m - 1) / M, m / M]; no value is below the first
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
    """Return the mean of -ln(score of the true class), with the score clamped to the smallest normal float32."""
    true = np.take_along_axis(scores, targets[:, None], axis=1)[:, 0].astype(np.float64)
    return float(-np.log(np.maximum(true, np.finfo(np.float32).tiny)).mean())


@dataclass(frozen=True, eq=False, kw_only=True)
class Evaluation:
    """A model's scores for labelled clips, and the metrics.

    Attributes:
        labels: the model's class names (C).
        scores: probabilities, float32 (N, C), averaged over the views of a clip.
        targets: true classes, int64 (N,).
        names: of the clips (N).
        paths: paths of the clips (N); empty if they are not files.
        views: (clips, crops) averaged; None for the model's default.
        windows: total number of clips and crops that the model classified.
        short: clips shorter than a window, whose last frames were repeated.
        broken: videos that could not be read and were left out, one sentence each.
        warnings: other problems while reading, one sentence each.
        elapsed_s: time taken.
        grouping: which clips belong together; None if that was not looked for.

    Raises:
        ValueError: if there is no clip, or the shapes do not fit.
    """

    labels: tuple[str, ...]
    scores: NDArray[np.float32]
    targets: NDArray[np.int64]
    names: tuple[str, ...]
    paths: tuple[Path, ...] = ()
    views: tuple[int, int] | None = None
    windows: int = 0
    short: int = 0
    broken: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    elapsed_s: float = 0.0
    grouping: Grouping | None = None

    def __post_init__(self) -> None:
        clips, classes = len(self.names), len(self.labels)
        if not clips or self.scores.shape != (clips, classes) or self.targets.shape != (clips,):
            raise ValueError(
                f"scores {self.scores.shape} and targets {self.targets.shape} do not fit {counted(clips, 'clip')} and {counted(classes, 'label')}"
            )
        if self.targets.min() < 0 or self.targets.max() >= classes:
            raise ValueError(
                f"targets range from {self.targets.min()} to {self.targets.max()}, labels to {classes - 1}"
            )
        if self.grouping is not None and len(self.grouping.groups) != clips:
            raise ValueError(f"{counted(len(self.grouping.groups), 'group')} do not fit {counted(clips, 'clip')}")

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """Predicted classes (N,); of equal scores the first."""
        best: NDArray[np.int64] = self.scores.argmax(axis=1)
        return best

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """Which clips were recognised (N,)."""
        return np.asarray(self.predicted == self.targets)

    @property
    def top1(self) -> float:
        """Share of clips whose best class is the true one."""
        return float(self.right.mean())

    @property
    def interval95(self) -> Interval:
        """95 % interval of `top1`, see `share_interval95`."""
        return self.share_interval95(self.right, np.ones(len(self.names), bool))

    @cached_property
    def top5(self) -> float | None:
        """Share of clips whose true class is among the best five; None for models of five classes or fewer."""
        if len(self.labels) <= TOP:
            return None
        return float((ranks(self.scores, self.targets) < TOP).mean())

    @property
    def mean_class_accuracy(self) -> float:
        """Mean of the classes' accuracies (macro recall), over those that have clips."""
        return float(np.mean([part.accuracy for part in self.per_class if part.accuracy is not None]))

    @cached_property
    def mean_class_interval95(self) -> Interval:
        """95 % interval of `mean_class_accuracy`: Zou and Donner's, which the bootstrap over groups may widen."""
        alone = mean_interval([(part.right, part.clips) for part in self.per_class if part.clips])
        by_group = None if self._recalls is None else percentiles(np.nanmean(self._recalls, axis=1))
        return alone if by_group is None else united(alone, by_group)

    @cached_property
    def bootstrap(self) -> GroupBootstrap | None:
        """Draws groups of clips; None if clips are independent, or all of one group."""
        if self.grouping is None or self.grouping.independent:
            return None
        found = GroupBootstrap(self.grouping.groups)
        return found if found.count > 1 else None

    @property
    def intervals_said(self) -> str:
        """How the intervals were made, in words."""
        said = "" if self.grouping is None else f" {self.grouping.said}"
        if self.bootstrap is None:
            return f"95 % intervals hold for independent clips.{said}"
        few = f" {FEW_GROUPS} groups or more would make them reliable." if self.bootstrap.count < FEW_GROUPS else ""
        return f"95 % intervals are those of a bootstrap over groups, and at least as wide as for independent clips.{said}{few}"

    def share_interval95(self, hits: NDArray[np.bool_], of: NDArray[np.bool_]) -> Interval:
        """Return the 95 % interval of the share of some clips that are hits: Wilson's, which the bootstrap over groups may widen.

        The bootstrap alone would collapse where all groups are alike, for instance without a single false alarm.

        Args:
            hits: (N,).
            of: which clips count (N,); at least one.
        """
        alone = wilson(int((hits & of).sum()), int(of.sum()))
        by_group = None if self.bootstrap is None else self.bootstrap.share(hits, of)
        return alone if by_group is None else united(alone, by_group)

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """Counts (C, C): row is the true class, column the predicted one."""
        return confusion_matrix(self.targets, self.predicted, len(self.labels))

    @cached_property
    def per_class(self) -> tuple[ClassAccuracy, ...]:
        """The result of every class."""
        parts = per_class(self.confusion, self.labels)
        if self._recalls is None:
            return parts
        return tuple(
            replace(part, by_group=percentiles(draws)) for part, draws in zip(parts, self._recalls.T, strict=True)
        )

    @cached_property
    def _recalls(self) -> NDArray[np.float64] | None:
        """Recall of every class in draws of groups (draws, C), NaN without clips; None for independent clips."""
        if self.bootstrap is None:
            return None
        true = np.eye(len(self.labels), dtype=bool)[self.targets]  # (N, C)
        counts = self.bootstrap.totals(true)
        with np.errstate(invalid="ignore"):
            return np.asarray(self.bootstrap.totals(true & self.right[:, None]) / counts)

    @cached_property
    def bins(self) -> tuple[Bin, ...]:
        """Accuracy by confidence, 15 bins."""
        return reliability(self.scores.max(axis=1).astype(np.float64), self.right)

    @property
    def ece(self) -> float:
        """Expected calibration error, 15 bins (Guo et al. 2017)."""
        return calibration_error(self.bins)

    @property
    def loss(self) -> float:
        """Mean cross entropy of the averaged scores."""
        return mean_loss(self.scores, self.targets)

    @property
    def absent(self) -> tuple[str, ...]:
        """Classes of the model without clips."""
        return tuple(part.label for part in self.per_class if not part.clips)

    def clips_json(self) -> list[dict[str, Any]]:
        """Return one JSON object per clip, of type `prediction`."""
        return [
            {
                "type": "prediction",
                "stream": str(self.paths[index] if self.paths else self.names[index]),
                "label": self.labels[said],
                "score": round(float(self.scores[index, said]), 4),
                "truth": self.labels[true],
                "truth_score": round(float(self.scores[index, true]), 4),
            }
            for index, (said, true) in enumerate(zip(self.predicted.tolist(), self.targets.tolist(), strict=True))
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the evaluation, of type `evaluation`."""
        return {
            "type": "evaluation",
            "clips": len(self.names),
            "top1": round(self.top1, 6),
            "interval95": [round(end, 6) for end in self.interval95],
            "top5": None if self.top5 is None else round(self.top5, 6),
            "mean_class_accuracy": round(self.mean_class_accuracy, 6),
            "mean_class_interval95": [round(end, 6) for end in self.mean_class_interval95],
            "intervals": self.intervals_said,
            "groups": None if self.bootstrap is None else self.bootstrap.count,
            "ece": round(self.ece, 6),
            "loss": round(self.loss, 6),
            "views": None if self.views is None else "x".join(map(str, self.views)),
            "windows": self.windows,
            "short_clips": self.short,
            "broken": list(self.broken),
            "labels": list(self.labels),
            "per_class": [
                {
                    "label": part.label,
                    "clips": part.clips,
                    "right": part.right,
                    "accuracy": None if part.accuracy is None else round(part.accuracy, 6),
                    "interval95": None if part.interval95 is None else [round(end, 6) for end in part.interval95],
                }
                for part in self.per_class
            ],
            "confusion": self.confusion.tolist(),
            "elapsed_s": round(self.elapsed_s, 4),
        }
