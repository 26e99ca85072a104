"""The frames of a source, read in a thread of their own, until the source ends or is lost."""

from __future__ import annotations

import threading
import time

from mar_edge.errors import MarEdgeError, SourceError, SourceTimeoutError
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.sources.frame_queue import FrameQueue
from mar_edge.runtime.sources.source import Connection, Source
from mar_edge.runtime.streams.clock import StreamClock
from mar_edge.runtime.streams.read_options import STALL_S
from mar_edge.runtime.streams.reader import HANGS_S, LOOK_S

WAITING = 16
"""Frames that may wait: half a second at 30 fps, for the burst at the beginning of a clip."""

_JOIN_S = 1.0


class LiveFrames:
    """Reads one connection of a source. A source that is lost is not connected again: a clip has no gaps.

    Args:
        source: what to read.
        stall_s: a live source without a frame for this time is lost, seconds.

    Attributes:
        source: as given.
        connected: whether the source is open.
    """

    def __init__(self, source: Source, *, stall_s: float = STALL_S) -> None:
        self.source = source
        self.connected = False
        self._stall_s = stall_s
        self._clock = StreamClock()
        self._queue = FrameQueue(WAITING)
        self._closed = threading.Event()
        self._connection: Connection | None = None
        self._heard_s = 0.0
        self._thread = threading.Thread(target=self._run, name=f"mar-edge reads {source.name}", daemon=True)

    def start(self) -> None:
        """Begin to connect and to read."""
        self._thread.start()

    def next(self, timeout_s: float) -> Frame | None:
        """Return the next frame, its time in the stream's time; None at the end of the source.

        Args:
            timeout_s: how long to wait.

        Raises:
            TimeoutError: if none came in that time.
            SourceError: if the source cannot be opened, or is lost.
        """
        try:
            return self._queue.get(timeout_s)
        except TimeoutError:
            silence_s = time.monotonic() - self._heard_s
            if self.connected and self.source.live and silence_s > self._stall_s + HANGS_S:
                raise SourceTimeoutError(
                    f"{self.source.name}: no frame for {silence_s:.0f} s, and its driver does not respond; reconnect it"
                ) from None
            raise

    def close(self) -> None:
        """End the thread and close the source; a driver that hangs is left behind."""
        self._closed.set()
        self._queue.close()
        if self._connection is not None:
            self._connection.close()
        if self._thread.ident is not None:
            self._thread.join(_JOIN_S)

    def _run(self) -> None:
        error: Exception | None = None
        try:
            self._connection = self.source.connect()
            try:
                self._heard_s, self.connected = time.monotonic(), True
                self._clock.connected()
                self._read(self._connection)
            finally:
                self._connection.close()
        except MarEdgeError as raised:
            error = raised
        except Exception as raised:  # of a library or a driver
            error = SourceError(f"{self.source.name}: {type(raised).__name__}: {raised}")
            error.__cause__ = raised
        finally:
            self._queue.end(error)

    def _read(self, connection: Connection) -> None:
        while not self._closed.is_set():
            try:
                frame = connection.read(self._stall_s if self.source.live else LOOK_S)
            except SourceTimeoutError:
                if self.source.live:
                    raise
                continue  # a recording's writer may pause
            if frame is None or not self._queue.put(self._in_stream_time(frame)):
                return
            self._heard_s = time.monotonic()

    def _in_stream_time(self, frame: Frame) -> Frame:
        if not self.source.live:
            return frame
        arrived_s = time.monotonic() if frame.arrived_s is None else frame.arrived_s
        time_s, jumped = self._clock.stream_time(frame.time_s, arrived_s)
        cut = "the clock of its source jumped" if jumped else None
        return frame.at(time_s, arrived_s=arrived_s, cut=cut)
