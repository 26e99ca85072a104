"""The one thread of an engine: which stream's input it runs next, and what becomes of the answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import EngineError, MarEdgeError, OptionError
from mar_edge.runtime.results import Event, Prediction
from mar_edge.runtime.streams.batching import LARGEST, BatchChoice
from mar_edge.runtime.streams.engine_in_use import EngineInUse
from mar_edge.runtime.streams.feed import ModelInput
from mar_edge.runtime.streams.recogniser import Recogniser, infer
from mar_edge.runtime.streams.slot import Cut, End, Item, Slot
from mar_edge.runtime.streams.step_loss import SPAN_STEPS, StepLoss

MAX_AGE_S = 0.5
"""An input of a live stream that is older than this is dropped."""

_TICK_S = 0.1


@dataclass(eq=False)
class Lane:
    """A stream as its engine sees it.

    Attributes:
        slot: where its inputs come from.
        recogniser: its decision.
        max_age_s: an older input of a live stream is dropped, seconds; None for no limit.
        silence_s: returns for how long a live stream has had no frame, seconds.
        max_gap_s: a live stream without a frame for this time is broken, seconds.
        on_result: called with every prediction, from the engine's thread.
        on_events: called with events that end without one.
        notify: called with a code and a sentence for the operator.
        on_end: called once after the last of them, with the error if the engine failed.
        served_s: `time.monotonic()` at its last inference.
        turn: held while a result is reported.
        quiet: whether the stream is broken by the time without a frame.
        abandoned: whether it has ended.
        loss: counts the missing time steps of a streaming model.

    Raises:
        OptionError: if the age limit is invalid.
    """

    slot: Slot
    recogniser: Recogniser
    max_age_s: float | None
    silence_s: Callable[[], float]
    max_gap_s: float
    on_result: Callable[[Prediction], None]
    on_events: Callable[[tuple[Event, ...]], None]
    notify: Callable[[str, str], None]
    on_end: Callable[[MarEdgeError | None], None]
    served_s: float = field(default=0.0, init=False)
    turn: threading.RLock = field(default_factory=threading.RLock, init=False)  # a signal's handler may stop the runner
    quiet: bool = field(default=False, init=False)
    abandoned: bool = field(default=False, init=False)
    loss: StepLoss = field(default_factory=StepLoss, init=False)

    def __post_init__(self) -> None:
        """Check the age limit."""
        max_age_s: object = self.max_age_s
        if max_age_s is not None and not (isinstance(max_age_s, Real) and float(max_age_s) > 0):
            raise OptionError(f"max_age_s is {self.max_age_s!r}; use more than 0 seconds, or None for no limit")

    def end_events(self) -> None:
        """End the open event, and report it."""
        with self.turn:
            if not self.abandoned and (events := self.recogniser.end_events()):
                self.on_events(events)

    def answer(self, seen: ModelInput, logits: NDArray[np.float32], *, inference_ms: float, reused: bool) -> None:
        """Report the prediction for an input if one is wanted; see `Recogniser.predict`."""
        with self.turn:
            if not self.abandoned:
                self.quiet = False
                if self.recogniser.state is not None and (missing := self.loss.known(seen.step)):
                    self.notify("missing-steps", self._why_worse(missing))
                if seen.predicts:
                    self.on_result(self.recogniser.predict(seen, logits, inference_ms=inference_ms, reused=reused))

    def _why_worse(self, missing: int) -> str:
        spec = self.recogniser.engine.spec
        step_ms = 1000 * spec.input_frames / spec.rate_fps
        return (
            f"{missing} of the last {SPAN_STEPS} time steps are missing, because the engine is busy; answers may be worse. A "
            f"time step comes every {step_ms:.0f} ms, and all streams of a model share its engine. Use a higher mask (--mask), "
            f"or let a budget choose it (--budget-ms {step_ms:.0f} or less); a faster engine or precision, fewer streams; or a "
            "model that was trained with streaming.skipped"
        )

    def end(self, error: MarEdgeError | None) -> None:
        """Report what is left, and the end; later results are of no interest. Only the first call counts."""
        self.end_events()
        with self.turn:
            ended, self.abandoned = self.abandoned, True
        if not ended:
            self.on_end(error)


class Scheduler:
    """Runs a model for any number of streams, the one that was served longest ago first.

    Args:
        in_use: the model's engine; used by this thread alone. All streams share one mask, as they share the device.
    """

    def __init__(self, in_use: EngineInUse) -> None:
        self.changed = threading.Condition()
        self._in_use = in_use
        self._in_use.tell = self._tell
        self._batching: dict[int, BatchChoice] = {}
        self._name = in_use.engine.name
        self._lanes: list[Lane] = []
        self._stopped = False
        self._looked_s = 0.0
        self._thread = threading.Thread(target=self._run, name=f"mar-edge {self._name}", daemon=True)
        self._thread.start()

    def add(self, lane: Lane) -> bool:
        """Serve a stream that does not read yet; return False if this thread has ended, as after a failure."""
        with self.changed:
            if self._stopped:
                return False
            lane.slot.changed = self.changed
            self._lanes.append(lane)
            self.changed.notify_all()
            return True

    def stop(self) -> None:
        """Ask the thread to end after the current inference; does not wait. Streams that are left end."""
        with self.changed:
            self._stopped = True
            self.changed.notify_all()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread; return whether it has ended. Called by itself, it ends after the call."""
        if self._thread is threading.current_thread():
            return True
        self._thread.join(max(0.0, timeout_s))
        return not self._thread.is_alive()

    @property
    def batching(self) -> BatchChoice:
        """How many inputs one inference takes at the present mask."""
        engine = self._in_use.engine
        return self._batching.setdefault(engine.variant.mask, BatchChoice(min(LARGEST, engine.max_batch)))

    def _run(self) -> None:
        error: MarEdgeError | None = None
        try:
            while (taken := self._next()) is not None:
                self._serve(taken)
        except MarEdgeError as failure:
            error = failure
        except BaseException as failure:  # a mistake of ours, or sys.exit in a user's engine: no stream has ended well
            error = EngineError(f"{self._name}: a result was lost: {type(failure).__name__}: {failure}")
        finally:
            with self.changed:
                self._stopped = True
                lanes, self._lanes = self._lanes, []
            for lane in lanes:
                lane.slot.close()
                lane.end(error)
                lane.recogniser.release()

    def _next(self) -> list[tuple[Lane, Item]] | None:
        """Wait for something to do; return it, or None when stopped."""
        while True:
            if time.monotonic() - self._looked_s >= _TICK_S:  # also where the engine is never idle
                self._break_quiet_streams()
            with self.changed:
                if self._stopped:
                    return None
                taken = self._take()
                if taken:
                    return taken
                if not any(lane.slot.waits for lane in self._lanes):
                    self.changed.wait(_TICK_S)

    def _take(self) -> list[tuple[Lane, Item]]:
        """Take a break or an end, or as many inputs as the engine takes at once; the stream that was served longest ago first.

        So each of n streams that wait gets its turn within n inferences, and all of them get the same share.
        """
        waiting = sorted((lane for lane in self._lanes if lane.slot.waits), key=lambda lane: lane.served_s)
        taken: list[tuple[Lane, Item]] = []
        size = self.batching.size(len(waiting)) if waiting else 0
        for lane in waiting:
            item = lane.slot.take(lane.max_age_s)
            if item is None:
                continue
            if not isinstance(item, ModelInput):
                return [*taken, (lane, item)]
            taken.append((lane, item))
            if len(taken) >= size:
                break
        return taken

    def _serve(self, taken: list[tuple[Lane, Item]]) -> None:
        inputs = [(lane, item) for lane, item in taken if isinstance(item, ModelInput)]
        if inputs:
            self._infer(inputs)
        for lane, item in taken:
            if isinstance(item, Cut):
                lane.recogniser.cut_off()
                lane.loss.clear()
                lane.end_events()
            elif isinstance(item, End):
                with self.changed:
                    self._lanes.remove(lane)
                lane.end(None)
                lane.recogniser.release()

    def _infer(self, inputs: list[tuple[Lane, ModelInput]]) -> None:
        began_s = time.monotonic()
        moved: list[tuple[Lane, ModelInput]] = []
        for lane, item in inputs:
            lane.served_s = began_s
            repeated = lane.recogniser.repeat(item)
            if repeated is None:
                moved.append((lane, item))
            else:
                lane.answer(item, repeated, inference_ms=0.0, reused=True)
        if not moved:
            return
        began_s = time.monotonic()
        try:
            answers = infer(self._in_use.engine, [(lane.recogniser, item) for lane, item in moved])
        except Exception as error:
            if isinstance(error, MarEdgeError):
                raise
            raise EngineError(f"{self._name} failed: {type(error).__name__}: {error}") from error
        took_s = time.monotonic() - began_s
        self.batching.note(len(moved), took_s)
        inference_ms = 1000 * took_s / len(moved)
        for (lane, item), logits in zip(moved, answers, strict=True):
            lane.answer(item, logits, inference_ms=inference_ms, reused=False)
        self._in_use.note(inference_ms)

    def _break_quiet_streams(self) -> None:
        """End the events of live streams that have had no frame for too long; they need not wait for the next frame."""
        self._looked_s = time.monotonic()
        for lane in list(self._lanes):
            if lane.slot.live and lane.silence_s() > lane.max_gap_s and not lane.quiet:
                lane.quiet = True
                lane.end_events()

    def _tell(self, code: str, message: str) -> None:
        for lane in list(self._lanes):
            lane.notify(code, message)
