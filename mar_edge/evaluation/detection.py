"""A model as a detector, by an evaluation: each class that is an event, and all of them together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mar_edge.counting import form
from mar_edge.datasets.label_likeness import nearest
from mar_edge.errors import DataError, OptionError
from mar_edge.evaluation.detector import ClassDetector, OperatingPoint, point_of
from mar_edge.evaluation.metrics import Evaluation
from mar_edge.printable import printable

NAMED = 10

MOST_BOOTSTRAPS = 20
"""With more classes in groups of clips, AUC and average precision have no intervals."""


@dataclass(frozen=True, eq=False)
class Detection:
    """The detectors of a model, by an evaluation.

    Attributes:
        evaluation: scores and true classes of clips.
        idle_label: class that is never an event; None for none.
        onsets: at which events of each class begin now, by label.
        detectors: of each class that is an event, and can be judged.
        unjudged: why the other classes that are events cannot be judged, by label.
        false_alarms: share of the clips of other classes in which an event may begin; None if no onset is to be chosen.
        chosen: onset for it, by label; None where it finds no clip. Empty if none is to be chosen.
    """

    evaluation: Evaluation
    idle_label: str | None
    onsets: Mapping[str, float]
    detectors: tuple[ClassDetector, ...]
    unjudged: Mapping[str, str]
    false_alarms: float | None
    chosen: Mapping[str, float | None]

    @property
    def notes(self) -> list[str]:
        """Sentences on what too few clips mean."""
        return [said for one in self.detectors if (said := one.told_of_few(self.false_alarms))]

    @property
    def with_intervals(self) -> bool:
        """Whether intervals of AUC and average precision are made: not where a bootstrap of very many classes would take minutes."""
        return self.evaluation.bootstrap is None or len(self.detectors) <= MOST_BOOTSTRAPS

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        classes = []
        for one in self.detectors:
            onset, chosen = self.onsets[one.label], self.chosen.get(one.label)
            points = {"at_onset": one.at(onset), "at_chosen": None if chosen is None else one.at(chosen)}
            told = {name: None if point is None else point.to_json() for name, point in points.items()}
            classes.append({**one.to_json(intervals=self.with_intervals), **told})
        any_now, any_chosen = self.any_event(self.onsets), self.any_event(self.chosen_onsets) if self.chosen else None
        return {
            "false_alarms": self.false_alarms,
            "classes": classes,
            "any_event": any_now and any_now.to_json(),
            "any_event_chosen": any_chosen and any_chosen.to_json(),
            "unjudged": dict(self.unjudged),
            "notes": self.notes,
        }

    def points(self) -> Iterator[tuple[str | None, OperatingPoint, bool]]:
        """Yield (class, what its onset makes of the clips, whether it is the chosen one); the class is None for any event."""
        for one in self.detectors:
            yield one.label, one.at(self.onsets[one.label]), False
            chosen = self.chosen.get(one.label)
            if chosen is not None:
                yield one.label, one.at(chosen), True
        for onsets, chosen_ones in ((self.onsets, False), *([(self.chosen_onsets, True)] if self.chosen else [])):
            if (point := self.any_event(onsets)) is not None:
                yield None, point, chosen_ones

    def any_event(self, onsets: Mapping[str, float]) -> OperatingPoint | None:
        """Return how many clips with an action, and how many idle ones, begin an event of any class.

        Args:
            onsets: by label.

        Returns:
            None unless the model has an idle class and several others, with clips of both.
        """
        if self.idle_label is None or len(self.evaluation.labels) < 3:
            return None
        idle = self.evaluation.labels.index(self.idle_label)
        acts = self.evaluation.targets != idle
        if acts.all() or not acts.any():
            return None
        own = np.array([onsets.get(label, np.inf) for label in self.evaluation.labels])
        own[idle] = np.inf
        best = self.evaluation.scores.max(axis=1).astype(np.float64).clip(0, 1)
        return point_of(self.evaluation, None, best >= own[self.evaluation.predicted], acts)

    @property
    def chosen_onsets(self) -> dict[str, float]:
        """Onset of every class if the chosen ones were set, by label."""
        return {**self.onsets, **{label: onset for label, onset in self.chosen.items() if onset is not None}}


def detect(
    evaluation: Evaluation,
    *,
    idle_label: str | None,
    onsets: Mapping[str, float],
    false_alarms: float | None = None,
    classes: Sequence[str] = (),
) -> Detection:
    """Judge a model as a detector of each of its classes.

    Args:
        evaluation: scores and true classes of clips.
        idle_label: class that is never an event; None for none.
        onsets: at which events of each class begin now, by label; of every class that is an event.
        false_alarms: see `check_detection`.
        classes: see `check_detection`.

    Raises:
        OptionError, DataError: see `check_detection`.
    """
    clips = np.bincount(evaluation.targets, minlength=len(evaluation.labels)).tolist()
    counts = dict(zip(evaluation.labels, clips, strict=True))
    unjudged = check_detection(counts, idle_label, false_alarms=false_alarms, classes=classes)
    detectors = [
        ClassDetector(evaluation, index)
        for index, label in enumerate(evaluation.labels)
        if label != idle_label and label not in unjudged
    ]
    chosen = {}
    if false_alarms is not None:
        wanted = classes or evaluation.labels
        chosen = {one.label: one.onset_for(false_alarms) for one in detectors if one.label in wanted}
    return Detection(evaluation, idle_label, onsets, tuple(detectors), unjudged, false_alarms, chosen)


def check_detection(
    counts: Mapping[str, int],
    idle_label: str | None,
    *,
    false_alarms: float | None = None,
    classes: Sequence[str] = (),
) -> dict[str, str]:
    """Check that the wanted onsets can be chosen from clips, before the clips are classified.

    Args:
        counts: clips of every class of the model.
        idle_label: class that is never an event; None for none.
        false_alarms: share of the clips of other classes in which an event may begin, 0 to below 1; an onset is chosen for it. None
            if none is to be chosen.
        classes: those to choose an onset for; by default all that are events and can be judged.

    Returns:
        Why some classes that are events cannot be judged, by label.

    Raises:
        OptionError: if the share is not one below 1, or a class is none of the model's that is an event.
        DataError: if one of `classes`, or every class, has no clips, or there are no others.
    """
    if false_alarms is not None and not 0 <= false_alarms < 1:
        raise OptionError(
            f"--false-alarms {false_alarms:g} is no share of clips; use 0 to below 1, such as 0.01 for 1 %"
        )
    if classes and false_alarms is None:
        raise OptionError("--class needs a share of false alarms to choose the onset for: add --false-alarms 0.01")
    for label in classes:
        _check_event(label, list(counts), idle_label)
    total, reasons = sum(counts.values()), {}
    for label, clips in counts.items():
        if label != idle_label and not clips:
            reasons[label] = "there are no clips of it"
        elif label != idle_label and clips == total:
            reasons[label] = f"{form(clips, 'the only clip is', 'all clips are')} of it, so there can be no false alarm"
    everything = classes or [label for label in counts if label != idle_label]
    lacking = [label for label in everything if label in reasons]
    if false_alarms is not None and lacking and (classes or len(lacking) == len(everything)):
        told = "; ".join(f"{printable(label)}: {reasons[label]}" for label in lacking[:NAMED])
        raise DataError(f"no onset can be chosen. {told}. Use a list with clips of the class and of others")
    return reasons


def _check_event(label: str, labels: Sequence[str], idle_label: str | None) -> None:
    """Check that a class can be an event.

    Raises:
        OptionError: if it is no class, or the idle one.
    """
    if label not in labels:
        near = nearest(label, labels)
        hint = f"did you mean '{near}'?" if near is not None else f"it knows {', '.join(labels[:NAMED])}"
        raise OptionError(f"--class: the model has no class '{printable(label)}'; {hint}")
    if label == idle_label:
        raise OptionError(f"--class: '{printable(label)}' is the model's idle class, which is never an event")
