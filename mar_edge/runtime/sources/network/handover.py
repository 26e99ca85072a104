"""Hands frames from the thread that decodes them to the one that reads them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from mar_edge.runtime.frame import Frame


class Handover:
    """Holds one frame: the newest of a live stream; of a file, the one that the reader takes next.

    Args:
        on_drop: called when a frame that nobody has read is replaced.

    Attributes:
        closing: set by `close`.
        waits: whether `put` waits for the reader, as for a file; False replaces the frame.
    """

    def __init__(self, on_drop: Callable[[], None]) -> None:
        self.closing = threading.Event()
        self.waits = False
        self._on_drop = on_drop
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._ended = False
        self._error: Exception | None = None

    def put(self, frame: Frame) -> bool:
        """Hand a frame over; return whether more are wanted."""
        with self._changed:
            if self.waits:
                self._changed.wait_for(lambda: self.closing.is_set() or self._frame is None)
            elif self._frame is not None:
                self._on_drop()
            self._frame = frame
            self._changed.notify_all()
            return not self.closing.is_set()

    def end(self, error: Exception | None) -> None:
        """Say that no more frames come, and why."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def ready(self, timeout_s: float) -> bool:
        """Wait for a frame or the end; return whether there is one of them, or it is closed."""
        with self._changed:
            return self._changed.wait_for(self._is_ready, timeout_s)

    def take(self) -> Frame | None:
        """Return the frame that is there; None at the end and once closed.

        Raises:
            Exception: the one given to `end`.
        """
        with self._changed:
            frame, self._frame = self._frame, None
            self._changed.notify_all()
            if self.closing.is_set():
                return None
            if frame is None and self._error is not None:
                raise self._error
            return frame

    def close(self) -> None:
        """Say that no more frames are wanted."""
        with self._changed:
            self.closing.set()
            self._frame = None
            self._changed.notify_all()

    def failure(self) -> Exception | None:
        """Return what was given to `end` if no frame is left."""
        with self._changed:
            return self._error if self._frame is None else None

    def _is_ready(self) -> bool:
        return self.closing.is_set() or self._ended or self._frame is not None
