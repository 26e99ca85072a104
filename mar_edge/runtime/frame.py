"""A picture and when it was taken."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Color = Literal["bgr", "rgb"]


class Frame:
    """One picture of a source.

    A picture that is given as a function is converted when it is first asked for, and only once: most frames of a stream
    lie between two samples of the model, and nobody looks at them.

    Args:
        picture: uint8 (H, W, 3), which is not changed afterwards; or a function that returns it, which any thread may call.
        time_s: when it was taken, in seconds on the clock of its connection.
        size_px: (width, height) of the picture; needed if `picture` is a function.
        color: order of its channels.
        truth: label of a scripted source; None for real recordings.
        arrived_s: `time.monotonic()` when a live frame was taken; None for a file.
        held: whether it repeats the picture before, which the recording still shows: it is not a frame of its own.
        cut: why no window may contain both this frame and an earlier one, such as `b.mp4 begins`; None if one may.
    """

    __slots__ = (
        "_convert",
        "_converting",
        "_picture",
        "arrived_s",
        "color",
        "cut",
        "held",
        "size_px",
        "time_s",
        "truth",
    )

    def __init__(
        self,
        *,
        picture: NDArray[np.uint8] | Callable[[], NDArray[np.uint8]],
        time_s: float,
        size_px: tuple[int, int] | None = None,
        color: Color = "rgb",
        truth: str | None = None,
        arrived_s: float | None = None,
        held: bool = False,
        cut: str | None = None,
    ) -> None:
        self.time_s = time_s
        self.color = color
        self.truth = truth
        self.arrived_s = arrived_s
        self.held = held
        self.cut = cut
        self._picture: NDArray[np.uint8] | None = None
        self._convert: Callable[[], NDArray[np.uint8]] | None = None
        if callable(picture):
            if size_px is None:
                raise ValueError("a frame whose picture is converted later needs size_px")
            self._convert, self._converting = picture, threading.Lock()
            self.size_px = size_px
        else:
            self._picture = picture
            self.size_px = size_px or (picture.shape[1], picture.shape[0])

    @property
    def picture(self) -> NDArray[np.uint8]:
        """The picture, uint8 (H, W, 3)."""
        if self._picture is None:
            assert self._convert is not None
            with self._converting:
                if self._picture is None:
                    self._picture, self._convert = self._convert(), None
        return self._picture

    def mirrored(self) -> Frame:
        """Return its mirror image, left and right exchanged, converted when it is first asked for; without its truth."""
        return Frame(
            picture=lambda: np.asarray(cv2.flip(self.picture, 1), dtype=np.uint8),
            time_s=self.time_s,
            size_px=self.size_px,
            color=self.color,
            arrived_s=self.arrived_s,
            held=self.held,
            cut=self.cut,
        )

    def at(self, time_s: float, *, arrived_s: float | None = None, cut: str | None = None) -> Frame:
        """Return the same frame with another time; its picture is converted once for both.

        Args:
            time_s: seconds.
            arrived_s: `time.monotonic()` at its arrival; by default as of this one.
            cut: why it begins anew; by default as this one.
        """
        cut = cut or self.cut
        arrived_s = self.arrived_s if arrived_s is None else arrived_s
        if (time_s, arrived_s, cut) == (self.time_s, self.arrived_s, self.cut):
            return self
        return Frame(
            picture=(lambda: self.picture) if self._picture is None else self._picture,
            time_s=time_s,
            size_px=self.size_px,
            color=self.color,
            truth=self.truth,
            arrived_s=arrived_s,
            held=self.held,
            cut=cut,
        )
