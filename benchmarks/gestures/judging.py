"""What a model's events and scores about labelled clips amount to: one answer a clip, and figures over all clips."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from watching import Begun

from mar_edge.errors import OptionError
from mar_edge.evaluation.intervals import GroupBootstrap, Interval, wilson
from mar_edge.evaluation.metrics import ClassAccuracy, confusion_matrix, per_class

NONE = "none"
GESTURES = ("swipe_left", "swipe_right", "swipe_up", "swipe_down", "circle", "tick", "cross")
SHAPES = ("square", "caret", "star")

CLASSES = {8: (NONE, *GESTURES), 11: (NONE, *GESTURES, *SHAPES)}
"""The classes that are judged, by their number; everything else is `none`."""

TRUTHS = (*GESTURES, *SHAPES, "other")
"""The classes of the real clips."""


def check_labels(labels: Sequence[str], classes: Sequence[str]) -> None:
    """Check that a model knows the classes that are judged.

    Raises:
        OptionError: if not.
    """
    if missing := [label for label in classes if label not in labels]:
        raise OptionError(
            f"the model has no class {', '.join(missing)}; it knows {', '.join(labels[:12])}. "
            "Give a bundle of the gestures recipe, and --classes 11 only for one with the shapes as well"
        )


def first_event(begun: Iterable[Begun], classes: Sequence[str]) -> Begun | None:
    """Return the first event of one of the classes; None if there is none."""
    return next((event for event in begun if event.label in classes and event.label != NONE), None)


def strongest(scores: NDArray[np.float64], labels: Sequence[str], classes: Sequence[str]) -> str:
    """Return the best class of the answer in which a class other than `none` is strongest.

    Args:
        scores: of all answers about a clip, (answers, labels).
        labels: the model's.
        classes: those that are judged; a best class that is none of them is `none`.
    """
    shown = [place for place, label in enumerate(labels) if label in classes and label != NONE]
    if not len(scores):
        return NONE
    answer = scores[scores[:, shown].max(axis=1).argmax()]
    best = labels[int(answer.argmax())]
    return best if best in classes else NONE


@dataclass(frozen=True)
class Answers:
    """One answer about each of several labelled clips.

    Attributes:
        classes: those that are judged, `none` first.
        truths: what the clips show; a class that is not judged counts as `none`.
        answers: one of the classes for each clip.
        groups: clips of one group are alike.

    Raises:
        ValueError: if there is no clip, or not one of each for every clip.
    """

    classes: tuple[str, ...]
    truths: tuple[str, ...]
    answers: tuple[str, ...]
    groups: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.truths or not len(self.truths) == len(self.answers) == len(self.groups):
            raise ValueError(
                f"{len(self.truths)} truths, {len(self.answers)} answers and {len(self.groups)} groups are not one a clip"
            )

    @cached_property
    def targets(self) -> NDArray[np.int64]:
        """The class of every clip (N,)."""
        places = {label: place for place, label in enumerate(self.classes)}
        return np.array([places.get(truth, places[NONE]) for truth in self.truths], np.int64)

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """The class that was answered (N,)."""
        return np.array([self.classes.index(answer) for answer in self.answers], np.int64)

    @property
    def right(self) -> int:
        """How many clips were answered right."""
        return int((self.targets == self.predicted).sum())

    @property
    def top1(self) -> float:
        """Share of clips that were answered right."""
        return self.right / len(self.truths)

    @property
    def top1_interval95(self) -> Interval:
        """95 % interval of `top1` for independent clips (Wilson)."""
        return wilson(self.right, len(self.truths))

    @property
    def per_class(self) -> tuple[ClassAccuracy, ...]:
        """Recall of every class that is judged."""
        return per_class(confusion_matrix(self.targets, self.predicted, len(self.classes)), self.classes)

    @property
    def macro_recall(self) -> float:
        """Mean recall over the classes that have clips."""
        return float(self._macro_recalls(np.ones((1, len(self.truths))))[0])

    @cached_property
    def macro_interval95(self) -> Interval:
        """95 % interval of `macro_recall` by a bootstrap over groups."""
        interval = GroupBootstrap(self.groups).figure(self._macro_recalls)
        assert interval is not None  # every draw has a clip
        return interval

    @cached_property
    def top1_interval95_by_group(self) -> Interval:
        """95 % interval of `top1` by a bootstrap over groups."""
        interval = GroupBootstrap(self.groups).share(self.targets == self.predicted, np.ones(len(self.truths), bool))
        assert interval is not None  # every draw has a clip
        return interval

    def confusion(self, rows: Sequence[str]) -> NDArray[np.int64]:
        """Return counts (rows, classes): what clips show against what was answered.

        Args:
            rows: the truths to count, in order.
        """
        counts = np.zeros((len(rows), len(self.classes)), np.int64)
        for truth, answer in zip(self.truths, self.predicted.tolist(), strict=True):
            if truth in rows:
                counts[rows.index(truth), answer] += 1
        return counts

    def _macro_recalls(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the macro recall of draws, from how often each clip was drawn (D, N)."""
        true = np.eye(len(self.classes))[self.targets]  # (N, classes)
        counts, found = times @ true, times @ (true * (self.targets == self.predicted)[:, None])
        recalls = np.divide(found, counts, out=np.full_like(counts, np.nan), where=counts > 0)
        return np.asarray(np.nanmean(recalls, axis=1))
