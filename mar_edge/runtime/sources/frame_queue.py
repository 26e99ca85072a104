"""Frames on their way from the thread that decodes them to the one that takes them."""

from __future__ import annotations

import threading
from collections import deque

from mar_edge.runtime.frame import Frame


class FrameQueue:
    """A short queue of frames; the producer waits for room, the consumer waits for frames, and either can be stopped.

    Args:
        limit: frames that may wait.
    """

    def __init__(self, limit: int = 2) -> None:
        self._limit = limit
        self._changed = threading.Condition()
        self._waiting: deque[Frame] = deque()
        self._ended = False
        self._closed = False
        self._error: Exception | None = None

    def put(self, frame: Frame) -> bool:
        """Add a frame when there is room; return whether more frames are wanted."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._waiting) < self._limit)
            self._waiting.append(frame)
            self._changed.notify_all()
            return not self._closed

    def end(self, error: Exception | None) -> None:
        """Signal that no more frames come, with the error if there was one."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def get(self, timeout_s: float) -> Frame | None:
        """Return the next frame when one is available; None at the end, and once it is closed.

        Raises:
            TimeoutError: if none came in that time.
            Exception: the error passed to `end`.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._closed or self._ended or self._waiting, timeout_s):
                raise TimeoutError
            if self._closed:
                return None
            if self._waiting:
                self._changed.notify_all()
                return self._waiting.popleft()
            if self._error is not None:
                raise self._error
            return None

    def close(self) -> None:
        """Signal that no more frames are wanted."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
