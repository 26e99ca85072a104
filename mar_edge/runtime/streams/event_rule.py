"""When events begin and end, and what is no event."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field

from mar_edge.errors import OptionError
from mar_edge.event_settings import (
    COOLDOWN_S,
    MERGE_GAP_S,
    MIN_DURATION_S,
    OFFSET,
    ONSET,
    EventDefaults,
    filled,
    problems_of,
)
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

    What is None is not said: the model's own `events` decide it, and a default where the model says nothing either. A value
    that is given holds for every class, also where the model has another one for a class.

    A window is *unknown* if it shows none of the classes, by `unknown_score` or `unknown_energy`. It counts as idle: no
    event begins in it, and the one in progress ends.

    Attributes:
        onset: smoothed score at which it begins, above 0 and at most 1; None for the model's, or 0.6.
        offset: score below which it ends; at most onset, so that a score in between changes nothing; None for the model's,
            or 0.4.
        min_duration_s: shorter events are not reported, seconds; None for the model's, or 0.5.
        merge_gap_s: an event that begins again sooner than this after its end goes on; its end is reported after this
            time, seconds; None for the model's, or 0.
        cooldown_s: no event of a class begins for this time after the end of its last one, seconds; None for the model's,
            or 0.
        idle_label: class that is never an event; `auto` for the model's own, None for none.
        unknown_score: a window whose best score is lower is unknown; None for no such limit.
        unknown_energy: a window whose energy, -log(sum(exp(logits))), is higher is unknown; None for no such limit.
            It depends on the model: measure it on what it should recognise and on what it should not. Source: Liu et
            al. 2020, "Energy-based Out-of-distribution Detection", https://arxiv.org/abs/2010.03759.
        classes: thresholds of single classes by label.

    Raises:
        OptionError: with everything that is invalid.
    """

    onset: float | None = None
    offset: float | None = None
    min_duration_s: float | None = None
    merge_gap_s: float | None = None
    cooldown_s: float | None = None
    idle_label: str | None = "auto"
    unknown_score: float | None = None
    unknown_energy: float | None = None
    classes: Mapping[str, ClassRule] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = [f"{'.'.join(key)}: {problem}" for key, problem in problems_of(self)]
        if problems:
            raise OptionError("; ".join(problems))
        object.__setattr__(self, "classes", dict(self.classes))  # what the caller changes later changes no rule

    def applied_to(self, spec: ModelSpec) -> AppliedRule:
        """Return the rule for a model: with the model's own values, or the defaults, for what is not said.

        Raises:
            OptionError: with every class of the rule that the model does not have, and the nearest one that it has; or with
                thresholds that contradict those of the model.
        """
        named = [("classes", label) for label in self.classes]
        if self.idle_label not in ("auto", None):
            named.insert(0, ("idle_label", str(self.idle_label)))
        missing = [_missing(key, label, spec.labels) for key, label in named if label not in spec.labels]
        if missing:
            raise OptionError("; ".join(missing))
        own = spec.events or EventDefaults()
        onset = filled(self.onset, filled(own.onset, ONSET))
        offset = filled(self.offset, filled(own.offset, OFFSET))
        try:
            return AppliedRule(
                onset=onset,
                offset=offset,
                min_duration_s=filled(self.min_duration_s, filled(own.min_duration_s, MIN_DURATION_S)),
                merge_gap_s=filled(self.merge_gap_s, filled(own.merge_gap_s, MERGE_GAP_S)),
                cooldown_s=filled(self.cooldown_s, filled(own.cooldown_s, COOLDOWN_S)),
                idle_label=spec.idle_label if self.idle_label == "auto" else self.idle_label,
                unknown_score=self.unknown_score,
                unknown_energy=self.unknown_energy,
                classes=self._classes(own),
            )
        except OptionError as error:  # each value alone makes sense
            raise OptionError(
                f"{error}. Where nothing else is said, {spec.name} has onset {filled(own.onset, ONSET):g} and offset "
                f"{filled(own.offset, OFFSET):g}; give both"
            ) from error

    def _classes(self, own: EventDefaults) -> dict[str, ClassRule]:
        """Return the thresholds of single classes; those of the model where the rule says nothing for all classes."""
        found = dict(self.classes)
        for label, thresholds in own.classes.items():
            said = found.get(label, ClassRule())
            onset = thresholds.onset if said.onset is None and self.onset is None else said.onset
            offset = thresholds.offset if said.offset is None and self.offset is None else said.offset
            found[label] = ClassRule(onset=onset, offset=offset)
        return found


@dataclass(frozen=True, kw_only=True)
class AppliedRule(EventRule):
    """A rule of which nothing is left open: what `EventRule.applied_to` returns, and a stream goes by.

    Attributes:
        onset, offset, min_duration_s, merge_gap_s, cooldown_s: as `EventRule`; by default what holds where nobody says more.
    """

    onset: float = ONSET
    offset: float = OFFSET
    min_duration_s: float = MIN_DURATION_S
    merge_gap_s: float = MERGE_GAP_S
    cooldown_s: float = COOLDOWN_S

    def onset_of(self, label: str) -> float:
        """Return the score at which events of a class begin."""
        own = self.classes.get(label)
        return self.onset if own is None or own.onset is None else own.onset

    def offset_of(self, label: str) -> float:
        """Return the score below which events of a class end."""
        own = self.classes.get(label)
        return self.offset if own is None or own.offset is None else own.offset


def _missing(key: str, label: str, labels: list[str]) -> str:
    near = difflib.get_close_matches(label, labels, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"{key}: '{label}' is not one of {', '.join(labels[:20])}{', ...' if len(labels) > 20 else ''}{hint}"
