"""The one thread of an engine: which stream's input it runs next, and what becomes of the answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from mar_edge.errors import EngineError, MarEdgeError, OptionError
from mar_edge.runtime.engines.engine import Engine
from mar_edge.runtime.results import Event, Prediction
from mar_edge.runtime.streams.batching import LARGEST, BatchChoice
from mar_edge.runtime.streams.feed import ModelInput
from mar_edge.runtime.streams.recogniser import Recogniser
from mar_edge.runtime.streams.slot import Cut, End, Item, Slot

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
        on_end: called once after the last of them, with the error if the engine failed.
        served_s: `time.monotonic()` at its last inference.
        turn: held while a result is reported.
        quiet: whether the stream is broken by the time without a frame.
        abandoned: whether it has ended.

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
    on_end: Callable[[MarEdgeError | None], None]
    served_s: float = field(default=0.0, init=False)
    turn: threading.RLock = field(default_factory=threading.RLock, init=False)  # a signal's handler may stop the runner
    quiet: bool = field(default=False, init=False)
    abandoned: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        """Check the age limit."""
        if self.max_age_s is not None and not self.max_age_s > 0:
            raise OptionError(f"max_age_s is {self.max_age_s!r}; use more than 0 seconds, or None for no limit")

    def cut(self) -> None:
        """End the open event, and report it."""
        with self.turn:
            if not self.abandoned and (events := self.recogniser.cut()):
                self.on_events(events)

    def end(self, error: MarEdgeError | None) -> None:
        """Report what is left, and the end; later results are of no interest. Only the first call counts."""
        self.cut()
        with self.turn:
            ended, self.abandoned = self.abandoned, True
        if not ended:
            self.on_end(error)


class Scheduler:
    """Runs an engine for any number of streams, the one that was served longest ago first.

    Args:
        engine: a loaded graph; used by this thread alone.

    Attributes:
        batching: how many inputs one inference takes.
    """

    def __init__(self, engine: Engine) -> None:
        self.changed = threading.Condition()
        self.batching = BatchChoice(min(LARGEST, engine.max_batch))
        self._engine = engine
        self._lanes: list[Lane] = []
        self._stopped = False
        self._looked_s = 0.0
        self._thread = threading.Thread(target=self._run, name=f"mar-edge {engine.name}", daemon=True)
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

    def _run(self) -> None:
        error: MarEdgeError | None = None
        try:
            while (taken := self._next()) is not None:
                self._serve(taken)
        except MarEdgeError as failure:
            error = failure
        except BaseException as failure:  # a mistake of ours, or sys.exit in a user's engine: no stream has ended well
            error = EngineError(f"{self._engine.name}: a result was lost: {type(failure).__name__}: {failure}")
        finally:
            with self.changed:
                self._stopped = True
                lanes, self._lanes = self._lanes, []
            for lane in lanes:
                lane.slot.close()
                lane.end(error)

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
                lane.cut()
            elif isinstance(item, End):
                with self.changed:
                    self._lanes.remove(lane)
                lane.end(None)

    def _infer(self, inputs: list[tuple[Lane, ModelInput]]) -> None:
        clips = inputs[0][1].clip[None] if len(inputs) == 1 else np.stack([item.clip for _, item in inputs])
        began_s = time.monotonic()
        try:
            answers = self._engine.infer(clips)
        except Exception as error:
            if isinstance(error, MarEdgeError):
                raise
            raise EngineError(f"{self._engine.name} failed: {type(error).__name__}: {error}") from error
        took_s = time.monotonic() - began_s
        self.batching.note(len(inputs), took_s)
        for (lane, item), logits in zip(inputs, answers, strict=True):
            lane.served_s = began_s
            with lane.turn:
                if not lane.abandoned:
                    lane.quiet = False
                    lane.on_result(lane.recogniser.predict(item, logits, inference_ms=1000 * took_s / len(inputs)))

    def _break_quiet_streams(self) -> None:
        """End the events of live streams that have had no frame for too long; they need not wait for the next frame."""
        self._looked_s = time.monotonic()
        for lane in list(self._lanes):
            if lane.slot.live and lane.silence_s() > lane.max_gap_s and not lane.quiet:
                lane.quiet = True
                lane.cut()
