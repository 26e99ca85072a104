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
        problems = [f"{'.'.join(key)}: {problem}" for key, problem in problems_of(self)]
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


def problems_of(rule: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield (key, problem) for everything that is invalid.

    Args:
        rule: an `EventRule`, or an object with the same attributes.
    """
    for key in ("onset", "offset", "unknown_score"):
        value = getattr(rule, key)
        if not _is_score(value) and (key != "unknown_score" or value is not None):
            yield (key,), f"{value!r} is not a score; use a number above 0, at most 1"
    for key in ("min_duration_s", "merge_gap_s", "cooldown_s"):
        value = getattr(rule, key)
        if not _is_number(value) or value < 0:
            yield (key,), f"{value!r} is no time; use a number of seconds, 0 or more"
    if not (rule.idle_label is None or isinstance(rule.idle_label, str)):
        yield ("idle_label",), f"{rule.idle_label!r} is no label; use a class, 'auto', or None"
    if rule.unknown_energy is not None and not _is_number(rule.unknown_energy):
        yield ("unknown_energy",), f"{rule.unknown_energy!r} is no energy; use a finite number, or None"
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
    """Yield (key, problem) for scores that contradict each other; those that are no scores are left out.

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
    lowest = min(filter(_is_score, onsets), default=1)
    if _is_score(rule.unknown_score) and rule.unknown_score > lowest:
        yield (
            ("unknown_score",),
            f"{rule.unknown_score:g} is above onset {lowest:g}; no event would begin at that score",
        )


def _missing(key: str, label: str, labels: list[str]) -> str:
    near = difflib.get_close_matches(label, labels, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"{key}: '{label}' is not one of {', '.join(labels[:20])}{', ...' if len(labels) > 20 else ''}{hint}"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_score(value: object) -> bool:
    return _is_number(value) and 0 < value <= 1  # type: ignore[operator]
