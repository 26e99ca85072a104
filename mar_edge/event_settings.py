"""When events begin and end: what a model says about its own, what holds where nobody says anything, and what makes no sense."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Annotated, Any, TypeGuard

from pydantic import Field, model_validator

from mar_edge.files.yaml_part import Part, refuse

SMOOTHING_S = 0.3
"""Time constant of the score average where none is given."""

ONSET, OFFSET, MIN_DURATION_S, MERGE_GAP_S, COOLDOWN_S = 0.6, 0.4, 0.5, 0.0, 0.0
"""What holds where neither the user nor the model says anything."""

Seconds = Annotated[float, Field(ge=0)]
Score = Annotated[float, Field(gt=0, le=1)]


class ClassThresholds(Part):
    """Thresholds of one class, where they differ from those of all classes.

    Attributes:
        onset: score at which its events begin; `null` for that of all classes.
        offset: score below which they end; `null` for that of all classes.
    """

    onset: Score | None = None
    offset: Score | None = None


class Thresholds(Part):
    """What may be said about events, in a file; what is not said is None.

    Attributes:
        onset, offset, min_duration_s, merge_gap_s, cooldown_s, classes: see `EventDefaults`.
    """

    onset: Score | None = None
    offset: Score | None = None
    min_duration_s: Seconds | None = None
    merge_gap_s: Seconds | None = None
    cooldown_s: Seconds | None = None
    classes: dict[str, ClassThresholds] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _makes_sense(self) -> Thresholds:
        refuse(*problems_of(self))
        return self


class EventDefaults(Thresholds):
    """When events of a model begin and end, unless its user says otherwise; `null` for what holds for every model.

    They belong to the model: how high its scores rise, and for how long it names what it saw, comes of its training.

    Attributes:
        onset: smoothed score at which an event begins; `null` for 0.6.
        offset: score below which it ends; `null` for 0.4.
        min_duration_s: shorter events are not reported, seconds; `null` for 0.5.
        merge_gap_s: an event that begins again sooner than this after its end goes on, seconds; `null` for 0.
        cooldown_s: no event of a class begins for this time after the end of its last one, seconds; `null` for 0.
        classes: thresholds of single classes by label.
        smoothing_s: time constant of the score average, seconds; `null` for 0.3.
    """

    smoothing_s: Seconds | None = None

    @model_validator(mode="after")
    def _complete(self) -> EventDefaults:
        onset, offset = filled(self.onset, ONSET), filled(self.offset, OFFSET)
        refuse(*conflicts_of(SimpleNamespace(onset=onset, offset=offset, classes=self.classes)))
        return self

    def said(self) -> list[str]:
        """Return what it says in words, such as `onset 0.7` or `tick onset 0.8`."""
        words = [
            f"{name} {value:g}"
            for name in type(self).model_fields
            if name != "classes" and (value := getattr(self, name)) is not None
        ]
        for label, own in self.classes.items():
            words += [f"{label} {name} {value:g}" for name, value in own if value is not None]
        return words


def filled(value: float | None, default: float) -> float:
    """Return a value, or the default if it is None."""
    return default if value is None else value


def problems_of(rule: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield (key, problem) for everything that is invalid; what is None is not said, and not judged.

    Args:
        rule: an `EventRule`, or an object with some of its attributes, at least those of `Thresholds`.
    """
    for key in ("onset", "offset", "unknown_score"):
        value = getattr(rule, key, None)
        if value is not None and not _is_score(value):
            yield (key,), f"{value!r} is not a score; use a number above 0, at most 1"
    for key in ("min_duration_s", "merge_gap_s", "cooldown_s"):
        value = getattr(rule, key)
        if value is not None and (not _is_number(value) or value < 0):
            yield (key,), f"{value!r} is no time; use a number of seconds, 0 or more"
    idle_label, energy = getattr(rule, "idle_label", None), getattr(rule, "unknown_energy", None)
    if not (idle_label is None or isinstance(idle_label, str)):
        yield ("idle_label",), f"{idle_label!r} is no label; use a class, 'auto', or None"
    if energy is not None and not _is_number(energy):
        yield ("unknown_energy",), f"{energy!r} is no energy; use a finite number, or None"
    if not isinstance(rule.classes, Mapping):
        yield ("classes",), f"{rule.classes!r} is no mapping; use a ClassRule for each label"
        return
    for label, own in rule.classes.items():
        if not (hasattr(own, "onset") and hasattr(own, "offset")):
            yield ("classes", label), f"{own!r} is no rule; use ClassRule(onset=..., offset=...)"
            continue
        for key, value in (("onset", own.onset), ("offset", own.offset)):
            if value is not None and not _is_score(value):
                yield ("classes", label, key), f"{value!r} is not a score; use a number above 0, at most 1"
    yield from conflicts_of(rule)


def conflicts_of(rule: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield (key, problem) for scores that contradict each other; those that are no scores, or not said, are left out.

    Args:
        rule: see `problems_of`.
    """
    onsets = [rule.onset]
    if _is_score(rule.onset) and _is_score(rule.offset) and rule.offset > rule.onset:
        yield ("offset",), f"offset {rule.offset:g} is above onset {rule.onset:g}; an event would end where it begins"
    for label, own in rule.classes.items():
        own_onset, own_offset = getattr(own, "onset", None), getattr(own, "offset", None)
        onset = rule.onset if own_onset is None else own_onset
        offset = rule.offset if own_offset is None else own_offset
        onsets.append(onset)
        if (own_onset, own_offset) != (None, None) and _is_score(onset) and _is_score(offset) and offset > onset:
            key = "onset" if own_offset is None else "offset"
            yield (
                ("classes", label, key),
                f"offset {offset:g} is above onset {onset:g}; an event would end where it begins",
            )
    lowest, unknown = min(filter(_is_score, onsets), default=1), getattr(rule, "unknown_score", None)
    if _is_score(unknown) and unknown > lowest:
        yield ("unknown_score",), f"{unknown:g} is above onset {lowest:g}; no event would begin at that score"


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_score(value: object) -> TypeGuard[float]:
    return _is_number(value) and 0 < value <= 1
