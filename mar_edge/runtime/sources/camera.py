"""Cameras, through OpenCV."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import SourceError
from mar_edge.reporting import Warnings
from mar_edge.runtime.sources.source import Frame

READ_TIMEOUT_S = 5.0


class Capture(Protocol):
    """What `CameraSource` needs of `cv2.VideoCapture`; tests and other cameras bring their own."""

    def isOpened(self) -> bool:
        """Whether the device is there."""
        ...

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
        """Wait for the next picture, BGR."""
        ...

    def release(self) -> None:
        """Give the device back."""
        ...


class CameraSource:
    """A live camera that never queues: whoever asks gets the newest frame, older ones are counted as dropped.

    Args:
        index: camera number.
        open_capture: opens the device; OpenCV's capture by default.
        timeout_s: how long to wait for a frame.
    """

    def __init__(
        self, index: int, *, open_capture: Callable[[int], Capture] | None = None, timeout_s: float = READ_TIMEOUT_S
    ) -> None:
        self.index = index
        self.name = f"camera {index}"
        self.dropped = 0
        self.warnings = Warnings()
        self._open_capture = open_capture or _open_camera
        self._timeout_s = timeout_s
        self._changed = threading.Condition()
        self._newest: tuple[NDArray[np.uint8], float] | None = None
        self._ended = False  # the camera gave up
        self._stop = threading.Event()  # whoever opened it closed it; each reading thread has its own
        self._thread: threading.Thread | None = None

    def __enter__(self) -> CameraSource:
        """Open the camera and start reading.

        Raises:
            SourceError: if there is no such camera.
        """
        capture = self._open_capture(self.index)
        if not capture.isOpened():
            capture.release()
            raise SourceError(f"no camera {self.index}. Run: mar-edge cameras")
        self._newest, self._ended, self._stop = None, False, threading.Event()
        self._thread = threading.Thread(
            target=self._read, args=(capture, self._stop), name=f"mar-edge {self.name}", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop reading and give the camera back."""
        with self._changed:
            self._stop.set()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(self._timeout_s)
            self._thread = None

    def __iter__(self) -> Iterator[Frame]:
        """Give the newest unseen frame, waiting for it.

        Raises:
            SourceError: if the camera stops giving frames.
        """
        start_s: float | None = None
        while True:
            with self._changed:
                self._changed.wait_for(self._something, self._timeout_s)
                newest, self._newest = self._newest, None
            if self._stop.is_set():
                return
            if newest is None:
                reason = "stopped giving frames" if self._ended else f"gave no frame for {self._timeout_s:g} s"
                raise SourceError(f"{self.name} {reason}; check its cable and that no other program uses it")
            picture, taken_s = newest
            start_s = taken_s if start_s is None else start_s
            yield Frame(picture=picture, time_s=taken_s - start_s, color="bgr", arrived_s=taken_s)

    def _something(self) -> bool:
        return self._newest is not None or self._ended or self._stop.is_set()

    def _read(self, capture: Capture, stop: threading.Event) -> None:
        try:
            while not stop.is_set():
                good, picture = capture.read()
                taken_s = time.monotonic()
                if not good or picture is None:
                    break
                with self._changed:
                    self.dropped += self._newest is not None
                    self._newest = (picture, taken_s)
                    self._changed.notify_all()
        except cv2.error as error:
            self.warnings(f"{self.name}: {error.err}")
        finally:
            capture.release()
            with self._changed:
                if not stop.is_set():
                    self._ended = True
                self._changed.notify_all()


def list_cameras(limit: int = 10) -> list[tuple[int, int, int, float]]:
    """Return (index, width, height, frames a second) of every camera that opens, trying indices below `limit`."""
    found = []
    for index in range(limit):
        capture = _open_camera(index)
        if capture.isOpened():
            size = [capture.get(key) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS)]
            found.append((index, int(size[0]), int(size[1]), size[2]))
        capture.release()
    return found


def _open_camera(index: int) -> cv2.VideoCapture:
    with _quiet_opencv():
        return cv2.VideoCapture(index)


@contextlib.contextmanager
def _quiet_opencv() -> Iterator[None]:
    """OpenCV warns on stderr about every index that is no camera; our one line says it better."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
