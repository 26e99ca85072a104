"""Reads one source in a thread of its own, connects again for as long as it takes, and makes the model's inputs."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from numbers import Real

from mar_edge.counting import counted
from mar_edge.errors import FrameError, MarEdgeError, SourceError, SourceTimeoutError
from mar_edge.runtime.backoff import Backoff
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.results import State
from mar_edge.runtime.sources.source import Connection, Source, Watchable
from mar_edge.runtime.streams.clock import StreamClock
from mar_edge.runtime.streams.feed import Feed, utc_now
from mar_edge.runtime.streams.read_options import ReadOptions
from mar_edge.runtime.streams.slot import Slot

HANGS_S = 2.0
"""A read that lasts longer than its time-out by this hangs."""

LOOK_S = 0.5
"""Pause between two looks: whether a lost source is back, and at what a source that waits has to say."""


class Reader:
    """The reading thread of one stream.

    Args:
        source: what to read.
        feed: makes the model's inputs.
        slot: where they go.
        name: of the stream.
        options: how to read.
        notify: called with a code and a sentence for the operator.
        on_frame: called with every frame, in the stream's time; a recording waits for it.
        backoff: the pauses between attempts.

    Attributes:
        state: `connecting`, `live`, `lost` or `ended`.
        error: why it is lost or has ended; None otherwise.
        failed: whether the error ended the stream.
        sampled: frames that the model takes.
        reconnects: how often a lost source delivered frames again.
        dropped: frames that were left out, by cause.
        newest_s: time of the newest frame in the stream's time, seconds.
        arrived_s: `time.monotonic()` at the newest frame; None before the first one.
    """

    def __init__(
        self,
        source: Source,
        feed: Feed,
        slot: Slot,
        *,
        name: str,
        options: ReadOptions,
        notify: Callable[[str, str], None],
        on_frame: Callable[[Frame], None],
        backoff: Backoff | None = None,
    ) -> None:
        self.state: State = "connecting"
        self.error: SourceError | None = None
        self.failed = False
        self.sampled = 0
        self.reconnects = 0
        self.dropped: Counter[str] = Counter()
        self.newest_s = 0.0
        self.arrived_s: float | None = None
        self._source, self._feed, self._slot = source, feed, slot
        self._name = name
        self._options = options
        self._notify = notify
        self._on_frame = on_frame
        self._backoff = backoff or Backoff()
        self._clock = StreamClock()
        self._stop = threading.Event()
        self._connection: Connection | None = None
        self._began_s = time.monotonic()
        self._cut_told_at = -1
        self._thread = threading.Thread(target=self._run, name=f"mar-edge reads {name}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._began_s = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; does not wait. What the slot holds is dropped."""
        self._stop.set()
        self._slot.close()
        connection = self._connection
        if connection is not None:  # in a thread: a driver may take its time, and there may be many of them
            closing = threading.Thread(target=self._close, args=(connection,), daemon=True)
            closing.name = f"mar-edge closes {self._name}"
            with suppress(
                RuntimeError
            ):  # no thread starts at the end of the process, where the system closes everything
                closing.start()

    @property
    def stopping(self) -> bool:
        """Whether it was asked to end."""
        return self._stop.is_set()

    def silence_s(self) -> float:
        """Return for how long no frame has come, seconds; any thread may call it, and should while others wait.

        A read that should have returned by now, but hangs in a driver, makes the stream lost.
        """
        arrived_s = self.arrived_s
        if arrived_s is None:
            return 0.0
        silence_s = time.monotonic() - arrived_s
        if self.state == "live" and self._source.live and silence_s > self._options.stall_s + HANGS_S:
            self.state = "lost"
            self.error = SourceTimeoutError(
                f"{self._name}: no frame for {silence_s:.0f} s, and its driver does not respond; "
                "reconnect it, or start mar-edge again if it stays so"
            )
            self._notify("stalled", str(self.error))
        return silence_s

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread; return whether it has ended. One that hangs in a driver is left behind.

        Called by itself, as by a source that stops its runner, it ends after the call.
        """
        if self._thread is threading.current_thread():
            return True
        if self._thread.ident is not None:
            self._thread.join(max(0.0, timeout_s))
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                error = self._connect_and_read()
                if error is None or not self._lost(error):
                    break
        except (
            BaseException
        ) as error:  # sys.exit in a user's source, or a mistake of ours: it is no end without an error
            self.error, self.failed = self._as_source_error(error), True
        finally:
            self.state = "ended"
            self._slot.end()
            self._feed.release()  # a runner keeps the counts of what has ended

    def _connect_and_read(self) -> SourceError | None:
        """Read one connection to its end; return why it was lost, None if it has ended."""
        try:
            connection = self._source.connect()
        except Exception as error:
            return self._as_source_error(error)
        finally:
            self._take_warnings()
        self._connection = connection
        try:
            if self._stop.is_set():  # stopped while it was opened, when nothing could be closed yet
                return None
            self._slot.live = self._source.live
            self._clock.connected()
            return self._read(connection)
        finally:
            self._connection = None
            self._close(connection)
            self._take_warnings()

    def _read(self, connection: Connection) -> SourceError | None:
        while not self._stop.is_set():
            try:
                frame = connection.read(self._patience_s())
            except SourceTimeoutError as error:
                if self._is_over(self.newest_s):
                    return None
                if self._source.live:
                    return error
                self._take_warnings()
                continue  # a recording's writer may pause
            except Exception as error:
                return self._as_source_error(error)
            if frame is None or self._stop.is_set():
                return None
            try:
                if not self._take(frame):
                    return None
            except FrameError as error:
                if not self._source.live:
                    return SourceError(f"{self._name}: {error}", retry=False)
                self._skip(error)
        return None

    def _patience_s(self) -> float:
        """Return how long to wait for a frame, seconds."""
        patience_s = self._options.stall_s if self._source.live else LOOK_S
        if self._options.max_s is not None and (self._source.live or self.arrived_s is None):
            patience_s = min(patience_s, self._began_s + self._options.max_s - time.monotonic() + 0.001)
        return max(0.0, patience_s)

    def _take(self, frame: Frame) -> bool:
        """Take a frame; return whether more are wanted."""
        _check(frame, self._source.live)
        if self._backoff.attempts or self.state != "live":
            self._back()
        arrived_s = frame.arrived_s
        if self._source.live and arrived_s is None:
            arrived_s = time.monotonic()
        elif not self._source.live:
            arrived_s = None
        time_s, jumped = self._clock.stream_time(frame.time_s, arrived_s)
        if self._is_over(time_s):
            return False
        if jumped:
            self._feed.reset()
            self._cut(f"the clock of its source jumped at {time_s:.2f} s")
        self.newest_s, self.arrived_s = time_s, time.monotonic()
        frame = frame.at(time_s, arrived_s=arrived_s)
        self._on_frame(frame)
        fed = self._feed.add(frame, utc_of=utc_now if arrived_s is not None else None)
        if fed.cut is not None:
            self._cut(fed.cut)
        self.sampled += fed.sampled
        if fed.slow:
            self._notify(
                "slow-source",
                f"{self._name}: delivers fewer than the {self._feed.rate_fps:g} frames per second that the model expects; "
                "frames are repeated, and recognition may suffer",
            )
        self._take_warnings()
        return not fed.inputs or self._slot.put([one.kept() for one in fed.inputs])

    def _back(self) -> None:
        """Note that frames come."""
        if self.state == "lost":
            self.reconnects += self.arrived_s is not None
            self._notify("live", f"{self._name}: frames arrive{' again' if self.arrived_s is not None else ''}")
        self.state, self.error = "live", None
        self._backoff.reset()

    def _skip(self, error: FrameError) -> None:
        """Leave out a frame of a live stream that cannot be used; the next one may be sound."""
        self.dropped["invalid"] += 1
        if self.dropped["invalid"] == 1:
            self._notify("frame", f"{self._name}: a frame is left out, as all others like it: {error}")

    def _lost(self, error: SourceError) -> bool:
        """Note that the connection is lost, and wait before the next attempt; return whether there is one."""
        if self._stop.is_set():
            return False
        told = self.error
        self.error = error
        again = self._source.live and error.retry
        retries = self._options.max_retries
        if again and retries is not None and self._backoff.attempts >= retries:
            self._notify("given-up", f"{error}. Given up after {counted(retries, 'retry')}")
            again = False
        if self.arrived_s is not None:
            self._feed.reset()
            self._slot.cut()
        if not again:
            self.failed = True
            return False
        self.state = "lost"
        if told is None or told.code != error.code:  # once for each cause, however many attempts fail
            limit = "until it succeeds" if retries is None else f"at most {counted(retries, 'time')}"
            self._notify(error.code, f"{error}. Trying again, {limit}")
        return not self._pause(self._backoff.next_s())

    def _pause(self, pause_s: float) -> bool:
        """Wait, but not longer than until the source is back; return whether to stop."""
        end_s = time.monotonic() + pause_s
        watch = self._source.watch() if isinstance(self._source, Watchable) else None
        try:
            while (left_s := end_s - time.monotonic()) > 0:
                if self._is_over(self.newest_s):
                    self._stop.set()
                if watch is not None and watch.returned():
                    return False
                if self._stop.wait(min(left_s, LOOK_S)):
                    return True
            return False
        finally:
            if watch is not None:
                watch.close()

    def _cut(self, why: str) -> None:
        self._slot.cut()
        if self._cut_told_at != self._feed.inputs:  # once until the next input, however many breaks there are
            self._cut_told_at = self._feed.inputs
            self._notify("window", f"{self._name}: {why}; the window restarts")

    def _is_over(self, time_s: float) -> bool:
        """Return whether the time is up: of the clock for a live stream, of the recording otherwise."""
        if self._options.max_s is None:
            return False
        by_clock = self._source.live or self.arrived_s is None  # a pipe into which nobody writes has no time of its own
        passed_s = time.monotonic() - self._began_s if by_clock else time_s
        return passed_s > self._options.max_s

    def _take_warnings(self) -> None:
        for message in self._source.warnings.take():
            self._notify("source", message)

    def _as_source_error(self, error: BaseException) -> SourceError:
        """Return an error of a source, whose code may be the user's own, as one of ours."""
        if isinstance(error, SourceError):
            return error
        ours = isinstance(error, MarEdgeError)  # such as for a library that is not installed, and will not be
        said = str(error) if ours else f"{type(error).__name__}: {error}"
        found = SourceError(f"{self._name}: {said}", retry=not ours)
        found.__cause__ = error
        return found

    def _close(self, connection: Connection) -> None:
        try:
            connection.close()
        except Exception as error:  # a driver's own; the connection is of no further use
            self._notify("source", f"{self._name}: closing failed: {type(error).__name__}: {error}")


def _check(frame: object, live: bool) -> None:
    """Check what a source delivered, before its times are used; the arrival is that of a live one.

    Raises:
        FrameError: if it is not a frame, or its times are not.
    """
    if not isinstance(frame, Frame):
        raise FrameError(f"a source must deliver a Frame, not {type(frame).__name__}")
    arrived_s = frame.arrived_s if live else None
    times: dict[str, object] = (
        {"time_s": frame.time_s} if arrived_s is None else {"time_s": frame.time_s, "arrived_s": arrived_s}
    )
    for name, value in times.items():
        if not isinstance(value, Real) or not math.isfinite(value):
            raise FrameError(f"{name} is {value!r}; give seconds")
    if arrived_s is not None and arrived_s > time.monotonic() + 1:
        raise FrameError(f"arrived_s is {arrived_s!r}, which has not come yet; give time.monotonic() at its arrival")
