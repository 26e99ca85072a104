"""Turns the logits of a stream's windows into predictions and events."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import OptionError
from mar_edge.model_spec import ModelSpec
from mar_edge.runtime.streams.events import EventDetector, EventRule
from mar_edge.runtime.results import Event
from mar_edge.runtime.streams.smoothing import Smoother, softmax


class Decision:
    """Smooths scores over time, and finds events in them.

    Args:
        spec: the model.
        stream: name of the stream, for its events.
        smoothing_s: time constant of the score average, seconds.
        rule: when events begin and end.

    Raises:
        OptionError: if the rule names a class that the model does not have, or the time constant is invalid.
    """

    def __init__(self, spec: ModelSpec, *, stream: str, smoothing_s: float, rule: EventRule | None = None) -> None:
        rule = rule or EventRule()
        if rule.idle_label == "auto":
            rule = replace(rule, idle_label=spec.idle_label)
        elif rule.idle_label is not None and rule.idle_label not in spec.labels:
            raise OptionError(f"idle_label '{rule.idle_label}' is not one of {', '.join(spec.labels[:20])}")
        self._labels = spec.labels
        self._smoother = Smoother(smoothing_s)
        self._detector = EventDetector(stream, rule)
        self._ended: tuple[Event, ...] = ()

    def update(
        self, logits: NDArray[np.float32], time_s: float, *, begins: bool = True, ends: bool = True
    ) -> tuple[tuple[tuple[str, float], ...], tuple[Event, ...]]:
        """Add the model's output for a window.

        Args:
            logits: float32 (classes,).
            time_s: time stamp of the window's newest frame.
            begins: whether the window shows enough for an event to begin.
            ends: whether it shows enough for one to end.

        Returns:
            (label, smoothed score) of all classes, best first; and the events that ended since the last call.
        """
        smoothed = self._smoother.update(softmax(logits), time_s)
        scores = dict(zip(self._labels, smoothed.tolist(), strict=True))
        if ends:
            self._ended += self._detector.update(scores, time_s, begins=begins)
        return tuple(sorted(scores.items(), key=lambda item: -item[1])), self.take_events()

    def cut(self) -> None:
        """Reset after a break in the stream. An open event ends at the time it was last seen."""
        self._ended += self._detector.finish()
        self._smoother.reset()

    def take_events(self) -> tuple[Event, ...]:
        """Return the events that ended and were not returned yet."""
        ended, self._ended = self._ended, ()
        return ended
