"""Turns scores into events with a beginning and an end."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from mar_edge.runtime.results import Event, EventEnded, EventStarted
from mar_edge.runtime.streams.event_rule import AppliedRule


def new_event_id() -> str:
    """Return a UUID of version 7 (RFC 9562): unique over processes and runs, and sorted by the millisecond it was made."""
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 7 << 76  # version
    return str(UUID(int=value & ~(0b11 << 62) | 0b10 << 62))  # variant


@dataclass
class OpenEvent:
    """An event that may go on: in progress, or within the merge gap after `end_s`."""

    label: str
    start_s: float
    last_s: float
    peak: float
    id: str = ""
    started_at: datetime | None = None
    end_s: float | None = None


@dataclass(frozen=True)
class DetectorState:
    """Where a detector stands.

    Attributes:
        event: in progress, or within its merge gap; None for none.
        candidate: shorter than the minimum so far; None for none.
        ended_s: when the last event of each class ended, seconds.
        clock: a time and the same moment, UTC; None for a recording.
    """

    event: OpenEvent | None
    candidate: OpenEvent | None
    ended_s: dict[str, float]
    clock: tuple[float, datetime] | None

    @property
    def labels(self) -> set[str]:
        """The classes that it names."""
        return {*self.ended_s, *(one.label for one in (self.event, self.candidate) if one is not None)}


class EventDetector:
    """Follows one stream, in which one event is in progress at a time.

    Args:
        stream: name of the source.
        rule: when events begin and end, see `EventRule.applied_to`.
        new_id: makes the events' ids.
    """

    def __init__(self, stream: str, rule: AppliedRule, *, new_id: Callable[[], str] = new_event_id) -> None:
        self.stream = stream
        self.rule = rule
        self._new_id = new_id
        self._event: OpenEvent | None = None  # its start was reported
        self._candidate: OpenEvent | None = None  # shorter than the minimum so far; only while no event is in progress
        self._ended_s: dict[str, float] = {}  # by label, for the cool-down
        self._clock: tuple[float, datetime] | None = None
        self._told: list[Event] = []

    def update(
        self,
        scores: Mapping[str, float],
        time_s: float,
        *,
        captured_at: datetime | None = None,
        known: bool = True,
        begins: bool = True,
        ends: bool = True,
    ) -> tuple[Event, ...]:
        """Add the scores of a time.

        Args:
            scores: of all classes.
            time_s: when they were measured.
            captured_at: the same moment, UTC; None for a recording.
            known: whether they show one of the classes; if not, they count as idle.
            begins: whether an event may begin.
            ends: whether an event in progress may go on or end; if not, only time passes.

        Returns:
            What began and ended, in order.
        """
        if captured_at is not None:
            self._clock = (time_s, captured_at)
        if ends:
            for one in (self._event, self._candidate):
                if one is not None and one.end_s is None:
                    self._follow(one, scores[one.label] if known else 0.0, time_s)
        self._settle(time_s)
        if ends and begins and known:
            self._begin(scores, time_s)
            self._settle(time_s)
        return self._take()

    def state(self) -> DetectorState:
        """Return where it stands."""
        event, candidate = (None if one is None else replace(one) for one in (self._event, self._candidate))
        return DetectorState(event, candidate, dict(self._ended_s), self._clock)

    def restore(self, state: DetectorState) -> None:
        """Go on where another one of the same rule stood."""
        self._event, self._candidate = (None if one is None else replace(one) for one in (state.event, state.candidate))
        self._ended_s, self._clock = dict(state.ended_s), state.clock

    def cut(self) -> tuple[Event, ...]:
        """End the event in progress at the time it was last seen: the stream ended, was lost or has a gap."""
        self._candidate = None
        self._end()
        return self._take()

    def _follow(self, one: OpenEvent, score: float, time_s: float) -> None:
        if score < self.rule.offset_of(one.label):
            one.end_s = time_s
        else:
            one.last_s, one.peak = time_s, max(one.peak, score)

    def _begin(self, scores: Mapping[str, float], time_s: float) -> None:
        """Continue the last event or begin a candidate, if no event is in progress."""
        event = self._event
        if self._candidate is not None or (event is not None and event.end_s is None):
            return
        label, score = max(scores.items(), key=lambda item: item[1])
        if label == self.rule.idle_label or score < self.rule.onset_of(label):
            return
        if event is not None and label == event.label:  # within its merge gap, or it would be settled
            event.end_s, event.last_s, event.peak = None, time_s, max(event.peak, score)
        elif not self._cools_down(label, time_s):
            self._candidate = OpenEvent(label, time_s, time_s, score)

    def _cools_down(self, label: str, time_s: float) -> bool:
        ended_s = self._ended_s.get(label)
        return ended_s is not None and 0 <= time_s - ended_s < self.rule.cooldown_s

    def _settle(self, time_s: float) -> None:
        """Report what has become certain: a start that lasted, and an end that nothing continues."""
        candidate, event = self._candidate, self._event
        if candidate is not None and time_s - candidate.start_s >= self.rule.min_duration_s:
            self._end()
            self._start(candidate)
            self._candidate = None
        elif candidate is not None and candidate.end_s is not None:
            self._candidate = None
        event = self._event
        if event is not None and event.end_s is not None and time_s - event.end_s >= self.rule.merge_gap_s:
            self._end()

    def _start(self, event: OpenEvent) -> None:
        if self._clock is not None:
            time_s, captured_at = self._clock
            event.started_at = captured_at + timedelta(seconds=event.start_s - time_s)
        event.id = self._new_id()
        self._event = event
        self._told.append(
            EventStarted(
                id=event.id,
                stream=self.stream,
                label=event.label,
                start_s=event.start_s,
                score=event.peak,
                started_at=event.started_at,
            )
        )

    def _end(self) -> None:
        event, self._event = self._event, None
        if event is None:
            return
        end_s = event.last_s if event.end_s is None else event.end_s
        # by the stream's clock, so that a step of the system's clock changes no length
        ended_at = event.started_at and event.started_at + timedelta(seconds=end_s - event.start_s)
        self._ended_s[event.label] = end_s
        self._told.append(
            EventEnded(
                id=event.id,
                stream=self.stream,
                label=event.label,
                start_s=event.start_s,
                end_s=end_s,
                score=event.peak,
                started_at=event.started_at,
                ended_at=ended_at,
            )
        )

    def _take(self) -> tuple[Event, ...]:
        told, self._told = tuple(self._told), []
        return told
