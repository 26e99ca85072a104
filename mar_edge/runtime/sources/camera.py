"""Cameras, through OpenCV."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NoReturn

from mar_edge.counting import counted
from mar_edge.errors import MarEdgeError, SourceError, SourceTimeoutError
from mar_edge.reporting import Warnings
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.sources.camera_settings import CameraSettings
from mar_edge.runtime.sources.capture import Capture, CaptureThread, open_camera
from mar_edge.runtime.sources.device_node import DEVICES, HAS_NODES, LIST, why_not_open, why_silent

OPEN_TIMEOUT_S = 10.0
CLOSE_S = 0.8
"""How long closing waits for a driver; one that takes longer releases the camera when it returns."""


class CameraSource:
    """A live camera without a queue: each read returns the newest frame, older ones are counted as dropped.

    A read of the driver that fails, is empty or raises is skipped; a warning reports how many were. Grey, BGRA and 16 bit
    pictures are converted to BGR. A driver that hangs is abandoned, and a warning says so.

    Args:
        index: camera number.
        open_capture: opens the device; OpenCV's capture by default.
        settings: what is asked of the camera; a warning says what it delivers instead.
        open_timeout_s: how long opening may take.
        name: for messages; `camera 0` by default.
    """

    def __init__(
        self,
        index: int,
        *,
        open_capture: Callable[[int], Capture] | None = None,
        settings: CameraSettings | None = None,
        open_timeout_s: float = OPEN_TIMEOUT_S,
        name: str | None = None,
    ) -> None:
        self.index = index
        self.name = name or f"camera {index}"
        self.live = True
        self.dropped = 0
        self.warnings = Warnings()
        self._open_capture = open_capture or open_camera
        self.settings = settings or CameraSettings()
        self._told_instead: str | None = None
        self._has_node = open_capture is None and HAS_NODES
        self._open_timeout_s = open_timeout_s
        self._was_open = False
        self._current: _CameraConnection | None = None

    def connect(self) -> _CameraConnection:
        """Open the camera and start reading.

        Raises:
            SourceError: if it cannot be opened; the message states whether it is missing, not permitted or in use. A
                retry is worthwhile if it is in use, and once the camera was open: before, its number may be wrong.
        """
        if self._current is not None and not self._current.closed:
            raise SourceError(
                f"{self.name} is already open; create one source for each stream", code="busy", retry=False
            )
        reading = CaptureThread(
            self._opened_capture,
            name=self.name,
            warn=self.warnings,
            on_drop=self._count_drop,
        )
        connection = _CameraConnection(self, reading)
        try:
            if not reading.open(self._open_timeout_s):
                raise self._not_opened(reading) from reading.error
        except BaseException:
            connection.close()
            raise
        self._was_open = True
        self._current = connection
        return connection

    def why_silent(self) -> SourceError | str:
        """Return why an open camera delivers nothing: an error if it is gone, otherwise what its user should check."""
        if not self._has_node:
            return "check its cable and that no other program uses it"
        why = f"it {why_silent(self.index)}"
        if (DEVICES / f"video{self.index}").exists():
            return why
        return SourceError(f"{self.name} stopped delivering frames: {why}", code="not-found")

    def _opened_capture(self) -> Capture:
        """Open the device with the settings; in the thread that reads, as all calls of a driver."""
        capture = self._open_capture(self.index)
        if self.settings != CameraSettings() and capture.isOpened():
            instead = self.settings.apply(capture)
            if instead is not None and instead != self._told_instead:
                self.warnings(f"{self.name} {instead}")
            self._told_instead = instead
        return capture

    def _count_drop(self) -> None:
        self.dropped += 1

    def _not_opened(self, reading: CaptureThread) -> MarEdgeError:
        retry = self._was_open
        if isinstance(reading.error, MarEdgeError):
            return reading.error
        if reading.error is not None:
            what = f"{type(reading.error).__name__}: {reading.error}"
            return SourceError(f"{self.name} cannot be opened: {what}. {LIST}", retry=retry)
        if reading.opened is None:
            limit = f"{self._open_timeout_s:g} s"
            return SourceError(
                f"{self.name} has not opened within {limit}, its driver does not respond; reconnect it",
                code="timeout",
                retry=retry,
            )
        if self._has_node:
            trouble = why_not_open(self.index)
            return SourceError(trouble.message, code=trouble.code, retry=retry or trouble.code == "busy")
        return SourceError(f"no {self.name}, or another program uses it. {LIST}", code="not-found", retry=retry)


class _CameraConnection:
    """One opening of a camera."""

    def __init__(self, source: CameraSource, reading: CaptureThread) -> None:
        self._source = source
        self._reading = reading
        self._start_s: float | None = None
        self._closing = threading.Lock()
        self.closed = False

    def read(self, timeout_s: float) -> Frame | None:
        """Return the newest unseen frame; see `Connection.read`."""
        newest = self._reading.newest(timeout_s)
        if self._reading.stopped:
            return None
        if newest is None:
            self._raise_silent(timeout_s)
        picture, taken_s = newest
        if self._start_s is None:
            self._start_s = taken_s
        return Frame(picture=picture, time_s=taken_s - self._start_s, color="bgr", arrived_s=taken_s)

    def close(self) -> None:
        """Stop reading and release the camera."""
        self._reading.stop()
        with self._closing:
            if self.closed:
                return
            self.closed = True
            if not self._reading.join(CLOSE_S):
                name = self._source.name
                self._source.warnings(f"{name} does not respond; it is released when its driver returns")

    def _raise_silent(self, timeout_s: float) -> NoReturn:
        reading, name = self._reading, self._source.name
        if reading.refusal is not None:
            raise SourceError(f"{name} {reading.refusal}", code="codec", retry=False)
        if reading.error is not None:
            what = f"{type(reading.error).__name__}: {reading.error}"
            raise SourceError(f"{name} stopped delivering frames: {what}") from reading.error
        advice = self._source.why_silent()
        if isinstance(advice, SourceError):
            raise advice
        if reading.failing:
            reads = counted(reading.failing, "read")
            why = f"{reads} failed, the last returned {reading.failure}"
        else:
            why = "its driver does not respond"
        raise SourceTimeoutError(f"{name} stopped delivering frames: none for {timeout_s:g} s, {why}; {advice}")
