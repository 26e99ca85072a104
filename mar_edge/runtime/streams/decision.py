"""Turns the logits of a stream's windows into scores, a label and events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mar_edge.errors import OptionError
from mar_edge.model_spec import ModelSpec
from mar_edge.runtime.results import Event, EventEnded, EventStarted
from mar_edge.runtime.streams.event_rule import EventRule
from mar_edge.runtime.streams.events import DetectorState, EventDetector, new_event_id
from mar_edge.runtime.streams.smoothing import Smoother, SmootherState, energy, softmax

UNKNOWN = "unknown"
"""Label of an unknown window if the model has no idle class."""


@dataclass(frozen=True)
class DecisionState:
    """Where a decision stands.

    Attributes:
        scores: where the average of the scores stands.
        energy: where that of the energy stands.
        detector: where the detector of events stands.
        waiting: events that no prediction has reported yet.
        label, score, known: see `Decision`.
    """

    scores: SmootherState
    energy: SmootherState
    detector: DetectorState
    waiting: tuple[Annotated[EventEnded | EventStarted, Field(union_mode="left_to_right")], ...]
    label: str
    score: float
    known: bool


class Decision:
    """Smooths scores over time, and finds events in them.

    Args:
        spec: the model.
        stream: name of the stream, for its events.
        smoothing_s: time constant of the score average, and of that of the energy, seconds; None for the model's own.
        rule: when events begin and end; what it leaves open is as the model says.
        new_id: makes the events' ids.

    Attributes:
        label: what the newest window shows: the class with the best smoothed score; for an unknown one the rule's idle
            class, or `unknown` if there is none.
        score: smoothed score of that class; the best of all classes if the label is `unknown`.
        known: whether the newest window shows one of the classes.

    Raises:
        OptionError: if the rule names a class that the model does not have, or the time constant is invalid.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        stream: str,
        smoothing_s: float | None = None,
        rule: EventRule | None = None,
        new_id: Callable[[], str] = new_event_id,
    ) -> None:
        self._labels = spec.labels
        if not isinstance(rule, EventRule | None):
            raise OptionError(f"rule is {rule!r}; give an EventRule, such as mar_edge.EventRule(onset=0.6)")
        self._rule = (rule or EventRule()).applied_to(spec)
        smoothing_s = spec.smoothing_s if smoothing_s is None else smoothing_s
        self._smoother, self._energy = Smoother(smoothing_s), Smoother(smoothing_s)
        self._detector = EventDetector(stream, self._rule, new_id=new_id)
        self._waiting: tuple[Event, ...] = ()
        self.label = self._rule.idle_label or UNKNOWN
        self.score = 0.0
        self.known = False

    def update(
        self,
        logits: NDArray[np.float32],
        time_s: float,
        captured_at: datetime | None = None,
        *,
        begins: bool = True,
        ends: bool = True,
    ) -> tuple[tuple[tuple[str, float], ...], tuple[Event, ...]]:
        """Add the model's output for a window.

        Args:
            logits: float32 (classes,).
            time_s: time stamp of the window's newest frame.
            captured_at: when that frame arrived, UTC; None for a recording.
            begins: whether the window shows enough for an event to begin.
            ends: whether it shows enough for one to end.

        Returns:
            (label, smoothed score) of all classes, best first; and the events that were not returned yet, in order.
        """
        smoothed = self._smoother.update(softmax(logits), time_s)
        scores = dict(zip(self._labels, smoothed.tolist(), strict=True))
        best = tuple(sorted(scores.items(), key=lambda item: -item[1]))
        self.known = self._is_known(best[0][1], float(self._energy.update(energy(logits), time_s)))
        self.label, self.score = best[0]
        if not self.known:
            self.label = self._rule.idle_label or UNKNOWN
            self.score = scores.get(self.label, self.score) if self._rule.idle_label else self.score
        self._waiting += self._detector.update(
            scores, time_s, captured_at=captured_at, known=self.known, begins=begins, ends=ends
        )
        return best, self.take_events()

    def cut(self) -> None:
        """Reset after a break in the stream. An event in progress ends at the time it was last seen."""
        self._waiting += self._detector.cut()
        self._smoother.reset()
        self._energy.reset()

    def state(self) -> DecisionState:
        """Return where it stands."""
        return DecisionState(
            scores=self._smoother.state(),
            energy=self._energy.state(),
            detector=self._detector.state(),
            waiting=self._waiting,
            label=self.label,
            score=self.score,
            known=self.known,
        )

    def restore(self, state: DecisionState) -> None:
        """Go on where another one for the same model stood.

        Raises:
            ValueError: if it is of another model.
        """
        known = {*self._labels, UNKNOWN}
        if strange := ({state.label} | state.detector.labels | {event.label for event in state.waiting}) - known:
            raise ValueError(f"it has a class {sorted(strange)[0]!r}, which the model does not have")
        self._smoother.restore(state.scores, (len(self._labels),))
        self._energy.restore(state.energy, ())
        self._detector.restore(state.detector)
        self._waiting = state.waiting
        self.label, self.score, self.known = state.label, state.score, state.known

    def take_events(self) -> tuple[Event, ...]:
        """Return the events that were not returned yet, in order."""
        taken, self._waiting = self._waiting, ()
        return taken

    def _is_known(self, score: float, energy: float) -> bool:
        rule = self._rule
        return (rule.unknown_score is None or score >= rule.unknown_score) and (
            rule.unknown_energy is None or energy <= rule.unknown_energy
        )
