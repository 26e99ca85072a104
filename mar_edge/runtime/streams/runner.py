"""Recognises any number of streams at once, in one loop for the command line, the library and tests."""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter, deque
from collections.abc import Collection, Generator, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from mar_edge.credentials import without_credentials
from mar_edge.errors import MarEdgeError, OptionError
from mar_edge.printable import printable
from mar_edge.runtime.engines.engine import Engine
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.results import Event, EventEnded, Notice, Prediction, Record, ShownFrame, StreamStatus
from mar_edge.runtime.sinks.outlet import Outlet
from mar_edge.runtime.sinks.sink import Sink
from mar_edge.runtime.sources.open import open_source
from mar_edge.runtime.sources.source import Source
from mar_edge.runtime.streams.event_rule import EventRule
from mar_edge.runtime.streams.feed import Feed, utc_now
from mar_edge.runtime.streams.reader import STALL_S, Reader, ReadOptions
from mar_edge.runtime.streams.recogniser import Recogniser
from mar_edge.runtime.streams.result_queue import ResultQueue
from mar_edge.runtime.streams.scheduler import MAX_AGE_S, Lane, Scheduler
from mar_edge.runtime.streams.slot import Slot

STOP_S = 2.0
"""How long stopping takes at most."""

_LATENCIES = 10_000


class LoadedModel(Protocol):
    """What `mar_edge.load` returns."""

    @property
    def engine(self) -> Engine:
        """The loaded graph."""
        ...


