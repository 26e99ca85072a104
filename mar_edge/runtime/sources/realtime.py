"""Plays a recording as if it were live."""

from __future__ import annotations

import threading
import time

from mar_edge.errors import SourceTimeoutError
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.sources.source import Connection, Scripted, Source

MAX_PAUSE_S = 2.0
"""A recording's longer gap between two frames is shortened to this: a camera that is silent for so long would be lost."""


class RealtimeSource:
    """Gives each frame of a source that waits at the time at which a camera would have.

    The first frame comes at once, and each other one as long after it as in the recording; repeats of held pictures as
    well. `arrived_s` is the moment at which a frame was due: one that was decoded too slowly, or taken too late, is old.
    The times of the frames remain those of the recording. Frames of a source that is live by itself are not changed.

    Args:
        source: what to play.
    """

    def __init__(self, source: Source) -> None:
        self.name = source.name
        self.live = True
        self.dropped = 0
        self.warnings = source.warnings
        self.idle_truth = source.idle_truth if isinstance(source, Scripted) else None
        self._source = source

    def connect(self) -> Connection:
        """Open the source, at its beginning.

        Raises:
            SourceError: see the source's.
        """
        return _Playing(self, self._source.connect())

    def note_dropped(self) -> None:
        """Take over the count of the source."""
        self.dropped = self._source.dropped


class _Playing:
    """One connection, played in real time."""

    def __init__(self, source: RealtimeSource, connection: Connection) -> None:
        self._source = source
        self._connection = connection
        self._closed = threading.Event()
        self._waiting: Frame | None = None  # read, but not due yet
        self._offset_s: float | None = None  # of `time.monotonic()` from the times of the frames
        self._last_s = 0.0
        self._told = False

    def read(self, timeout_s: float) -> Frame | None:
        """Return the next frame when it is due; see `Connection.read`."""
        deadline_s = time.monotonic() + timeout_s
        frame = self._waiting or self._connection.read(timeout_s)
        self._source.note_dropped()
        if frame is None or self._closed.is_set() or frame.arrived_s is not None:
            return None if self._closed.is_set() else frame
        self._waiting = frame
        due_s = self._due_s(frame)
        if self._closed.wait(max(0.0, min(due_s, deadline_s) - time.monotonic())):
            return None
        if due_s > deadline_s:
            raise SourceTimeoutError(f"{self._source.name}: no frame is due for {timeout_s:g} s")
        self._waiting = None
        self._last_s = frame.time_s
        frame.arrived_s = due_s
        return frame

    def close(self) -> None:
        """Stop playing."""
        self._closed.set()
        self._connection.close()

    def _due_s(self, frame: Frame) -> float:
        if self._offset_s is None:
            self._offset_s = time.monotonic() - frame.time_s
        elif (excess_s := frame.time_s - self._last_s - MAX_PAUSE_S) > 0:
            self._offset_s -= excess_s
            self._last_s += excess_s  # shortened once, however often this frame is asked for
            if not self._told:
                self._told = True
                self._source.warnings(
                    f"{self._source.name}: gaps of more than {MAX_PAUSE_S:g} s are played as {MAX_PAUSE_S:g} s"
                )
        return frame.time_s + self._offset_s
