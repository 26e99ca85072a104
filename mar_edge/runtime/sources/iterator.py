"""Connections over an iterator of frames: read in the caller's thread, or in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator

from mar_edge.errors import SourceTimeoutError
from mar_edge.reporting import Warn
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.sources.frame_queue import FrameQueue

CLOSE_S = 0.8
"""How long closing waits for a thread that reads; one that takes longer releases what it holds when it returns."""

Frames = Generator[Frame, None, None]


class IteratorConnection:
    """Takes each frame in the thread that asks for it, for frames that are computed rather than waited for.

    It cannot be interrupted within a frame: `read` ignores its timeout, and `close` takes effect after the frame.

    Args:
        frames: the frames; closed with the connection.
        release: called once when it is closed, and no frame is being made.
    """

    def __init__(self, frames: Frames, release: Callable[[], None] = lambda: None) -> None:
        self._frames = frames
        self._release = release
        self._closed = threading.Event()
        self._busy = threading.Lock()
        self._released = False

    def read(self, timeout_s: float) -> Frame | None:
        """Return the next frame; see `Connection.read`."""
        try:
            with self._busy:
                frame = None if self._closed.is_set() else next(self._frames, None)
            return None if self._closed.is_set() else frame
        finally:
            self._release_if_closed()

    def close(self) -> None:
        """Release what it holds, now or when the frame that is being made is complete."""
        self._closed.set()
        self._release_if_closed()

    def _release_if_closed(self) -> None:
        # whoever is last does it: the thread that closes, or the one whose frame was being made
        if self._closed.is_set() and self._busy.acquire(blocking=False):
            try:
                if not self._released:
                    self._released = True
                    self._frames.close()
                    self._release()
            finally:
                self._busy.release()


class ThreadConnection:
    """Takes the frames in a thread of its own, so that `read` returns in time and `close` wakes it, whatever blocks.

    Args:
        frames: the frames; closed with the connection.
        name: of the source, for messages.
        warn: called if the thread does not end when the connection is closed.
        interrupt: called to wake the thread from what it waits for.
        release: called by the thread when it ends.
    """

    def __init__(
        self,
        frames: Frames,
        *,
        name: str,
        warn: Warn,
        interrupt: Callable[[], None] = lambda: None,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        self._frames = frames
        self._name = name
        self._warn = warn
        self._interrupt = interrupt
        self._release = release
        self._queue = FrameQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"mar-edge {name}", daemon=True)
        self._thread.start()

    def read(self, timeout_s: float) -> Frame | None:
        """Return the next frame; see `Connection.read`."""
        try:
            return self._queue.get(timeout_s)
        except TimeoutError:
            raise SourceTimeoutError(f"{self._name}: no frame for {timeout_s:g} s") from None

    def close(self) -> None:
        """End the thread and what it reads; a `read` that waits returns None."""
        self._queue.close()
        self._interrupt()
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._thread.join(CLOSE_S)
            if self._thread.is_alive():
                self._warn(f"{self._name} does not respond; it is released when it returns")

    def _run(self) -> None:
        error: Exception | None = None
        try:
            for frame in self._frames:
                if not self._queue.put(frame):
                    break
            self._frames.close()
        except Exception as raised:  # told to the thread that reads
            error = raised
        finally:
            self._release()
            self._queue.end(error)
