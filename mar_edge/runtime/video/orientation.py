"""Converts a decoded picture to what a player shows: upright, not mirrored, with square pixels."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import cv2
import numpy as np
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream
from numpy.typing import NDArray

from mar_edge.runtime.video.limits import why_too_large

MAX_PIXEL_ASPECT = 5.0
"""A larger ratio of a pixel's sides is an error in the header."""

SQUARE_ENOUGH = 0.01
"""Pixels closer to square than this are left unchanged: it is not visible, and scaling blurs."""


class _Orientation(NamedTuple):
    """What to do with a stored picture, in this order."""

    transpose: bool
    mirror: bool
    upside_down: bool


class Display:
    """Shows decoded pictures of a stream as a player does.

    Args:
        stream: whose pixels may not be square.
    """

    def __init__(self, stream: VideoStream) -> None:
        self._pixel_aspect = _pixel_aspect(stream)
        self._rotation: int | None = None
        self._orientation = _Orientation(False, False, False)

    def picture(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """Return a decoded frame as uint8 (H, W, 3) RGB."""
        turn = self._turn(frame)
        width, height = self._square_size(frame)
        if (width, height) != (frame.width, frame.height):
            frame = frame.reformat(width, height, "rgb24", interpolation=Interpolation.BICUBIC)
        picture = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
        if turn.transpose:
            picture = np.asarray(cv2.transpose(picture), dtype=np.uint8)
        if turn.mirror or turn.upside_down:
            axes = -1 if turn.mirror and turn.upside_down else 1 if turn.mirror else 0
            picture = np.asarray(cv2.flip(picture, axes), dtype=np.uint8)
        return picture

    def size(self, frame: VideoFrame) -> tuple[int, int]:
        """Return (width, height) of a frame's picture."""
        width, height = self._square_size(frame)
        return (height, width) if self._turn(frame).transpose else (width, height)

    def _turn(self, frame: VideoFrame) -> _Orientation:
        # reading the matrix from PyAV creates a reference cycle, which keeps the frame's memory until the next collection
        if frame.rotation != self._rotation:
            self._rotation = frame.rotation
            self._orientation = _orientation(frame)
        return self._orientation

    def _square_size(self, frame: VideoFrame) -> tuple[int, int]:
        """Return (width, height) with square pixels; the picture is stretched, so that no detail is lost.

        If that were too large, it is reduced instead.
        """
        aspect = self._pixel_aspect
        if aspect is None:
            return frame.width, frame.height
        wider, taller = (
            (max(1, round(frame.width * aspect)), frame.height),
            (frame.width, max(1, round(frame.height / aspect))),
        )
        larger, smaller = (wider, taller) if aspect > 1 else (taller, wider)
        return smaller if why_too_large(*larger) else larger


def _pixel_aspect(stream: VideoStream) -> Fraction | None:
    """Return the ratio of a pixel's width to its height, from the container, otherwise the codec; None for square ones."""
    for aspect in (stream.sample_aspect_ratio, stream.codec_context.sample_aspect_ratio):
        if aspect and 1 / MAX_PIXEL_ASPECT <= aspect <= MAX_PIXEL_ASPECT:
            return None if abs(aspect - 1) < SQUARE_ENOUGH else Fraction(aspect)
    return None


def _orientation(frame: VideoFrame) -> _Orientation:
    """Return the orientation in the display matrix, to the nearest quarter turn (ISO/IEC 14496-12, 6.2.2)."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(matrix, SideData):
        return _Orientation(False, False, False)
    # a stored point (x, y) is shown at (a x + c y, b x + d y)
    a, b, _, c, d, *_ = np.frombuffer(bytes(matrix), np.int32).tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return _Orientation(True, c < 0, b < 0)
    return _Orientation(False, a < 0, d < 0)
