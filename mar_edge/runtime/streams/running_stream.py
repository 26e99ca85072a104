"""One stream of a runner: its reader, its slot, its decision, and its counts."""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter, deque
from collections.abc import Callable

from mar_edge.counting import counted
from mar_edge.errors import MarEdgeError
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.results import Event, EventEnded, EventStarted, Notice, Prediction, ShownFrame, StreamStatus
from mar_edge.runtime.sources.source import Scripted, Source
from mar_edge.runtime.streams.distribution import Distribution
from mar_edge.runtime.streams.engine_in_use import EngineInUse
from mar_edge.runtime.streams.feed import Feed, utc_now
from mar_edge.runtime.streams.read_options import ReadOptions
from mar_edge.runtime.streams.reader import Reader
from mar_edge.runtime.streams.recogniser import Recogniser
from mar_edge.runtime.streams.scheduler import Lane, Scheduler
from mar_edge.runtime.streams.script_follower import ScriptFollower
from mar_edge.runtime.streams.slot import Slot

_LATENCIES = 10_000

_LOOK_S = 0.1
"""How often a stream that waits for an output looks whether it is stopped."""


class RunningStream:
    """A stream that is read and recognised. Each count is written by one thread, and read by any.

    Args:
        name: of the stream.
        source: what to read.
        feed: makes the model's inputs.
        recogniser: the stream's decision.
        in_use: the model's engine, which other streams may share.
        options: how to read.
        max_age_s: an older input of a live stream is dropped, seconds; None for no limit.
        distribution: where its records go.
        on_end: called once, after the last record but the summary.

    Attributes:
        engine: the model's engine that was loaded first.
        in_use: as given.
        error: why it ended; None if it did not, or ended well.
        began_s: `time.monotonic()` at its beginning.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        feed: Feed,
        recogniser: Recogniser,
        in_use: EngineInUse,
        options: ReadOptions,
        max_age_s: float | None,
        *,
        distribution: Distribution,
        on_end: Callable[[RunningStream], None],
    ) -> None:
        self.name, self.source, self.engine, self.in_use = name, source, recogniser.engine, in_use
        self.error: MarEdgeError | None = None
        self.began_s = time.monotonic()
        self._feed, self._recogniser = feed, recogniser
        self._distribution, self._when_ended = distribution, on_end
        self._slot = Slot(live=source.live)
        self._reader = Reader(
            source, feed, self._slot, name=name, options=options, notify=self._notify, on_frame=self._on_frame
        )
        self._lane = Lane(
            slot=self._slot,
            recogniser=recogniser,
            max_age_s=max_age_s,
            silence_s=self._reader.silence_s,
            max_gap_s=feed.max_gap_s,
            on_result=self._on_result,
            on_events=self._on_events,
            notify=self._notify_of_all,
            on_end=self._on_end,
        )
        self._warnings = 0
        self._events = 0
        self._latency_ms: deque[float] = deque(maxlen=_LATENCIES)
        self._script = ScriptFollower(
            window_s=self.engine.spec.window_s,
            labels=self.engine.spec.labels,
            idle=source.idle_truth if isinstance(source, Scripted) else None,
        )
        self._begun = False
        self._left = False
        self._ended = threading.Event()
        self._ended_s = 0.0

    def begin(self, scheduler: Scheduler) -> bool:
        """Start to read, for a scheduler; return False if that one has ended."""
        if not scheduler.add(self._lane):
            return False
        self.began_s = time.monotonic()
        self._begun = True
        self._reader.start()
        return True

    def stop(self) -> None:
        """Ask the stream to end; does not wait."""
        self._reader.stop()

    def finish(self, deadline_s: float) -> bool:
        """Wait for the end until a `time.monotonic()`, then end it without its threads; return whether they have ended.

        What was left behind once is not waited for again.
        """
        if not self._begun:
            self._lane.end(None)
            return True
        if self._left:
            return False
        read = self._reader.join(deadline_s - time.monotonic())
        inferred = self._ended.wait(max(0.0, deadline_s - time.monotonic()))
        for ended, what in ((read, "its source does not respond"), (inferred, "an inference has not ended")):
            if not ended:
                self._notify("abandoned", f"{self.name}: {what}; it is left behind")
        self._left = not (read and inferred)
        if not inferred:
            self._lane.end(None)
        return read and inferred

    def status(self) -> StreamStatus:
        """Return the present state."""
        reader = self._reader
        ended = self._ended.is_set()
        lost = self.error if ended else reader.error
        dropped = Counter(self._slot.dropped)  # copies: other threads count meanwhile
        dropped.update(Counter(reader.dropped))
        dropped["source"] += self.source.dropped
        return StreamStatus(
            stream=self.name,
            model=self.engine.spec.name,
            state="ended" if ended else reader.state,
            code=None if lost is None else str(getattr(lost, "code", "engine")),
            message=None if lost is None else str(lost),
            frames=self._feed.frames,
            sampled=reader.sampled,
            inferences=self._recogniser.inferences,
            reused=self._recogniser.reused,
            events=self._events,
            warnings=self._warnings,
            dropped={cause: count for cause, count in dropped.items() if count},
            reconnects=reader.reconnects,
            source_s=reader.newest_s,
            elapsed_s=(self._ended_s if ended else time.monotonic()) - self.began_s,
            latency_ms=statistics.median(list(self._latency_ms)) if self._latency_ms else None,
            waited_ms=1000 * self._slot.longest_wait_s,
            script=self._script.score() if ended else None,
        )

    def _notify(self, code: str, message: str) -> None:
        self._warnings += 1
        self._distribution.emit(Notice(stream=self.name, code=code, message=message), keep=not self.source.live)

    def _notify_of_all(self, code: str, message: str) -> None:
        """Tell what concerns all streams of the model."""
        self._notify(code, f"{self.name}: {message}")

    def _on_frame(self, frame: Frame) -> None:
        live = self.source.live
        if not live and not self._wait_for_room():
            return
        if not self._distribution.wants(self.name, "frame"):
            return
        captured_at = utc_now(frame.arrived_s) if live and frame.arrived_s is not None else None
        shown_frame = frame.mirrored() if self._feed.mirror else frame  # as the model sees it, and labels say it
        shown = ShownFrame(stream=self.name, frame=shown_frame, time_s=frame.time_s, captured_at=captured_at)
        self._distribution.emit(shown, keep=not live)

    def _wait_for_room(self) -> bool:
        """Wait until all records of another frame have room; return whether they are wanted still."""
        while not self._reader.stopping:
            if self._distribution.wait_for_room(self.name, _LOOK_S):
                return True
        return False

    def _on_result(self, prediction: Prediction) -> None:
        self._latency_ms.append(prediction.latency_ms)
        if prediction.truth is not None:
            self._script.add(prediction.time_s, prediction.truth, prediction.truth_since_s, prediction.label)
        self._on_events(prediction.events)
        self._distribution.emit(prediction, keep=not self.source.live)

    def _on_events(self, events: tuple[Event, ...]) -> None:
        for event in events:
            self._events += isinstance(event, EventEnded)
            if isinstance(event, EventStarted):
                self._script.begin(event.label, event.start_s)
            self._distribution.emit(event, keep=not self.source.live)

    def _on_end(self, error: MarEdgeError | None) -> None:
        self.error = error or (self._reader.error if self._reader.failed else None)
        if error is not None:
            self._reader.stop()
        self._tell_why_nothing()
        self._script.finish()
        self._ended_s = time.monotonic()
        self._ended.set()
        self._distribution.emit(self.status(), keep=True)
        self._when_ended(self)

    def _tell_why_nothing(self) -> None:
        """Say why a stream that ended well has no result."""
        if self._recogniser.inferences or self.error is not None:
            return
        spec, source_s = self.engine.spec, self._reader.newest_s
        what, least_s = ("time step" if spec.streaming else "window"), spec.input_frames / spec.rate_fps
        invalid = self._reader.dropped["invalid"]
        if not self._feed.frames and invalid:
            why = f"{counted(invalid, 'frame')} arrived, and none could be used, so nothing was recognised"
        elif not self._feed.frames:
            why = "no frame arrived, so nothing was recognised"
        elif source_s < least_s:
            why = f"{source_s:.2f} s received, shorter than one {what} of {least_s:.2f} s; nothing was recognised"
            if not self.source.live:
                why += ". For a short clip run: mar-edge classify CLIP, which repeats frames"
        elif self._feed.inputs:
            lost = ", ".join(f"{cause} {count}" for cause, count in self._slot.dropped.items() if count)
            why = f"{counted(self._feed.inputs, what)} came, but none was recognised (dropped: {lost or 'none'})"
        else:
            why = f"no {least_s:.2f} s without a gap, so nothing was recognised; it has too few frames or too many gaps"
        self._notify("nothing", f"{self.name}: {why}")
