"""Uncompressed frames that another program writes into standard input."""

from __future__ import annotations

import os
import re
import select
import threading
import time

from mar_edge.counting import counted
from mar_edge.errors import SourceError, SourceTimeoutError
from mar_edge.reporting import Warn, Warnings
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.sources.address import did_you_mean, invalid, parse_rate, parse_size
from mar_edge.runtime.sources.pixel_layout import PIXEL_FORMATS, PixelFormat, PixelLayout

EXAMPLE = "rgb24:640x480:30"

_FORMAT = re.compile(r"([^:@]+):([^:@]+)[:@]([^:@]+)")
_SAME_NAME = {"gray8": "gray", "grey": "gray", "i420": "yuv420p", "yuyv": "yuyv422", "uyvy": "uyvy422", "rgb": "rgb24", "bgr": "bgr24"}  # fmt: skip


def parse_raw_format(text: str) -> tuple[PixelLayout, float]:
    """Return the layout and the frames per second of `rgb24:640x480:30`; an `@` before the rate is read as well.

    Raises:
        SourceError: if it cannot be read.
    """
    match = _FORMAT.fullmatch(text.strip())
    if match is None:
        raise invalid(f"--stdin-format is '{text}'; write PIXELS:WIDTHxHEIGHT:FPS, for instance {EXAMPLE}")
    pixel_format = _known(match[1].lower())
    width, height = parse_size("--stdin-format", match[2])
    layout = PixelLayout(pixel_format, width, height)
    if why := layout.why_invalid():
        raise invalid(f"--stdin-format {why}")
    return layout, parse_rate("--stdin-format", match[3])


def _known(text: str) -> PixelFormat:
    for one in PIXEL_FORMATS:
        if one == _SAME_NAME.get(text, text):
            return one
    raise invalid(
        f"--stdin-format: pixels '{text}' are not supported{did_you_mean(text, PIXEL_FORMATS)}; "
        f"use one of {', '.join(PIXEL_FORMATS)}"
    )


class RawSource:
    """Every frame that a program writes into a pipe, without a header between them.

    It is not a live source: a slow reader makes the writer wait. The pipe is read once.

    Args:
        raw_format: pixels, size and rate, as `rgb24:640x480:30`.
        handle: descriptor to read from, which is copied; standard input by default.

    Raises:
        SourceError: if the format cannot be read.
    """

    live = False

    def __init__(self, raw_format: str, *, handle: int = 0) -> None:
        self.layout, self.fps = parse_raw_format(raw_format)
        self.name = "stdin"
        self.dropped = 0
        self.warnings = Warnings()
        self._handle = handle
        self._read_before = False

    def connect(self) -> RawConnection:
        """Begin to read.

        Raises:
            SourceError: if standard input is closed, or was read before.
        """
        if self._read_before:
            raise SourceError(f"{self.name} can be read once", code="ended", retry=False)
        try:
            handle = os.dup(self._handle)
        except OSError as error:
            raise SourceError(f"{self.name} cannot be read: {error.strerror}", code="not-found", retry=False) from error
        self._read_before = True
        return RawConnection(handle, self.layout, self.fps, name=self.name, warn=self.warnings)


class RawConnection:
    """Whole frames of a pipe.

    Args:
        handle: descriptor of the pipe, which is closed with this object.
        layout: of a frame.
        fps: frames per second.
        name: of the source.
        warn: called if the last frame is not whole.
    """

    def __init__(self, handle: int, layout: PixelLayout, fps: float, *, name: str, warn: Warn) -> None:
        self._handle = handle
        self._layout = layout
        self._fps = fps
        self._name = name
        self._warn = warn
        self._frames = 0
        self._received = bytearray()
        self._reading = threading.Lock()
        self._closing = threading.Lock()
        self._closed = threading.Event()
        self._woken, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(handle, select.POLLIN)
        self._poll.register(self._woken, select.POLLIN)

    def read(self, timeout_s: float) -> Frame | None:
        """Wait for a whole frame; what has come of it stays for the next call.

        Raises:
            SourceTimeoutError: if none is whole in time.
            SourceError: if the program ended without a whole frame.
        """
        with self._reading:
            end_s = time.monotonic() + timeout_s
            while not self._closed.is_set():
                missing = self._layout.size_bytes - len(self._received)
                if missing == 0:
                    return self._take()
                if not self._wait(end_s):
                    continue
                data = os.read(self._handle, min(missing, 1 << 20))
                if not data:
                    self._check_whole()
                    return None
                self._received += data
            return None

    def close(self) -> None:
        """Close the pipe, which the writer notices. A read that waits returns None."""
        with self._closing:
            if self._closed.is_set():
                return
            self._closed.set()
        os.write(self._wake, b"x")
        with self._reading:
            for handle in (self._handle, self._woken, self._wake):
                os.close(handle)

    def _wait(self, end_s: float) -> bool:
        """Return whether there is something to read; False if it was closed meanwhile."""
        ready = self._poll.poll(max(0.0, 1000 * (end_s - time.monotonic())))
        if not ready:
            raise SourceTimeoutError(f"{self._name}: no whole frame came from the program that writes into it")
        return any(handle == self._handle for handle, _ in ready)

    def _take(self) -> Frame:
        data, self._received = self._received, bytearray()
        frame = self._layout.frame(data, time_s=self._frames / self._fps)
        self._frames += 1
        return frame

    def _check_whole(self) -> None:
        """Report what is left of a frame."""
        if not self._received:
            if not self._frames:
                raise SourceError(
                    f"{self._name} ended before the first byte; check the output of the program that writes into it",
                    code="ended",
                    retry=False,
                )
            return
        whole = self._layout.size_bytes
        left = f"{counted(len(self._received), 'byte')} of {whole:,}"
        self._received.clear()
        if not self._frames:
            raise SourceError(
                f"{self._name} ended within the first frame, after {left}; check --stdin-format",
                code="ended",
                retry=False,
            )
        self._warn(f"{self._name}: the last frame is cut off, {left} came; skipped. Check --stdin-format")
