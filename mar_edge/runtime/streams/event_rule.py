"""When events begin and end, and what is no event."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mar_edge.errors import OptionError
from mar_edge.model_spec import ModelSpec


@dataclass(frozen=True, kw_only=True)
class ClassRule:
    """Thresholds of one class, where they differ from the rule's.

    Attributes:
        onset: score at which its events begin; None for the rule's.
        offset: score below which they end; None for the rule's.
    """

    onset: float | None = None
    offset: float | None = None


@dataclass(frozen=True, kw_only=True)
class EventRule:
    """When an event begins and ends.

    A window is *unknown* if it shows none of the classes, by `unknown_score` or `unknown_energy`. It counts as idle: no
    event begins in it, and the one in progress ends.

    Attributes:
        onset: smoothed score at which it begins, above 0 and at most 1.
        offset: score below which it ends; at most onset, so that a score in between changes nothing.
        min_duration_s: shorter events are not reported, seconds.
        merge_gap_s: an event that begins again sooner than this after its end goes on; its end is reported after this
            time, seconds.
        cooldown_s: no event of a class begins for this time after the end of its last one, seconds.
        idle_label: class that is never an event; `auto` for the model's own, None for none.
        unknown_score: a window whose best score is lower is unknown; None for no such limit.
        unknown_energy: a window whose energy, -log(sum(exp(logits))), is higher is unknown; None for no such limit.
            It depends on the model: measure it on what it should recognise and on what it should not. Source: Liu et
            al. 2020, "Energy-based Out-of-distribution Detection", https://arxiv.org/abs/2010.03759.
        classes: thresholds of single classes by label.

    Raises:
        OptionError: with everything that is invalid.
    """

    onset: float = 0.6
    offset: float = 0.4
    min_duration_s: float = 0.5
    merge_gap_s: float = 0.0
    cooldown_s: float = 0.0
    idle_label: str | None = "auto"
    unknown_score: float | None = None
    unknown_energy: float | None = None
    classes: Mapping[str, ClassRule] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = [f"{key} {problem}" for key, problem in problems_of(self)]
        if problems:
            raise OptionError("; ".join(problems))
        object.__setattr__(self, "classes", dict(self.classes))  # what the caller changes later changes no rule

    def onset_of(self, label: str) -> float:
        """Return the score at which events of a class begin."""
        own = self.classes.get(label)
        return self.onset if own is None or own.onset is None else own.onset

    def offset_of(self, label: str) -> float:
        """Return the score below which events of a class end."""
        own = self.classes.get(label)
        return self.offset if own is None or own.offset is None else own.offset

    def applied_to(self, spec: ModelSpec) -> EventRule:
        """Return the rule for a model, with its idle class instead of `auto`.

        Raises:
            OptionError: with every class of the rule that the model does not have, and the nearest one that it has.
        """
        named = [("classes", label) for label in self.classes]
        if self.idle_label not in ("auto", None):
            named.insert(0, ("idle_label", str(self.idle_label)))
        missing = [_missing(key, label, spec.labels) for key, label in named if label not in spec.labels]
        if missing:
            raise OptionError("; ".join(missing))
        return replace(self, idle_label=spec.idle_label) if self.idle_label == "auto" else self


def problems_of(rule: Any) -> Iterator[tuple[str, str]]:
    """Yield (key, problem) for everything that is invalid.

    Args:
        rule: an `EventRule`, or an object with the same attributes.
    """
    numbers = {"onset": rule.onset, "offset": rule.offset}
    wrong = [key for key, value in numbers.items() if not _is_score(value)]
    for key in wrong:
        yield key, f"is {numbers[key]!r}; use a number above 0, at most 1"
    if not wrong and rule.offset > rule.onset:
        yield "offset", f"is {rule.offset:g}, above onset {rule.onset:g}; it must not be higher"
    for key in ("min_duration_s", "merge_gap_s", "cooldown_s"):
        value = getattr(rule, key)
        if not _is_number(value) or value < 0:
            yield key, f"is {value!r}; use a number of seconds, 0 or more"
    if not (rule.idle_label is None or isinstance(rule.idle_label, str)):
        yield "idle_label", f"is {rule.idle_label!r}; use a class, 'auto', or None"
    if rule.unknown_energy is not None and not _is_number(rule.unknown_energy):
        yield "unknown_energy", f"is {rule.unknown_energy!r}; use a finite number, or None"
    if not isinstance(rule.classes, Mapping):
        yield "classes", f"is {rule.classes!r}; use a ClassRule for each label"
        return
    yield from _problems_of_classes(rule, {} if wrong else numbers)
    onsets = [rule.onset, *(own.onset for own in rule.classes.values() if getattr(own, "onset", None) is not None)]
    if rule.unknown_score is None:
        return
    if not _is_score(rule.unknown_score):
        yield "unknown_score", f"is {rule.unknown_score!r}; use a number above 0, at most 1, or None"
    elif all(map(_is_score, onsets)) and rule.unknown_score > min(onsets):
        yield (
            "unknown_score",
            f"is {rule.unknown_score:g}, above onset {min(onsets):g}; it must not be higher: no event begins in an unknown window",
        )


def _problems_of_classes(rule: Any, common: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Yield the problems of single classes; those that follow from wrong common thresholds are not repeated."""
    for label, own in rule.classes.items():
        if not isinstance(getattr(own, "onset", own), (int, float, type(None))) or not hasattr(own, "offset"):
            yield f"classes.{label}", f"is {own!r}; use ClassRule(onset=..., offset=...)"
            continue
        values = {key: getattr(own, key) for key in ("onset", "offset") if getattr(own, key) is not None}
        wrong = [key for key, value in values.items() if not _is_score(value)]
        for key in wrong:
            yield f"classes.{label}.{key}", f"is {values[key]!r}; use a number above 0, at most 1, or None"
        both = {**common, **values}
        if not wrong and len(both) == 2 and values and both["offset"] > both["onset"]:
            own_key = "offset" if "offset" in values else "onset"
            yield (
                f"classes.{label}.{own_key}",
                f"is {both[own_key]:g}, but offset must not be above onset: offset {both['offset']:g}, onset {both['onset']:g}",
            )


def _missing(key: str, label: str, labels: list[str]) -> str:
    near = difflib.get_close_matches(label, labels, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"{key}: '{label}' is not one of {', '.join(labels[:20])}{', ...' if len(labels) > 20 else ''}{hint}"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_score(value: object) -> bool:
    return _is_number(value) and 0 < value <= 1  # type: ignore[operator]
