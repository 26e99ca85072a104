"""Cameras, through OpenCV."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType

from mar_edge.counting import counted
from mar_edge.errors import MarEdgeError, SourceError
from mar_edge.reporting import Warnings
from mar_edge.runtime.sources.capture import Capture, CaptureThread, open_camera
from mar_edge.runtime.sources.device_node import LIST, why_not_open, why_silent
from mar_edge.runtime.sources.source import Frame

READ_TIMEOUT_S = 5.0
CLOSE_S = 0.8
"""How long closing waits for a driver; one that takes longer releases the camera when it returns."""


class CameraSource:
    """A live camera without a queue: each read returns the newest frame, older ones are counted as dropped.

    A read that fails, is empty or raises is skipped; a warning reports how many were. Grey, BGRA and 16 bit pictures are
    converted to BGR.

    Args:
        index: camera number.
        open_capture: opens the device; OpenCV's capture by default.
        timeout_s: a camera that delivers no picture for this time is reported as lost. Opening may take twice as long.
        name: for messages; `camera 0` by default.
    """

    def __init__(
        self,
        index: int,
        *,
        open_capture: Callable[[int], Capture] | None = None,
        timeout_s: float = READ_TIMEOUT_S,
        name: str | None = None,
    ) -> None:
        self.index = index
        self.name = name or f"camera {index}"
        self.dropped = 0
        self.warnings = Warnings()
        self._open_capture = open_capture or open_camera
        self._has_node = open_capture is None
        self._timeout_s = timeout_s
        self._reading: CaptureThread | None = None

    def __enter__(self) -> CameraSource:
        """Open the camera and start reading.

        Raises:
            SourceError: if it cannot be opened; the message states whether it is missing, not permitted or in use.
        """
        if self._reading is not None:
            raise SourceError(f"{self.name} is already open; create one source for each stream")
        reading = CaptureThread(
            lambda: self._open_capture(self.index),
            name=self.name,
            warn=self.warnings,
            on_drop=self._count_drop,
        )
        self._reading = reading
        try:
            if not reading.open(2 * self._timeout_s):
                raise self._not_opened(reading) from reading.error
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop reading and release the camera."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.stop()
            if not reading.join(CLOSE_S):
                self.warnings(f"{self.name} does not respond; it is released when its driver returns")

    def __iter__(self) -> Iterator[Frame]:
        """Yield the newest unseen frame, waiting for it.

        Raises:
            SourceError: if the camera delivers no frames within the timeout.
        """
        reading = self._reading
        if reading is None:
            raise SourceError(f"{self.name} is not open; use it as in: with camera: for frame in camera")
        start_s: float | None = None
        while True:
            newest = reading.newest(self._timeout_s)
            if reading.stopped:
                return
            if newest is None:
                raise self._lost(reading)
            picture, taken_s = newest
            start_s = taken_s if start_s is None else start_s
            yield Frame(picture=picture, time_s=taken_s - start_s, color="bgr", arrived_s=taken_s)

    def stop(self) -> None:
        """End the iteration; any thread may call it."""
        if (reading := self._reading) is not None:
            reading.stop()

    def _count_drop(self) -> None:
        self.dropped += 1

    def _not_opened(self, reading: CaptureThread) -> MarEdgeError:
        if isinstance(reading.error, MarEdgeError):
            return reading.error
        if reading.error is not None:
            return SourceError(f"{self.name} cannot be opened: {type(reading.error).__name__}: {reading.error}. {LIST}")
        if reading.opened is None:
            return SourceError(
                f"{self.name} has not opened within {2 * self._timeout_s:g} s, its driver does not respond; reconnect it"
            )
        if self._has_node:
            return SourceError(why_not_open(self.index))
        return SourceError(f"no {self.name}, or another program uses it. {LIST}")

    def _lost(self, reading: CaptureThread) -> SourceError:
        if reading.refusal is not None:
            return SourceError(f"{self.name} {reading.refusal}")
        if reading.error is not None:
            return SourceError(
                f"{self.name} stopped delivering frames: {type(reading.error).__name__}: {reading.error}"
            )
        if reading.failing:
            reads = counted(reading.failing, "read")
            why = f"{reads} failed, the last returned {reading.failure}"
        else:
            why = "its driver does not respond"
        advice = "check its cable and that no other program uses it"
        if self._has_node:
            advice = f"it {why_silent(self.index)}"
        return SourceError(f"{self.name} stopped delivering frames: none for {self._timeout_s:g} s, {why}; {advice}")
