"""Turns what an engine answers for one stream into predictions and events, and holds what a streaming model keeps of it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import OptionError
from mar_edge.masking import PLACES
from mar_edge.runtime.clips.windows import cold_doubt
from mar_edge.runtime.engines.engine import Engine
from mar_edge.runtime.engines.stream_state import StreamState
from mar_edge.runtime.results import Event, Prediction
from mar_edge.runtime.streams.decision import Decision
from mar_edge.runtime.streams.event_rule import EventRule
from mar_edge.runtime.streams.feed import ModelInput
from mar_edge.runtime.streams.saving.skip_gate import THRESHOLD, SkipGate
from mar_edge.runtime.streams.session_state import Notes

TOP = 5

_STATE, _LAST, _STILL = "state.", "logits", "still"
"""Names of arrays, and the beginning of those of the state."""


class Recogniser:
    """The decision of one stream, and its state if the model is a streaming one. Not thread-safe.

    Args:
        engine: what runs the graph.
        stream: name of the stream.
        smoothing_s: time constant of the score average, seconds; None for the model's own, or 0.3.
        rule: when events begin and end; what it leaves open is as the model says.
        skip_still: difference in grey levels up to which a time step is still and need not run, see `SkipGate`; True for
            its default, None to run every step.

    Attributes:
        engine: what ran the graph last, or runs it first.
        state: what the model keeps of the stream; None for a windowed model.
        inferences: inferences so far.
        reused: time steps that did not run because nothing moved.

    Raises:
        OptionError: if the rule or the time constant is invalid for the model, or steps are to be skipped that it does not
            have.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        stream: str,
        smoothing_s: float | None = None,
        rule: EventRule | None = None,
        skip_still: float | None = None,
    ) -> None:
        self.inferences = 0
        self.reused = 0
        self.engine = engine
        self.state: StreamState | None = engine.new_state() if engine.spec.streaming else None
        self.last: NDArray[np.float32] | None = (
            None  # logits of the newest step that ran since the begin or the last break
        )
        self.gate = _gate(engine, skip_still)
        self.decision = Decision(engine.spec, stream=stream, smoothing_s=smoothing_s, rule=rule)
        self._stream = stream
        self._band = engine.spec.geometry.grid[0]
        self._known: deque[int] = deque(maxlen=self._band)  # steps that ran, or showed what the one before showed

    @property
    def warm(self) -> float:
        """Share of the band that the newest answer of a streaming model knows; 1 for a windowed model."""
        return 1.0 if self.state is None else len(self._known) / self._band

    def use(self, engine: Engine) -> None:
        """Change the engine to one of another mask; a state goes on with what both masks show."""
        if engine is self.engine:
            return
        if self.state is not None:
            state = engine.new_state()
            state.take_over(self.state)
            self.state = state
        if self.gate is not None:
            self.gate.reset()  # the last answer is that of the other mask
        self.engine = engine

    def repeat(self, seen: ModelInput) -> NDArray[np.float32] | None:
        """Return the last logits again if a time step need not run, because nothing has moved; None if it must run."""
        layout = self.engine.layout
        if self.gate is None or layout is None or not self.gate.still(seen.clip, layout.places[seen.step % PLACES]):
            return None
        self.reused += 1
        self._note(seen.step)
        return self.last

    def before(self, seen: ModelInput) -> StreamState:
        """Return the state of a streaming model at a time step; steps that did not run before it are missing in it."""
        assert self.state is not None
        self.state.skip(seen.step - self.state.step)
        return self.state

    def after(self, seen: ModelInput, logits: NDArray[np.float32]) -> None:
        """Note an inference and its logits, float32 (classes,)."""
        self.inferences += 1
        if self.state is None:
            return
        self.last = logits
        self._note(seen.step)
        if self.gate is not None:
            self.gate.processed(seen.clip)

    def predict(
        self, seen: ModelInput, logits: NDArray[np.float32], *, inference_ms: float, reused: bool = False
    ) -> Prediction:
        """Return the prediction for an input, with the events that it begins and ends.

        Args:
            seen: the input.
            logits: float32 (classes,).
            inference_ms: how long the engine took for it, in milliseconds.
            reused: whether the logits are those of an earlier step, because nothing has moved.
        """
        cold = None if self.state is None else cold_doubt(len(self._known), self._band)
        doubt = cold or seen.doubt
        scores, events = self.decision.update(
            logits,
            seen.time_s,
            seen.captured_at,
            begins=doubt is None,
            ends=doubt is None or seen.holds,
        )
        return Prediction(
            stream=self._stream,
            time_s=seen.time_s,
            frame=seen.frame,
            label=self.decision.label,
            score=self.decision.score,
            top=scores[:TOP],
            latency_ms=1000 * (time.monotonic() - seen.arrived_s),
            inference_ms=inference_ms,
            mask=self.engine.variant.mask,
            engine=self.engine.name,
            captured_at=seen.captured_at,
            doubt=doubt,
            streaming=self.state is not None,
            warm=self.warm,
            reused=reused,
            events=events,
            truth=seen.truth,
            truth_since_s=seen.truth_since_s,
        )

    def cut_off(self) -> None:
        """Break off what lies before: the state is empty, and an open event ends at the time it was last seen.

        The next prediction reports the event.
        """
        self.last = None
        self._known.clear()
        if self.state is not None:
            self.state.clear()
        if self.gate is not None:
            self.gate.reset()
        self.decision.cut()

    def end_events(self) -> tuple[Event, ...]:
        """End an open event at the time it was last seen; return the events that no prediction has reported yet.

        The state stays: frames that come late may follow those before without a gap.
        """
        self.decision.cut()
        return self.decision.take_events()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return keys and values, the newest logits, and what the skip gate remembers, as copies, by name."""
        found: dict[str, NDArray[Any]] = {}
        if self.state is not None:
            found |= {f"{_STATE}{name}": array for name, array in self.state.to_arrays().items()}
        if self.last is not None:
            found[_LAST] = self.last.copy()
        if self.gate is not None and (reference := self.gate.state()[0]) is not None:
            found[_STILL] = reference.copy()
        return found

    def notes(self) -> dict[str, Any]:
        """Return where it stands, as fields of `session_state.Notes`."""
        return {
            "decision": self.decision.state(),
            "inferences": self.inferences,
            "reused": self.reused,
            "known": tuple(self._known),
            "gate": None if self.gate is None else self.gate.state()[1],
        }

    def restore(self, notes: Notes, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on where another one of the same model, mask and precision stood.

        Raises:
            EngineError: if keys and values are of another layout.
            ValueError: if what is given contradicts itself.
        """
        if self.state is not None:
            own = {name.removeprefix(_STATE): one for name, one in arrays.items() if name.startswith(_STATE)}
            self.state.from_arrays(own)
            if self.state.held.max() >= self.state.step or list(notes.known) != sorted(set(notes.known)):
                raise ValueError("its time steps have no sensible numbers")
        last = arrays.get(_LAST)
        if last is not None and (last.dtype != np.float32 or last.shape != (len(self.engine.spec.labels),)):
            raise ValueError(f"its logits are {last.dtype} {last.shape}")
        self.last = last
        if self.gate is not None and notes.gate is not None:
            self.gate.restore(arrays.get(_STILL), notes.gate)
        self.decision.restore(notes.decision)
        self.inferences, self.reused = notes.inferences, notes.reused
        self._known.extend(notes.known)

    def release(self) -> None:
        """Give the state's memory back; no input follows. The counts stay."""
        self.state = self.gate = self.last = None

    def _note(self, step: int) -> None:
        self._known.append(step)
        while self._known[0] <= step - self._band:
            self._known.popleft()


