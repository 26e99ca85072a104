"""Turns what an engine answers for one stream into predictions and events."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from mar_edge.runtime.engines.engine import Engine
from mar_edge.runtime.results import Event, Prediction
from mar_edge.runtime.streams.decision import Decision
from mar_edge.runtime.streams.event_rule import EventRule
from mar_edge.runtime.streams.feed import ModelInput
from mar_edge.runtime.streams.smoothing import SMOOTHING_S

TOP = 5


class Recogniser:
    """The decision of one stream. Not thread-safe.

    Args:
        engine: what runs the graph.
        stream: name of the stream.
        smoothing_s: time constant of the score average, seconds.
        rule: when events begin and end.

    Attributes:
        engine: what runs the graph.
        inferences: inferences so far.

    Raises:
        OptionError: if the rule or the time constant is invalid for the model.
    """

    def __init__(
        self, engine: Engine, *, stream: str, smoothing_s: float = SMOOTHING_S, rule: EventRule | None = None
    ) -> None:
        self.inferences = 0
        self.engine = engine
        self._stream = stream
        self._decision = Decision(engine.spec, stream=stream, smoothing_s=smoothing_s, rule=rule)

    def predict(self, seen: ModelInput, logits: NDArray[np.float32], *, inference_ms: float) -> Prediction:
        """Return the prediction for an input, with the events that it begins and ends.

        Args:
            seen: the input.
            logits: float32 (classes,).
            inference_ms: how long the engine took for it, in milliseconds.
        """
        self.inferences += 1
        scores, events = self._decision.update(
            logits,
            seen.time_s,
            seen.captured_at,
            begins=seen.doubt is None,
            ends=seen.doubt is None or seen.holds,
        )
        return Prediction(
            stream=self._stream,
            time_s=seen.time_s,
            frame=seen.frame,
            label=self._decision.label,
            score=self._decision.score,
            top=scores[:TOP],
            latency_ms=1000 * (time.monotonic() - seen.arrived_s),
            inference_ms=inference_ms,
            mask=self.engine.variant.mask,
            engine=self.engine.name,
            captured_at=seen.captured_at,
            doubt=seen.doubt,
            events=events,
            truth=seen.truth,
            truth_since_s=seen.truth_since_s,
        )

    def cut_off(self) -> None:
        """Break off what lies before: an open event ends at the time it was last seen; the next prediction reports it."""
        self._decision.cut()

    def cut(self) -> tuple[Event, ...]:
        """Break off what lies before, and return the events that no prediction has reported yet."""
        self._decision.cut()
        return self._decision.take_events()