class Runner:
    """Reads streams, recognises what they show, and writes the results.

    It begins with `start`, which entering it, iterating and waiting call; streams that are added later begin at once.

    Each stream is read in a thread of its own, each model runs in one, and each sink has one: a source that is lost, a slow
    model and a broken output do not hold up the others. Streams may be added and removed at any time, from any thread.

    ```python
    with Runner(sinks=[my_sink]) as runner:
        runner.add("rtsp://camera/stream", model, name="gate")
        for record in runner:
            ...
    ```

    Args:
        sinks: where all streams' results go; see `add_sink`.
    """

    def __init__(self, *, sinks: Iterable[Sink] = ()) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._streams: dict[str, _Stream] = {}
        self._ended: dict[str, _Stream] = {}
        self._schedulers: dict[int, Scheduler] = {}
        self._outlets: list[tuple[Outlet, frozenset[str] | None]] = []
        self._queues: list[ResultQueue] = []
        self._started = self._stopped = False
        for sink in sinks:
            self.add_sink(sink)

    def add(
        self,
        source: str | int | Path | Source | Iterable[Any],
        model: LoadedModel,
        *,
        name: str | None = None,
        hop: int | None = None,
        smoothing_s: float = 0.3,
        rule: EventRule | None = None,
        max_age_s: float | None = MAX_AGE_S,
        max_retries: int | None = None,
        stall_s: float = STALL_S,
        realtime: bool = False,
        max_s: float | None = None,
    ) -> str:
        """Begin to recognise a source.

        Args:
            source: see `open_source`.
            model: a loaded model; one may serve any number of streams.
            name: of the stream, in its results; by default the source's.
            hop: sampled frames between two inferences; by default an eighth of the window.
            smoothing_s: time constant of the score average, seconds.
            rule: when events begin and end.
            max_age_s: a live window that is older is not inferred, seconds; None for no limit.
            max_retries: failed attempts in a row after which a live source is given up; None for never.
            stall_s: time without a frame after which a live source is connected again, seconds.
            realtime: play a recording as if it were live.
            max_s: time after which the stream ends, seconds: since its start for a live one, of the recording otherwise.

        Returns:
            The stream's name.

        Raises:
            SourceError: if the source is unknown.
            OptionError: if an option is invalid, or another stream has the name.
        """
        model.engine.check_process()
        opened = open_source(source, realtime=realtime)
        options = ReadOptions(max_retries=max_retries, stall_s=stall_s, max_s=max_s)
        with self._changed:
            if self._stopped:
                raise OptionError("this runner was stopped. Create another one")
            name = self._free_name(name, opened)
            stream = _Stream(
                self,
                name,
                opened,
                Feed(model.engine.spec, hop=hop),
                Recogniser(model.engine, stream=name, smoothing_s=smoothing_s, rule=rule),
                options,
                max_age_s,
            )
            self._ended.pop(name, None)
            self._streams[name] = stream
            if self._started:
                self._begin(stream)
        return name

    def start(self) -> None:
        """Begin to read. May be called again."""
        with self._changed:
            if self._started or self._stopped:
                return
            self._started = True
            for stream in list(self._streams.values()):
                self._begin(stream)

    def remove(self, name: str, timeout_s: float = STOP_S) -> StreamStatus:
        """End a stream; its events end, and its sinks are given its summary.

        Args:
            name: of the stream.
            timeout_s: how long to wait for its source and the current inference.

        Returns:
            Its summary.

        Raises:
            OptionError: if there is no such stream.
        """
        with self._changed:
            stream = self._streams.get(name) or self._ended.get(name)
            if stream is None:
                raise OptionError(f"there is no stream '{name}'; the streams are {', '.join(self._streams) or 'none'}")
        self._end([stream], time.monotonic() + timeout_s)
        with self._changed:
            self._ended.pop(name, None)
        return stream.status()

    def add_sink(self, sink: Sink, *, streams: Collection[str] | None = None) -> Outlet:
        """Write results to a sink from now on; the runner closes it.

        Args:
            sink: where they go.
            streams: names of the streams that it serves; None for all.

        Returns:
            Its outlet, with its counts.
        """
        outlet = Outlet(sink, notify=self.notify)
        with self._changed:
            self._outlets.append((outlet, None if streams is None else frozenset(streams)))
        return outlet

    def status(self) -> list[StreamStatus]:
        """Return the state of every stream, in the order in which they were added; ended ones included."""
        with self._changed:
            streams = [*self._ended.values(), *self._streams.values()]
        return [stream.status() for stream in sorted(streams, key=lambda stream: stream.began_s)]

    @property
    def outlets(self) -> list[Outlet]:
        """The outlets of all sinks, with their counts."""
        with self._changed:
            return [outlet for outlet, _ in self._outlets]

    @property
    def live(self) -> bool:
        """Whether a stream that has not ended is live."""
        with self._changed:
            return any(stream.source.live for stream in self._streams.values())

    def outputs(self) -> Mapping[str, Mapping[str, int]]:
        """Return the counts of every output by its name, see `Outlet.counts`."""
        return {outlet.name: outlet.counts() for outlet in self.outlets}

    def errors(self) -> dict[str, MarEdgeError]:
        """Return why streams ended, by name; those that ended without an error are not included."""
        with self._changed:
            return {name: stream.error for name, stream in self._ended.items() if stream.error is not None}

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until every stream has ended; return whether they have."""
        self.start()
        with self._changed:
            return self._changed.wait_for(lambda: not self._streams, timeout_s)

    def __iter__(self) -> Generator[Record, None, None]:
        """Yield predictions, events, notices and summaries as they come, until every stream has ended.

        Of a live stream only the newest prediction waits, with the events of those that it replaces.
        """
        queue = ResultQueue(frozenset(("prediction", "event", "notice", "summary")))
        with self._changed:
            self._queues.append(queue)
            if not self._streams:
                queue.close()
        try:
            self.start()
            while not queue.ended:
                record = queue.get()
                if record is not None:
                    yield record
        finally:
            queue.close()
            with self._changed:
                self._queues.remove(queue)

    def stop(self, timeout_s: float | None = STOP_S) -> bool:
        """End all streams, let the sinks finish, and close them. May be called again.

        Args:
            timeout_s: how long that may take; None for as long as the sinks need, once the streams have ended.

        Returns:
            Whether everything ended in time. What hangs is left behind, and a notice says so.
        """
        began_s = time.monotonic()
        with self._changed:
            self._stopped = True
            if not self._started:
                self._streams.clear()
            streams = [*self._ended.values(), *self._streams.values()]  # a reader may outlive its stream for a moment
        limit_s = STOP_S if timeout_s is None else timeout_s
        well = self._end(streams, began_s + 0.6 * limit_s)
        with self._changed:
            schedulers, self._schedulers = list(self._schedulers.values()), {}
            outlets, queues = list(self._outlets), list(self._queues)
        for scheduler in schedulers:
            scheduler.stop()
        for queue in queues:
            queue.close()
        closing = [threading.Thread(target=outlet.close, args=(None,), daemon=True) for outlet, _ in outlets]
        for thread in closing:
            thread.start()
        for (outlet, _), thread in zip(outlets, closing, strict=True):
            thread.join(None if timeout_s is None else max(0.0, began_s + 0.95 * timeout_s - time.monotonic()))
            if thread.is_alive():
                well &= outlet.close(0.0)
        return well & all(scheduler.join(max(0.0, began_s + limit_s - time.monotonic())) for scheduler in schedulers)

    def __enter__(self) -> Runner:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def _free_name(self, name: str | None, source: Source) -> str:
        if name is not None:
            name = printable(without_credentials(name))
            if name in self._streams:
                raise OptionError(f"there is a stream '{name}' already; give each stream a name of its own")
            return name
        own = printable(without_credentials(source.name))
        number, found = 2, own
        while found in self._streams:
            found, number = f"{own} ({number})", number + 1
        return found

    def _begin(self, stream: _Stream) -> None:
        scheduler = self._schedulers.get(id(stream.engine))
        if scheduler is None:
            scheduler = self._schedulers[id(stream.engine)] = Scheduler(stream.engine)
        stream.begin(scheduler)

    def _end(self, streams: Collection[_Stream], deadline_s: float) -> bool:
        """Stop streams and wait for them; return whether all of them ended."""
        for stream in streams:
            stream.reader.stop()
        well = True
        for stream in streams:
            well &= stream.finish(deadline_s)
        return well

    def _has_ended(self, stream: _Stream) -> None:
        """Note that a stream has ended; called once for each, by any thread."""
        self._emit(stream.status(), keep=True)
        with self._changed:
            if self._streams.get(stream.name) is stream:
                del self._streams[stream.name]
                self._ended[stream.name] = stream
            if not any(other.engine is stream.engine for other in self._streams.values()) and (
                scheduler := self._schedulers.pop(id(stream.engine), None)
            ):
                scheduler.stop()
            if not self._streams:
                for queue in self._queues:
                    queue.close()
            self._changed.notify_all()

    def notify(self, notice: Notice) -> None:
        """Tell every sink what an operator should know; from any thread."""
        with self._changed:
            stream = self._streams.get(notice.stream)
        if stream is not None:
            stream.warnings += 1
        self._emit(notice, keep=stream is not None and not stream.source.live)

    def _takers(self, record: Record) -> list[Outlet | ResultQueue]:
        with self._changed:
            outlets = [outlet for outlet, streams in self._outlets if streams is None or record.stream in streams]
            takers: list[Outlet | ResultQueue] = [*outlets, *self._queues]
        return [taker for taker in takers if record.kind in taker.wants]

    def _emit(self, record: Record, *, keep: bool) -> None:
        for taker in self._takers(record):
            taker.put(record, keep=keep)

    def _wait_for_room(self, stream: str) -> None:
        """Wait until everything that a stream is written to has room."""
        with self._changed:
            outlets = [outlet for outlet, streams in self._outlets if streams is None or stream in streams]
            takers: list[Outlet | ResultQueue] = [*outlets, *self._queues]
        for taker in takers:
            taker.wait_for_room()


class _Stream:
    """A stream that a runner reads and recognises. Its counts are written by one thread each, and read by any."""

    def __init__(
        self,
        runner: Runner,
        name: str,
        source: Source,
        feed: Feed,
        recogniser: Recogniser,
        options: ReadOptions,
        max_age_s: float | None,
    ) -> None:
        self.name, self.source, self.engine = name, source, recogniser.engine
        self.error: MarEdgeError | None = None
        self.warnings = 0
        self.began_s = time.monotonic()
        self.slot = Slot(live=source.live)
        self.reader = Reader(
            source,
            feed,
            self.slot,
            name=name,
            options=options,
            notify=lambda code, message: runner.notify(Notice(stream=name, code=code, message=message)),
            on_frame=self._on_frame,
        )
        self.lane = Lane(
            slot=self.slot,
            recogniser=recogniser,
            max_age_s=max_age_s,
            quiet_s=self._quiet_s,
            max_gap_s=feed.max_gap_s,
            on_result=self._on_result,
            on_events=self._on_events,
            on_end=self._on_end,
        )
        self._runner, self._feed, self._recogniser = runner, feed, recogniser
        self._events = 0
        self._latency_ms: deque[float] = deque(maxlen=_LATENCIES)
        self._scripted: Counter[bool] = Counter()
        self._ended_s: float | None = None

    def begin(self, scheduler: Scheduler) -> None:
        """Start to read, for a scheduler."""
        self.began_s = time.monotonic()
        scheduler.add(self.lane)
        self.reader.start()

    def finish(self, deadline_s: float) -> bool:
        """Wait until the stream has ended, and end it without its threads if they hang; return whether they have ended."""
        read = self.reader.join(deadline_s - time.monotonic())
        with self._runner._changed:
            inferred = self._runner._changed.wait_for(
                lambda: self._ended_s is not None, max(0.0, deadline_s - time.monotonic())
            )
        for ended, what in ((read, "its source does not respond"), (inferred, "an inference has not ended")):
            if not ended:
                notice = Notice(stream=self.name, code="abandoned", message=f"{self.name}: {what}; it is left behind")
                self._runner.notify(notice)
        if not inferred:
            self.lane.end(None)
        return read and inferred

    def status(self) -> StreamStatus:
        """Return the present state."""
        reader = self.reader
        lost = self.error or reader.error
        dropped = Counter(self.slot.dropped)
        dropped["source"] += self.source.dropped
        counted_windows = sum(self._scripted.values())
        return StreamStatus(
            stream=self.name,
            model=self.engine.spec.name,
            state="ended" if self._ended_s is not None else reader.state,
            code=None if lost is None else str(getattr(lost, "code", "engine")),
            message=None if lost is None else str(lost),
            frames=self._feed.frames,
            sampled=reader.sampled,
            inferences=self._recogniser.inferences,
            events=self._events,
            warnings=self.warnings,
            dropped={cause: count for cause, count in dropped.items() if count},
            reconnects=reader.reconnects,
            source_s=reader.newest_s,
            elapsed_s=(self._ended_s or time.monotonic()) - self.began_s,
            latency_ms=statistics.median(list(self._latency_ms)) if self._latency_ms else None,
            waited_ms=1000 * self.slot.longest_wait_s,
            agreement=self._scripted[True] / counted_windows if counted_windows else None,
        )

    def _quiet_s(self) -> float:
        arrived_s = self.reader.arrived_s
        return 0.0 if arrived_s is None else time.monotonic() - arrived_s

    def _on_frame(self, frame: Frame) -> None:
        live = self.source.live
        if not live:
            self._runner._wait_for_room(self.name)
        captured_at = utc_now(frame.arrived_s) if live and frame.arrived_s is not None else None
        shown = ShownFrame(stream=self.name, frame=frame, time_s=frame.time_s, captured_at=captured_at)
        self._runner._emit(shown, keep=not live)

    def _on_result(self, prediction: Prediction) -> None:
        self._latency_ms.append(prediction.latency_ms)
        if prediction.truth is not None:
            whole = prediction.time_s - self.engine.spec.window_s >= prediction.truth_since_s
            self._scripted.update([prediction.truth == prediction.label] if whole else [])
        self._on_events(prediction.events)
        self._runner._emit(prediction, keep=not self.source.live)

    def _on_events(self, events: tuple[Event, ...]) -> None:
        for event in events:
            self._events += isinstance(event, EventEnded)
            self._runner._emit(event, keep=not self.source.live)

    def _on_end(self, error: MarEdgeError | None) -> None:
        self.error = error or self.reader.error
        if error is not None:
            self.reader.stop()
        self._tell_why_nothing()
        self._ended_s = time.monotonic()
        self._runner._has_ended(self)

    def _tell_why_nothing(self) -> None:
        """Say why a stream that ended well has no result."""
        if self._recogniser.inferences or self.error is not None:
            return
        window_s, source_s = self.engine.spec.window_s, self.reader.newest_s
        if not self._feed.frames:
            why = "no frame arrived, so nothing was recognised"
        elif source_s < window_s:
            why = (
                f"{source_s:.2f} s received, shorter than one window of {window_s:.2f} s; nothing was recognised. "
                "For a short clip run: mar-edge classify CLIP, which repeats frames"
            )
        else:
            why = (
                f"no {window_s:.2f} s without a gap, so nothing was recognised; it has too few frames or too many gaps"
            )
        self._runner.notify(Notice(stream=self.name, code="nothing", message=f"{self.name}: {why}"))