def infer(engine: Engine, inputs: Sequence[tuple[Recogniser, ModelInput]]) -> NDArray[np.float32]:
    """Run an engine on an input of each of several streams at once.

    Args:
        engine: at any mask; the states of the streams go on with it.
        inputs: the streams, all different, and what they show.

    Returns:
        Logits, float32 (B, classes).

    Raises:
        EngineError: as `Engine.step` and `Engine.infer`.
    """
    clips = inputs[0][1].clip[None] if len(inputs) == 1 else np.stack([seen.clip for _, seen in inputs])
    for recogniser, _ in inputs:
        recogniser.use(engine)
    if engine.spec.streaming:
        logits = engine.step(clips, [recogniser.before(seen) for recogniser, seen in inputs])
    else:
        logits = engine.infer(clips)
    for (recogniser, seen), row in zip(inputs, logits, strict=True):
        recogniser.after(seen, row)
    return logits


def _gate(engine: Engine, skip_still: float | None) -> SkipGate | None:
    if skip_still is None or skip_still is False:
        return None
    if not engine.spec.streaming:
        raise OptionError(
            f"only steps of a streaming model can be skipped; {engine.spec.name} sees whole windows. Leave out skip_still "
            "(--skip-still)"
        )
    if not isinstance(skip_still, (int, float)):
        raise OptionError(f"skip_still is {skip_still!r}; use grey levels, such as {THRESHOLD:g}, or True for that")
    return SkipGate(THRESHOLD if skip_still is True else float(skip_still), geometry=engine.spec.geometry)
