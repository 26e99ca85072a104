"""Recognises any number of streams at once, in one loop for the command line, the library and tests."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Collection, Generator, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from mar_edge.credentials import without_credentials
from mar_edge.errors import MarEdgeError, OptionError
from mar_edge.printable import printable
from mar_edge.runtime.engines.engine import Engine
from mar_edge.runtime.engines.engine_set import EngineSet
from mar_edge.runtime.results import Notice, Record, StreamStatus
from mar_edge.runtime.sinks.outlet import Outlet
from mar_edge.runtime.sinks.sink import Sink
from mar_edge.runtime.sources.open import open_source
from mar_edge.runtime.sources.source import Source
from mar_edge.runtime.streams.distribution import Distribution
from mar_edge.runtime.streams.engine_in_use import EngineInUse
from mar_edge.runtime.streams.event_rule import EventRule
from mar_edge.runtime.streams.feed import Feed
from mar_edge.runtime.streams.read_options import STALL_S, ReadOptions
from mar_edge.runtime.streams.recogniser import Recogniser
from mar_edge.runtime.streams.result_queue import ResultQueue
from mar_edge.runtime.streams.running_stream import RunningStream
from mar_edge.runtime.streams.saving.dial import DialOptions, limits_of
from mar_edge.runtime.streams.scheduler import MAX_AGE_S, Scheduler
from mar_edge.runtime.streams.stream_name import checked_name

STOP_S = 2.0
"""How long stopping takes at most."""


class LoadedModel(Protocol):
    """What `mar_edge.load` returns. With `engines`, an `EngineSet`, its mask may change."""

    @property
    def engine(self) -> Engine:
        """The loaded graph."""
        ...


class Runner:
    """Reads streams, recognises what they show, and writes the results.

    It begins with `start`, which entering it, iterating and waiting call; streams that are added later begin at once. It ends
    with `stop`, which leaving it and the end of the process call.

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
        self._streams: dict[str, RunningStream] = {}
        self._ended: dict[str, RunningStream] = {}
        self._schedulers: dict[int, Scheduler] = {}
        self._leaving: list[Scheduler] = []  # without a stream; they end by themselves, and are waited for at the end
        self._distribution = Distribution()
        self._started = self._stopped = False
        self._process = os.getpid()
        try:
            for sink in sinks:
                self.add_sink(sink)
        except BaseException:
            self.stop()
            raise
        _STOPPED_AT_EXIT.add(self)

    def add(
        self,
        source: str | int | Path | Source | Iterable[Any],
        model: LoadedModel,
        *,
        name: str | None = None,
        hop: int | None = None,
        smoothing_s: float | None = None,
        rule: EventRule | None = None,
        max_age_s: float | None = MAX_AGE_S,
        max_retries: int | None = None,
        stall_s: float = STALL_S,
        realtime: bool = False,
        max_s: float | None = None,
        skip_still: float | None = None,
        dial: DialOptions | None = None,
        mirror: bool = False,
    ) -> str:
        """Begin to recognise a source.

        Args:
            source: see `open_source`.
            model: a loaded model; one may serve any number of streams.
            name: of the stream, in its results; by default the source's.
            hop: sampled frames between two predictions; by default an eighth of the window. A streaming model runs every
                time step, and predicts after a multiple of its frames.
            smoothing_s: time constant of the score average, seconds; None for the model's own, or 0.3.
            rule: when events begin and end; what it leaves open is as the model says.
            max_age_s: a live window that is older is not inferred, seconds; None for no limit.
            max_retries: failed attempts in a row after which a live source is given up; None for never.
            stall_s: time without a frame after which a live source is connected again, seconds.
            realtime: play a recording as if it were live.
            max_s: time after which the stream ends, seconds: since its start for a live one, of the recording otherwise.
            skip_still: grey levels up to which a streaming model repeats its answer while nothing changes; see `Session`.
            dial: what recognition may spend, see `Session`. All streams of a model share it; all its masks are loaded here.
            mirror: recognise, and show to sinks, the mirror image of every frame: for a camera that faces its user.

        Returns:
            The stream's name.

        Raises:
            SourceError: if the source is unknown.
            OptionError: if an option is invalid, or another stream has the name.
            EngineError: if the model was loaded in another process, or a graph for the dial cannot be loaded.
        """
        engines = _usable_engines(model)
        engine = engines.first
        if (dial := limits_of(dial)) is not None:
            engines.load()
        opened = open_source(source, realtime=realtime)
        options = ReadOptions(max_retries=max_retries, stall_s=stall_s, max_s=max_s)
        with self._changed:
            if self._stopped:
                raise OptionError("this runner was stopped. Create another one")
            name = self._free_name(name, opened)
            feed = Feed(engine.spec, hop=hop, mirror=mirror)
            recogniser = Recogniser(engine, stream=name, smoothing_s=smoothing_s, rule=rule, skip_still=skip_still)
            in_use = self._in_use_of(engines, dial)
            self._take(RunningStream(name, opened, feed, recogniser, in_use, options, max_age_s, **self._hooks))
        return name

    @property
    def _hooks(self) -> dict[str, Any]:
        """Where a stream's records and its end go."""
        return {"distribution": self._distribution, "on_end": self._has_ended}

    def _take(self, stream: RunningStream) -> None:
        self._ended.pop(stream.name, None)
        self._streams[stream.name] = stream
        if self._started:
            self._begin(stream)

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
            if self._ended.get(name) is stream:
                del self._ended[name]
        return stream.status()

    def add_sink(self, sink: Sink, *, streams: Collection[str] | None = None) -> Outlet:
        """Write results to a sink from now on; the runner closes it.

        Args:
            sink: where they go.
            streams: names of the streams that it serves; None for all.

        Returns:
            Its outlet, with its counts.

        Raises:
            OptionError: if the runner was stopped, the sink wants a kind of record that does not exist, or `streams` is a
                single text.
        """
        if isinstance(streams, str):
            raise OptionError(f"streams is {streams!r}; use a list of names, as [{streams!r}]")
        with self._changed:
            if self._stopped:
                raise OptionError("this runner was stopped. Create another one")
            return self._distribution.add_sink(sink, streams)

    def status(self) -> list[StreamStatus]:
        """Return the state of every stream, in the order in which they were added; ended ones included."""
        with self._changed:
            streams = [*self._ended.values(), *self._streams.values()]
        return [stream.status() for stream in sorted(streams, key=lambda stream: stream.began_s)]

    @property
    def outlets(self) -> list[Outlet]:
        """The outlets of all sinks, with their counts."""
        return self._distribution.outlets

    @property
    def live(self) -> bool:
        """Whether a stream that has not ended is live."""
        with self._changed:
            return any(stream.source.live for stream in self._streams.values())

    @property
    def recorded(self) -> bool:
        """Whether a stream, which may have ended, is a recording: outputs lose nothing of it."""
        with self._changed:
            return any(not stream.source.live for stream in (*self._streams.values(), *self._ended.values()))

    def outputs(self) -> Mapping[str, Mapping[str, int]]:
        """Return the counts of every output by its name, with a number if it is not the first one of that name."""
        counts: dict[str, Mapping[str, int]] = {}
        for outlet in self.outlets:
            counts[_numbered(outlet.name, counts)] = outlet.counts()
        return counts

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

        Of a live stream only the newest prediction waits, with the events of those that it replaces. What came before the
        loop begins is not in it: where the first results of a recording matter, add it to a runner that is not started.
        """
        queue = ResultQueue(frozenset(("prediction", "event", "notice", "summary")))
        self._distribution.add_queue(queue)
        try:
            self.start()
            if self.wait(0):
                queue.close()
            while not queue.ended:
                record = queue.get()
                if record is not None:
                    yield record
        finally:
            self._distribution.remove_queue(queue)
            queue.close()

    def stop(self, timeout_s: float | None = STOP_S) -> bool:
        """End all streams, let the sinks finish, and close them. May be called again.

        Args:
            timeout_s: how long that may take; None for as long as the sinks need, once the streams have ended.

        Returns:
            Whether everything ended in time. What hangs is left behind, and a notice says so.
        """
        if os.getpid() != self._process:  # a fork has none of the threads, and its copies of their locks may be held
            return True
        _STOPPED_AT_EXIT.discard(self)
        began_s = time.monotonic()
        with self._changed:
            self._stopped = True
            if not self._started:
                self._streams.clear()
            streams = [*self._ended.values(), *self._streams.values()]  # a reader may outlive its stream for a moment
        limit_s = STOP_S if timeout_s is None else timeout_s
        well = self._end(streams, began_s + 0.6 * limit_s)
        with self._changed:
            schedulers, self._schedulers = [*self._schedulers.values(), *self._leaving], {}
        for scheduler in schedulers:
            scheduler.stop()
        self._distribution.end_queues()
        well &= self._distribution.close(None if timeout_s is None else began_s + 0.95 * timeout_s)
        return well & all(scheduler.join(began_s + limit_s - time.monotonic()) for scheduler in schedulers)

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
            name = checked_name(name)
            if name in self._streams:
                raise OptionError(f"there is a stream '{name}' already; give each stream a name of its own")
            return name
        return _numbered(printable(without_credentials(source.name)), self._streams)

    def _in_use_of(self, engines: EngineSet, dial: DialOptions | None) -> EngineInUse:
        """Return what the streams of a model share.

        Raises:
            OptionError: if another stream has set the dial otherwise.
        """
        for stream in self._streams.values():
            if stream.engine is engines.first:
                if stream.in_use.dial != dial:
                    raise OptionError(
                        f"stream '{stream.name}' has the same model with another dial; streams of one model share it, so give "
                        "all of them the same, or load the model once more"
                    )
                return stream.in_use
        return EngineInUse(engines, dial=dial)

    def _begin(self, stream: RunningStream) -> None:
        scheduler = self._schedulers.get(id(stream.engine))
        while scheduler is None or not stream.begin(scheduler):  # one whose engine failed may not be forgotten yet
            scheduler = self._schedulers[id(stream.engine)] = Scheduler(stream.in_use)
        if self._stopped:  # by a signal's handler, meanwhile
            stream.stop()

    def _end(self, streams: Collection[RunningStream], deadline_s: float) -> bool:
        """Stop streams and wait for them; return whether all of them ended."""
        for stream in streams:
            stream.stop()
        well = True
        for stream in streams:
            well &= stream.finish(deadline_s)
        return well

    def _has_ended(self, stream: RunningStream) -> None:
        """Note that a stream has ended; called once for each, by any thread."""
        with self._changed:
            if self._streams.get(stream.name) is stream:
                del self._streams[stream.name]
                self._ended[stream.name] = stream
            if not any(other.engine is stream.engine for other in self._streams.values()) and (
                scheduler := self._schedulers.pop(id(stream.engine), None)
            ):
                scheduler.stop()
                self._leaving = [scheduler, *(one for one in self._leaving if not one.join(0))]
            if not self._streams:
                self._distribution.end_queues()
            self._changed.notify_all()

    def notify(self, notice: Notice) -> None:
        """Tell every sink what an operator should know; from any thread."""
        self._distribution.emit(notice, keep=False)


def _usable_engines(model: LoadedModel) -> EngineSet:
    if not hasattr(model, "engine"):
        raise OptionError(f"model is {model!r}; give a loaded one, as mar_edge.load returns it")
    engines = getattr(model, "engines", None)
    if not isinstance(engines, EngineSet):
        engines = EngineSet(model.engine)
    engines.first.check_process()
    return engines


def _numbered(name: str, taken: Collection[str]) -> str:
    """Return a name that is not taken, with a number if need be."""
    number, found = 2, name
    while found in taken:
        found, number = f"{name} ({number})", number + 1
    return found


_STOPPED_AT_EXIT: weakref.WeakSet[Runner] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """End events, and close sinks, of a program that ends without `stop`."""
    for runner in list(_STOPPED_AT_EXIT):
        runner.stop()
