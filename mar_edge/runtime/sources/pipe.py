"""Reads videos that other programs write into a pipe."""

from __future__ import annotations

import os
import select
import threading
import time
from pathlib import Path

import av

from mar_edge.errors import SourceError
from mar_edge.reporting import Warn, Warnings
from mar_edge.runtime.sources.iterator import Frames, ThreadConnection
from mar_edge.runtime.video.container import code_of, open_bytes
from mar_edge.runtime.video.decoding import NoPictureError
from mar_edge.runtime.video.opening import OpenVideo
from mar_edge.runtime.video.reader import steady_frames

TELL_AFTER_S = 1.0
WRITER_TIMEOUT_S = 30.0

EXAMPLE = "ffmpeg -i IN -c copy -f mpegts - | mar-edge run --source -"

_TICK_MS = 100


class PipeSource:
    """Every frame of a video that another program writes into a pipe, at its own pace.

    It is not a live source: a slow reader makes the writer wait. A pipe that no program has opened for writing ends with
    an error; if a writer pauses, a `read` times out, and may be repeated. A warning says after a second what it waits for.

    Args:
        path: of the named pipe; None for standard input.
        timeout_s: how long to wait for a program to open the pipe for writing.
    """

    def __init__(self, path: Path | None = None, *, timeout_s: float = WRITER_TIMEOUT_S) -> None:
        self.path = path
        self.name = "stdin" if path is None else str(path)
        self.live = False
        self.dropped = 0
        self.warnings = Warnings()
        self._timeout_s = timeout_s

    def connect(self) -> ThreadConnection:
        """Open the pipe, without waiting for a writer.

        Raises:
            SourceError: if it cannot be opened. Whether a video comes through it is known when it is read.
        """
        try:
            # without O_NONBLOCK opening would silently wait for a writer
            handle = os.dup(0) if self.path is None else os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            code = code_of(error)
            raise SourceError(f"{self.name} cannot be read: {error.strerror}", code=code, retry=False) from error
        pipe = _PipeBytes(handle, self.name, self.warnings, self._timeout_s, named=self.path is not None)
        # PyAV calls back into Python to read, and loses a Ctrl-C that arrives then; other threads than the main one get none
        return ThreadConnection(
            self._decoded(pipe), name=self.name, warn=self.warnings, interrupt=pipe.stop, release=pipe.close
        )

    def _decoded(self, pipe: _PipeBytes) -> Frames:
        try:
            with OpenVideo(Path(self.name), container=open_bytes(pipe)) as video:
                yield from steady_frames(video, self.warnings)
        except NoPictureError as error:
            raise self._unreadable(pipe, "no picture in it can be decoded") from error
        except SourceError as error:
            error.retry = False  # the same video would come again, or nothing
            raise
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise self._unreadable(pipe, str(getattr(error, "strerror", None) or error)) from error

    def _unreadable(self, pipe: _PipeBytes, reason: str) -> SourceError:
        if not pipe.received:
            return SourceError(
                f"{self.name} ended before the first byte; check the output of the program that writes into it",
                code="ended",
                retry=False,
            )
        return SourceError(
            f"{self.name} is not a video that can be read from a pipe: {reason}. MPEG-TS, Matroska and fragmented MP4 are supported. Run: {EXAMPLE}",
            code="codec",
            retry=False,
        )


class _PipeBytes:
    """What PyAV reads: the bytes of a pipe as they come. It has no `seek`, so nothing is searched further ahead."""

    def __init__(self, handle: int, name: str, warn: Warn, timeout_s: float, *, named: bool) -> None:
        self.received = False
        self._handle = handle
        self._name = name
        self._warn = warn
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
                    "start the writing program first",
                    code="timeout",
                    retry=False,
                )
            if not told and waited_s > TELL_AFTER_S:
                told = True
                limit = f", up to {self._timeout_s:g} s" if alone else ""
                whom = "a program that writes into it" if alone else "data from the program that writes into it"
                self._warn(f"{self._name}: waiting for {whom}{limit}; Ctrl-C stops")
        return b""

    def _take(self, size: int, ready: bool) -> bytes | None:
        """Return the available data, nothing at the end, and None while a writer pauses."""
        if not (ready or self._named):
            return None  # standard input would block
        try:
            return os.read(self._handle, size)
        except BlockingIOError:
            return None
