"""Reads videos that other programs write into a pipe."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import av

from mar_edge.errors import SourceError
from mar_edge.reporting import Warn, Warnings, no_warning
from mar_edge.runtime.sources.frame_queue import FrameQueue
from mar_edge.runtime.sources.source import Frame
from mar_edge.runtime.video.container import open_bytes
from mar_edge.runtime.video.decoding import NoPictureError
from mar_edge.runtime.video.opening import OpenVideo
from mar_edge.runtime.video.reader import steady_frames

TELL_AFTER_S = 1.0
WRITER_TIMEOUT_S = 30.0

EXAMPLE = "ffmpeg -i IN -c copy -f mpegts - | mar-edge run --source -"

_TICK_MS = 100


class PipeSource:
    """Every frame of a video that another program writes into a pipe, at its own pace.

    It is not a live source: a slow reader makes the writer wait. A pipe that no program has opened for
    writing ends with an error; if a writer pauses, the source waits.

    Args:
        path: of the named pipe; None for standard input.
        say: called with one sentence when no byte arrives for a second.
        timeout_s: how long to wait for a program to open the pipe for writing.
    """

    def __init__(
        self, path: Path | None = None, *, say: Warn | None = None, timeout_s: float = WRITER_TIMEOUT_S
    ) -> None:
        self.path = path
        self.name = "stdin" if path is None else str(path)
        self.dropped = 0
        self.warnings = Warnings()
        self._say = say or no_warning
        self._timeout_s = timeout_s
        self._bytes: _PipeBytes | None = None
        self._frames = FrameQueue()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> PipeSource:
        """Open the pipe without waiting for a writer.

        Raises:
            SourceError: if it cannot be opened.
        """
        try:
            # without O_NONBLOCK opening would silently wait for a writer
            handle = os.dup(0) if self.path is None else os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise SourceError(f"{self.name} cannot be read: {error.strerror}") from error
        self._frames = FrameQueue()
        self._bytes = _PipeBytes(handle, self.name, self._say, self._timeout_s, named=self.path is not None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop reading and close the pipe, which the writer notices."""
        self.stop()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()  # it checks every 0.1 s whether to stop
        pipe, self._bytes = self._bytes, None
        if pipe is not None:
            pipe.close()

    def __iter__(self) -> Iterator[Frame]:
        """Yield every frame.

        Raises:
            SourceError: if no program writes, or the data is not a video that can be read without seeking.
        """
        pipe, frames = self._bytes, self._frames
        if pipe is None or self._thread is not None:
            raise SourceError(f"{self.name} can be read once, as in: with source: for frame in source")
        # PyAV calls back into Python to read, and loses a Ctrl-C that arrives then; other threads than the main one get none
        self._thread = threading.Thread(
            target=self._read, args=(pipe, frames), name=f"mar-edge {self.name}", daemon=True
        )
        self._thread.start()
        while (frame := frames.get()) is not None:
            yield frame

    def stop(self) -> None:
        """End the iteration; any thread may call it."""
        self._frames.close()
        if (pipe := self._bytes) is not None:
            pipe.stop()

    def _read(self, pipe: _PipeBytes, frames: FrameQueue) -> None:
        try:
            for frame in self._decoded(pipe):
                if not frames.put(frame):
                    return
        except Exception as error:
            frames.end(error)
        else:
            frames.end(None)

    def _decoded(self, pipe: _PipeBytes) -> Iterator[Frame]:
        try:
            with OpenVideo(Path(self.name), container=open_bytes(pipe)) as video:
                for shown in steady_frames(video, self.warnings):
                    yield Frame(picture=shown.picture, time_s=shown.time_s, color="rgb", held=shown.held)
        except NoPictureError as error:
            raise self._unreadable(pipe, "no picture in it can be decoded") from error
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise self._unreadable(pipe, str(getattr(error, "strerror", None) or error)) from error

    def _unreadable(self, pipe: _PipeBytes, reason: str) -> SourceError:
        if not pipe.received:
            return SourceError(
                f"{self.name} ended before the first byte; check the output of the program that writes into it"
            )
        return SourceError(
            f"{self.name} is not a video that can be read from a pipe: {reason}. MPEG-TS, Matroska and fragmented MP4 are supported. Run: {EXAMPLE}"
        )


class _PipeBytes:
    """What PyAV reads: the bytes of a pipe as they come. It has no `seek`, so nothing is searched further ahead."""

    def __init__(self, handle: int, name: str, say: Warn, timeout_s: float, *, named: bool) -> None:
        self.received = False
        self._handle = handle
        self._name = name
        self._say = say
        self._timeout_s = timeout_s
        self._named = named
        self._stop = threading.Event()
        self._poll = select.poll()
        self._poll.register(handle, select.POLLIN)

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        self._stop.set()

    def close(self) -> None:
        self._stop.set()
        os.close(self._handle)

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes; none at the end, and when stopped."""
        began_s = time.monotonic()
        told = False
        while not self.stopped:
            ready = bool(self._poll.poll(_TICK_MS))
            data = self._take(size, ready)
            if data or (ready and data is not None):
                self.received |= bool(data)
                return data
            waited_s = time.monotonic() - began_s
            alone = data is not None  # at its end, and never had a writer
            if alone and waited_s > self._timeout_s:
                raise SourceError(
                    f"{self._name}: no program has opened this pipe for writing for {self._timeout_s:g} s; "
                    "start the writing program first"
                )
            if not told and waited_s > TELL_AFTER_S:
                told = True
                limit = f", up to {self._timeout_s:g} s" if alone else ""
                whom = "a program that writes into it" if alone else "data from the program that writes into it"
                self._say(f"{self._name}: waiting for {whom}{limit}; Ctrl-C stops")
        return b""

    def _take(self, size: int, ready: bool) -> bytes | None:
        """Return the available data, nothing at the end, and None while a writer pauses."""
        if not (ready or self._named):
            return None  # standard input would block
        try:
            return os.read(self._handle, size)
        except BlockingIOError:
            return None
