"""Pictures as H.264 that browsers play, with their true times."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np
from av.codec.context import Flags
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream
from numpy.typing import NDArray

from mar_edge.errors import OutputError
from mar_edge.runtime.frame import Color

TICKS = 90_000
"""Ticks of a second, in which times are stored."""

TIME_BASE = Fraction(1, TICKS)

KEY_S = 1.0
"""Longest time between two pictures that can be decoded without the ones before them."""

_BT709 = 1  # ITU-T H.273, tables 2 to 4
_LIMITED = 1
CRF = 23
"""Constant rate factor of x264: lower is better and larger. 18 has 2 to 2.5 dB more than 23, in 1.8 times the bytes."""

_OPTIONS = {
    # Measured on one core of an x86 server at 1280x720: ultrafast 4.6 ms a picture and 2.3 to 3.2 Mbit/s at 30 fps,
    # veryfast 9.1 ms and 1.7 to 1.8 Mbit/s. On an edge device the processor belongs to recognition.
    "preset": "ultrafast",
    "tune": "zerolatency",  # every picture comes out at once, so that a killed recorder loses none
    "forced-idr": "1",
}


def check_encoder() -> None:
    """Check before the work that this PyAV can encode H.264.

    Raises:
        OutputError: if it was built without libx264.
    """
    if "libx264" not in av.codecs_available:
        raise OutputError(
            "this PyAV was built without libx264, so no video can be recorded. Its wheels have it. Run: "
            "pip install --force-reinstall --only-binary av av"
        )


@dataclass(frozen=True, slots=True)
class CodedPicture:
    """A picture as H.264.

    Attributes:
        data: its bytes.
        ticks: its time, in ticks since the encoder's first picture.
        key: whether it can be decoded without the ones before it.
    """

    data: bytes
    ticks: int
    key: bool


class H264Encoder:
    """Encodes the pictures of one stream; one thread, in the caller's time.

    Args:
        size_px: (width, height) of the pictures. Odd ones are made even by a repeated row or column.
        crf: quality, see `CRF`.

    Attributes:
        stream: describes the coded pictures to a file.
        size_px: (width, height) of the coded pictures.

    Raises:
        OutputError: if the size cannot be encoded.
    """

    def __init__(self, size_px: tuple[int, int], *, crf: int = CRF) -> None:
        width, height = (side + side % 2 for side in size_px)
        self.size_px = width, height
        self._first_s: float | None = None
        self._last = -1
        self._next_key = 0
        try:
            self._container = av.open(os.devnull, "w", format="null")
            self.stream: VideoStream = self._container.add_stream(
                "libx264", rate=30, options={**_OPTIONS, "crf": str(crf)}
            )
            self.stream.width, self.stream.height, self.stream.pix_fmt = width, height, "yuv420p"
            context = self.stream.codec_context
            context.time_base = TIME_BASE
            context.thread_count = 1
            context.gop_size = 100_000  # the first picture after KEY_S is made one, at whatever rate they come
            context.flags |= Flags.global_header
            context.color_primaries = context.color_trc = context.colorspace = _BT709
            context.color_range = _LIMITED
            self._container.start_encoding()
        except (av.FFmpegError, ValueError) as error:
            raise OutputError(f"cannot encode video of {width}x{height} as H.264: {_reason(error)}") from error

    def encode(self, picture: NDArray[np.uint8], color: Color, time_s: float) -> CodedPicture:
        """Encode a picture.

        Args:
            picture: uint8 (H, W, 3) of the encoder's size.
            color: order of its channels.
            time_s: its time; one that is not later than the last one's is moved behind it by a tick.

        Raises:
            OutputError: if it cannot be encoded.
        """
        if self._first_s is None:
            self._first_s = time_s
        ticks = max(round((time_s - self._first_s) * TICKS), self._last + 1)
        try:
            frame = av.VideoFrame.from_ndarray(self._even(picture), format=f"{color}24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
            frame.pts, frame.time_base = ticks, TIME_BASE
            if ticks >= self._next_key:
                frame.pict_type = PictureType.I
            (packet,) = self.stream.encode(frame)
        except (av.FFmpegError, ValueError) as error:
            raise OutputError(f"cannot encode a picture as H.264: {_reason(error)}") from error
        self._last = ticks
        if packet.is_keyframe:
            self._next_key = ticks + round(KEY_S * TICKS)
        return CodedPicture(bytes(packet), ticks, packet.is_keyframe)

    def close(self) -> None:
        """Release the encoder."""
        self._container.close()

    def _even(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = picture.shape[:2]
        right, below = self.size_px[0] - width, self.size_px[1] - height
        if not right and not below:
            return picture
        return np.asarray(cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_REPLICATE), np.uint8)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
