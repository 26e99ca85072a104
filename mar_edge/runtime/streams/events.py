"""Turns scores into events with a beginning and an end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mar_edge.errors import OptionError
from mar_edge.runtime.results import Event


@dataclass(frozen=True, kw_only=True)
class EventRule:
    """When an event begins and ends.

    Attributes:
        onset: score at which it begins.
        offset: score below which it ends; lower than onset, so that a score in between changes nothing.
        min_duration_s: shorter events are not reported.
        idle_label: class that is never an event; `auto` for the model's own, None for none.
    """

    onset: float = 0.6
    offset: float = 0.4
    min_duration_s: float = 0.5
    idle_label: str | None = "auto"

    def __post_init__(self) -> None:
        if not self.min_duration_s >= 0:
            raise OptionError(f"min_duration_s is {self.min_duration_s}; it must be 0 or more")
        if not 0 < self.offset <= self.onset <= 1:
            raise OptionError(
                f"event scores must satisfy 0 < offset <= onset <= 1, not offset {self.offset}, onset {self.onset}"
            )


class EventDetector:
    """Follows one stream.

    Args:
        stream: name of the source.
        rule: when events begin and end.
    """

    def __init__(self, stream: str, rule: EventRule) -> None:
        self.stream = stream
        self.rule = rule
        self._label: str | None = None
        self._start_s = 0.0
        self._last_s = 0.0
        self._peak = 0.0

    @property
    def current(self) -> str | None:
        """Label of the event in progress."""
        return self._label

    def update(self, scores: Mapping[str, float], time_s: float, *, begins: bool = True) -> tuple[Event, ...]:
        """Add the scores of a time; return the events that ended with it.

        Args:
            scores: of all classes.
            time_s: when they were measured.
            begins: whether an event may begin.
        """
        ended: tuple[Event, ...] = ()
        if self._label is not None:
            score = scores[self._label]
            if score < self.rule.offset:
                ended = self._end(time_s)
            else:
                self._last_s = time_s
                self._peak = max(self._peak, score)
        if self._label is None and begins:
            label, score = max(scores.items(), key=lambda item: item[1])
            if label != self.rule.idle_label and score >= self.rule.onset:
                self._label, self._start_s, self._last_s, self._peak = label, time_s, time_s, score
        return ended

    def finish(self) -> tuple[Event, ...]:
        """End the event in progress at the time it was last seen: the stream stopped or was cut."""
        return self._end(self._last_s) if self._label is not None else ()

    def _end(self, time_s: float) -> tuple[Event, ...]:
        assert self._label is not None
        event = Event(stream=self.stream, label=self._label, start_s=self._start_s, end_s=time_s, score=self._peak)
        self._label = None
        return (event,) if time_s - event.start_s >= self.rule.min_duration_s else ()
