"""Converts a decoded picture to what a player shows: upright, not mirrored, with square pixels."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from functools import partial
from typing import NamedTuple

import av
import cv2
import numpy as np
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream
from numpy.typing import NDArray

from mar_edge.errors import SourceError
from mar_edge.runtime.video.limits import why_too_large

MAX_PIXEL_ASPECT = 5.0
"""A larger ratio of a pixel's sides is an error in the header."""

SQUARE_ENOUGH = 0.01
"""Pixels closer to square than this are left unchanged: it is not visible, and scaling blurs."""

ABORTING_FORMAT = "yaf32"
"""FFmpeg 8 ends the process instead of converting this format (grey with transparency in floating point)."""


class _Orientation(NamedTuple):
    """What to do with a stored picture, in this order."""

    transpose: bool
    mirror: bool
    upside_down: bool


class Decoded(NamedTuple):
    """A picture that was decoded, and not converted yet.

    Attributes:
        size_px: (width, height) once it is converted.
        convert: returns it as uint8 (H, W, 3) RGB. Any thread may call it, also when the file is closed, but not two at
            the same time; until it is gone, the decoder's memory of the picture is held.
    """

    size_px: tuple[int, int]
    convert: Callable[[], NDArray[np.uint8]]


class Display:
    """Shows decoded pictures of a stream as a player does.

    Args:
        stream: whose pixels may not be square.
    """

    def __init__(self, stream: VideoStream) -> None:
        self._pixel_aspect = _pixel_aspect(stream)
        self._rotation: int | None = None
        self._orientation = _Orientation(False, False, False)

    def decoded(self, frame: VideoFrame) -> Decoded:
        """Return what is needed to convert a frame later; frames come in the order in which they are decoded."""
        turn = self._turn(frame)
        square_px = self._square_size(frame)
        width, height = square_px
        return Decoded((height, width) if turn.transpose else square_px, partial(_convert, frame, square_px, turn))

    def picture(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """Return a decoded frame as uint8 (H, W, 3) RGB."""
        return self.decoded(frame).convert()

    def size(self, frame: VideoFrame) -> tuple[int, int]:
        """Return (width, height) of a frame's picture."""
        return self.decoded(frame).size_px

    def _turn(self, frame: VideoFrame) -> _Orientation:
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


def _convert(frame: VideoFrame, square_px: tuple[int, int], turn: _Orientation) -> NDArray[np.uint8]:
    picture = _rgb(frame, square_px)
    if turn.transpose:
        picture = np.asarray(cv2.transpose(picture), dtype=np.uint8)
    if turn.mirror or turn.upside_down:
        axes = -1 if turn.mirror and turn.upside_down else 1 if turn.mirror else 0
        picture = np.asarray(cv2.flip(picture, axes), dtype=np.uint8)
    return picture


def _rgb(frame: VideoFrame, square_px: tuple[int, int]) -> NDArray[np.uint8]:
    name = frame.format.name
    try:
        if name.startswith(ABORTING_FORMAT):
            raise OSError("FFmpeg does not support it")
        if square_px != (frame.width, frame.height):
            frame = frame.reformat(*square_px, "rgb24", interpolation=Interpolation.BICUBIC, threads=1)
        # without a limit each picture would start threads, and keep them as long as the picture itself
        return np.asarray(frame.to_ndarray(format="rgb24", threads=1), dtype=np.uint8)
    except (av.error.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SourceError(
            f"pictures of format {name} cannot be converted: {reason}", code="codec", retry=False
        ) from error


def _pixel_aspect(stream: VideoStream) -> Fraction | None:
    """Return the ratio of a pixel's width to its height, from the container, otherwise the codec; None for square ones."""
    for aspect in (stream.sample_aspect_ratio, stream.codec_context.sample_aspect_ratio):
        if aspect and 1 / MAX_PIXEL_ASPECT <= aspect <= MAX_PIXEL_ASPECT:
            return None if abs(aspect - 1) < SQUARE_ENOUGH else Fraction(aspect)
    return None


def _orientation(frame: VideoFrame) -> _Orientation:
    """Return the orientation in the display matrix, to the nearest quarter turn (ISO/IEC 14496-12, 6.2.2)."""
    matrix = _small(frame).side_data.get("DISPLAYMATRIX")
    if not isinstance(matrix, SideData):
        return _Orientation(False, False, False)
    # a stored point (x, y) is shown at (a x + c y, b x + d y)
    a, b, _, c, d, *_ = np.frombuffer(bytes(matrix), np.int32).tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return _Orientation(True, c < 0, b < 0)
    return _Orientation(False, a < 0, d < 0)


def _small(frame: VideoFrame) -> VideoFrame:
    """Return a small picture with the same side data.

    Reading them from PyAV creates a reference cycle, which keeps the picture's memory until the next collection.
    """
    if not frame.format.name.startswith(ABORTING_FORMAT):
        with suppress(av.error.FFmpegError, OSError, ValueError):
            return frame.reformat(16, 16, "gray", threads=1)
    return frame
