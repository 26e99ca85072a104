"""A camera's driver, read in a separate thread, so that one that hangs does not block the program."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.counting import counted
from mar_edge.errors import FrameError
from mar_edge.reporting import Warn
from mar_edge.runtime.sources.bgr import BgrPictures

PAUSE_S = 0.01
"""Pause between failed reads: a driver that fails immediately must not occupy a core."""

TELL_EVERY_S = 5.0
"""Minimum time between two warnings about a camera that fails repeatedly."""


class Capture(Protocol):
    """What `CameraSource` needs of `cv2.VideoCapture`; tests and other cameras provide their own."""

    def isOpened(self) -> bool:
        """Whether the device is open."""
        ...

    def read(self) -> tuple[bool, Any]:
        """Wait for the next picture: a new array, BGR, BGRA or grey, uint8 or uint16; or (False, None)."""
        ...

    def release(self) -> None:
        """Release the device."""
        ...


class CaptureThread:
    """Opens a capture, keeps its newest picture, and releases the capture when it is stopped.

    Reads that fail, are empty or raise are skipped and counted; the caller decides how long is too
    long. One object is one opening: a thread that hangs in its driver cannot disturb the next one.

    Args:
        open_capture: opens the device.
        name: of the camera.
        warn: called with one sentence for each series of failed reads that has ended.
        on_drop: called when an unread picture is replaced.

    Attributes:
        opened: whether the device opened; None while that is not known.
        error: what ended it; None while it reads.
        failing: reads that failed since the last good one.
        failure: what was wrong with the newest of them.
        refusal: why none of its pictures can be used, if that is known from the first one.
    """

    def __init__(
        self, open_capture: Callable[[], Capture], *, name: str, warn: Warn, on_drop: Callable[[], None]
    ) -> None:
        self.opened: bool | None = None
        self.error: Exception | None = None
        self.failing = 0
        self.failure = ""
        self.refusal: str | None = None
        self._open_capture = open_capture
        self._name = name
        self._warn = warn
        self._on_drop = on_drop
        self._changed = threading.Condition()
        self._newest: tuple[NDArray[np.uint8], float] | None = None
        self._stop = threading.Event()
        self._pictures = BgrPictures(lambda message: warn(f"{name} {message}"))
        self._skipped = 0  # failed reads of series that have ended, not reported yet
        self._told_s = -TELL_EVERY_S
        self._any_good = False
        self._asked_s = time.monotonic()  # when the driver was last called
        self._thread = threading.Thread(target=self._run, name=f"mar-edge {name}", daemon=True)

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()

    def open(self, timeout_s: float) -> bool:
        """Start; return whether the device opened or the opening was stopped, False if it failed or took too long."""
        self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self.opened is not None or self.stopped, timeout_s)
            return bool(self.opened) or self.stopped

    def newest(self, timeout_s: float) -> tuple[NDArray[np.uint8], float] | None:
        """Return an unread picture when there is one, with its `time.monotonic()`; None at the end of the timeout."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest or self.stopped or self.refusal or self.error, timeout_s)
            taken, self._newest = self._newest, None
        return None if self.stopped else taken

    def stop(self) -> None:
        """Stop reading as soon as the driver returns; wakes waiting threads. Any thread may call it."""
        with self._changed:
            self._stop.set()
            self._changed.notify_all()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread, but not for a read that already takes as long; return whether the device is free."""
        hangs = time.monotonic() - self._asked_s > timeout_s
        self._thread.join(0 if hangs else timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        capture = None
        try:
            capture = self._open_capture()
            opened = capture.isOpened()
            self._say(opened)
            while opened and not self.stopped and self.refusal is None:
                self._read(capture)
        except Exception as error:  # any exception of a driver is a fault of the camera, not of the program
            self.error = error
            self._say(False)
        finally:
            if self._skipped:
                self._tell_skipped()
            if capture is not None:
                with contextlib.suppress(Exception):
                    capture.release()

    def _say(self, opened: bool) -> None:
        with self._changed:
            self.opened = opened
            self._changed.notify_all()

    def _read(self, capture: Capture) -> None:
        """Read once, and check the result."""
        self._asked_s = time.monotonic()
        try:
            good, picture = capture.read()
            taken_s = time.monotonic()
            if not good or picture is None:
                return self._fail("no picture")
            if 0 in np.shape(picture):
                return self._fail("an empty picture")
        except Exception as error:
            return self._fail(f"{type(error).__name__}: {' '.join(str(error).split())}")
        try:
            picture = self._pictures.convert(picture)
        except FrameError as error:
            if not self._any_good:
                self.refusal = str(error)
            return self._fail(str(error))
        self._any_good = True
        self._skipped, self.failing = self._skipped + self.failing, 0
        if self._skipped and taken_s - self._told_s >= TELL_EVERY_S:
            self._told_s = taken_s
            self._tell_skipped()
        with self._changed:
            if self._newest is not None:
                self._on_drop()
            self._newest = (picture, taken_s)
            self._changed.notify_all()

    def _fail(self, what: str) -> None:
        with self._changed:
            self.failing += 1
            self.failure = what
            self._changed.notify_all()
        self._stop.wait(PAUSE_S)

    def _tell_skipped(self) -> None:
        reads = counted(self._skipped, "failed read", "was", "were")
        self._warn(f"{self._name}: {reads} skipped (the last returned {self.failure})")
        self._skipped = 0


def open_camera(number: int) -> cv2.VideoCapture:
    """Open a camera in OpenCV, without output on stderr."""
    # OpenCV would try other backends after it, on the same device, and FFmpeg's writes to stderr
    linux = cv2.CAP_V4L2 in cv2.videoio_registry.getCameraBackends()
    with _quiet_opencv():
        return cv2.VideoCapture(number, cv2.CAP_V4L2 if linux else cv2.CAP_ANY)


_SILENT = 0
"""OpenCV's LOG_LEVEL_SILENT."""


@contextlib.contextmanager
def _quiet_opencv() -> Iterator[None]:
    """OpenCV warns on stderr about every index that is not a camera; our one line replaces it."""
    logging = getattr(cv2.utils, "logging", cv2)  # before 4.13 its functions are OpenCV's own
    level = logging.getLogLevel()
    logging.setLogLevel(_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)
