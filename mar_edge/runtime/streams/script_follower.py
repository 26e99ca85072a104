"""Compares what a stream recognises with the script of its source."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass, field

from mar_edge.runtime.results import EVENT_GRACE_S, ScriptedPart, ScriptScore

_LATE_S = 10.0  # an event is reported once it has lasted for a while: parts are judged so much later
_PARTS = 500  # that are kept, the newest


@dataclass
class _Part:
    label: str
    start_s: float
    end_s: float
    seen: Counter[str] = field(default_factory=Counter)
    event: tuple[str, float] | None = None


class ScriptFollower:
    """Follows the script and the results of one stream, and keeps the score: see `ScriptScore` for what counts.

    Args:
        window_s: length of the model's window, seconds.
        labels: classes of the model.
        idle: label of the parts between events; None for a script of states.
    """

    def __init__(self, *, window_s: float, labels: Collection[str], idle: str | None) -> None:
        self._window_s, self._labels, self._idle = window_s, frozenset(labels), idle
        self._parts: deque[_Part] = deque(maxlen=_PARTS)  # of a script of events, those that were judged
        self._unknown: list[str] = []
        self._right = self._total = self._false = 0
        self._now: _Part | None = None
        self._open: list[_Part] = []  # that wait for their events, in order; the last may go on
        self._begun: list[tuple[str, float]] = []  # events that belong to no judged part

    def add(self, time_s: float, truth: str, since_s: float, label: str) -> None:
        """Add a prediction.

        Args:
            time_s: when its window ends, seconds.
            truth: what is shown then.
            since_s: since when.
            label: what was recognised.
        """
        if truth not in self._labels and truth not in self._unknown:
            self._unknown.append(truth)
        part = self._enter(truth, since_s)
        part.end_s = time_s
        if self._idle is not None:
            self._settle(time_s - _LATE_S)
        elif time_s - self._window_s >= since_s:
            part.seen[label] += 1
            self._total += 1
            self._right += label == truth

    def begin(self, label: str, start_s: float) -> None:
        """Add the beginning of an event, after the prediction that reports it."""
        if self._idle is not None:
            self._begun.append((label, start_s))

    def finish(self) -> None:
        """Judge what waits; nothing follows."""
        if self._now is not None and self._idle is not None:
            self._settle(self._now.end_s)

    def score(self) -> ScriptScore | None:
        """Return the score so far; None without a script."""
        if self._now is None:
            return None
        return ScriptScore(
            idle=self._idle,
            window_s=self._window_s,
            parts=tuple(
                ScriptedPart(
                    label=one.label, start_s=one.start_s, end_s=one.end_s, seen=dict(one.seen), event=one.event
                )
                for one in self._parts
            ),
            unknown=tuple(self._unknown),
            right=self._right,
            total=self._total,
            false=self._false,
        )

    def _enter(self, truth: str, since_s: float) -> _Part:
        """Return the part of the script that is shown now."""
        if self._now is not None and self._now.start_s == since_s:
            return self._now
        if self._now is not None:
            self._now.end_s = since_s
        self._now = _Part(truth, since_s, since_s)
        if self._idle is None:
            self._parts.append(self._now)
        elif truth != self._idle:
            self._open.append(self._now)
        return self._now

    def _settle(self, time_s: float) -> None:
        """Judge the parts whose events had to begin by a time, and the events that belong to none."""
        while self._open and self._open[0] is not self._now and self._open[0].end_s + EVENT_GRACE_S <= time_s:
            part = self._open.pop(0)
            in_time = [event for event in self._begun if self._belongs(event, part)]
            right = next((event for event in in_time if event[0] == part.label), None)
            part.event = right or next(iter(in_time), None)
            if right is not None:
                self._begun.remove(right)
            self._right += right is not None
            self._total += 1
            self._parts.append(part)
        waiting = [event for event in self._begun if any(self._belongs(event, part) for part in self._open)]
        self._false += len(self._begun) - len(waiting)
        self._begun = waiting

    def _belongs(self, event: tuple[str, float], part: _Part) -> bool:
        return part.start_s <= event[1] and (part is self._now or event[1] <= part.end_s + EVENT_GRACE_S)
