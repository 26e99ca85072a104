"""How the bytes of an uncompressed picture are arranged, and their conversion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import av
import cv2
import numpy as np
from av.video.reformatter import Colorspace
from numpy.typing import NDArray

from mar_edge.runtime.frame import Color, Frame

PixelFormat = Literal["rgb24", "bgr24", "rgba", "bgra", "gray", "yuyv422", "uyvy422", "yuv420p", "nv12"]
"""Names as FFmpeg has them (`ffmpeg -pix_fmts`)."""

Matrix = Literal["bt601", "bt709"]

_PACKED_BYTES = {"rgb24": 3, "bgr24": 3, "rgba": 4, "bgra": 4, "gray": 1, "yuyv422": 2, "uyvy422": 2}
_HALVED = ("yuv420p", "nv12")
PIXEL_FORMATS: tuple[PixelFormat, ...] = get_args(PixelFormat)

_TO_RGB = {
    "rgba": cv2.COLOR_RGBA2RGB,
    "bgra": cv2.COLOR_BGRA2RGB,
    "gray": cv2.COLOR_GRAY2RGB,
    "uyvy422": cv2.COLOR_YUV2RGB_UYVY,
    "yuyv422": cv2.COLOR_YUV2RGB_YUY2,
}


@dataclass(frozen=True)
class PixelLayout:
    """An uncompressed picture in memory.

    Attributes:
        pixel_format: of its pixels.
        width_px, height_px: its size. Colours of `yuv420p` and `nv12` have half of it, rounded up.
        strides: bytes from row to row of each plane; empty for rows without padding.
        offsets: where each plane begins; empty for planes one after another.
        matrix: of YUV formats; `yuyv422` and `uyvy422` are always converted by BT.601.
    """

    pixel_format: PixelFormat
    width_px: int
    height_px: int
    strides: tuple[int, ...] = ()
    offsets: tuple[int, ...] = ()
    matrix: Matrix = "bt601"

    @property
    def color(self) -> Color:
        """Order of the channels that `convert` returns."""
        return "bgr" if self.pixel_format == "bgr24" else "rgb"

    @property
    def size_bytes(self) -> int:
        """Number of bytes from the first to the last of the picture."""
        return max(offset + stride * (rows - 1) + used for offset, stride, rows, used in self._planes())

    def placed(self, *, strides: tuple[int, ...], offsets: tuple[int, ...] = ()) -> PixelLayout:
        """Return the same with other places of its rows and planes."""
        return replace(self, strides=strides, offsets=offsets)

    def why_invalid(self) -> str | None:
        """Return why there is no such picture, to follow a name in a sentence; None if there may be one."""
        if min(self.width_px, self.height_px) < 1:
            return f"has a size of {self.width_px}x{self.height_px} pixels"
        if self.pixel_format in ("yuyv422", "uyvy422") and self.width_px % 2:
            return f"has a width of {self.width_px} pixels; in {self.pixel_format} it is even"
        for _, stride, _, used in self._planes():
            if stride < used:
                return f"has rows of {stride} bytes; {self.width_px} pixels of {self.pixel_format} need {used}"
        return None

    def frame(self, data: bytes | bytearray | memoryview, *, time_s: float, arrived_s: float | None = None) -> Frame:
        """Return a frame that is converted when it is first asked for.

        Args:
            data: at least `size_bytes`; not changed afterwards.
            time_s: of the frame.
            arrived_s: of the frame.
        """
        return Frame(
            picture=lambda: self.convert(data),
            time_s=time_s,
            size_px=(self.width_px, self.height_px),
            color=self.color,
            arrived_s=arrived_s,
        )

    def convert(self, data: bytes | bytearray | memoryview) -> NDArray[np.uint8]:
        """Return uint8 (H, W, 3), in the order `color`; a view of `data` where nothing has to be converted.

        Raises:
            ValueError: if the data is shorter than `size_bytes`.
        """
        self._check(data)
        planes = [self._plane(data, *plane) for plane in self._planes()]
        if self.pixel_format in _HALVED:
            return self._from_halved(planes)
        (rows,) = planes
        channels = _PACKED_BYTES[self.pixel_format]
        pixels = rows.reshape(self.height_px, self.width_px, channels)
        if channels == 3:
            return pixels
        return np.asarray(cv2.cvtColor(pixels, _TO_RGB[self.pixel_format]), dtype=np.uint8)

    def rows(self, data: bytes | bytearray | memoryview) -> NDArray[np.uint8]:
        """Return the rows of a format of one plane without their padding, uint8 (rows, bytes of a row).

        Raises:
            ValueError: if the data is shorter than `size_bytes`.
        """
        self._check(data)
        (plane,) = self._planes()
        return self._plane(data, *plane)

    def _check(self, data: bytes | bytearray | memoryview) -> None:
        if len(data) < self.size_bytes:  # NumPy's views with strides do not check
            raise ValueError(f"{len(data)} bytes are less than the {self.size_bytes} of a picture")

    def _planes(self) -> list[tuple[int, int, int, int]]:
        """Return offset, stride, rows, and used bytes of a row of every plane."""
        width, height = self.width_px, self.height_px
        half_width, half_height = (width + 1) // 2, (height + 1) // 2
        if self.pixel_format == "nv12":
            shapes = [(height, width), (half_height, 2 * half_width)]
        elif self.pixel_format == "yuv420p":
            shapes = [(height, width), (half_height, half_width), (half_height, half_width)]
        else:
            shapes = [(height, width * _PACKED_BYTES[self.pixel_format])]
        strides = self.strides or tuple(used for _, used in shapes)
        sizes = [stride * rows for stride, (rows, _) in zip(strides, shapes, strict=True)]
        offsets = self.offsets or tuple(sum(sizes[:index]) for index in range(len(shapes)))
        return [
            (offset, stride, rows, used) for offset, stride, (rows, used) in zip(offsets, strides, shapes, strict=True)
        ]

    @staticmethod
    def _plane(
        data: bytes | bytearray | memoryview, offset: int, stride: int, rows: int, used: int
    ) -> NDArray[np.uint8]:
        """Return the used bytes of a plane, uint8 (rows, used), without gaps."""
        seen = np.frombuffer(data, np.uint8)
        # the last row may lack its padding
        plane = np.lib.stride_tricks.as_strided(seen[offset:], (rows, used), (stride, 1), writeable=False)
        return np.ascontiguousarray(plane)

    def _from_halved(self, planes: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Convert 4:2:0; odd sizes are made even first."""
        light, *colours = planes
        height, width = light.shape
        if height % 2 or width % 2:
            light = np.pad(light, ((0, height % 2), (0, width % 2)), mode="edge")
        if self.pixel_format == "nv12":  # FFmpeg converts separate colours six times as fast
            pairs = colours[0].reshape(colours[0].shape[0], -1, 2)
            colours = [np.asarray(one, np.uint8) for one in cv2.split(pairs)]
        packed = np.concatenate([plane.reshape(-1) for plane in (light, *colours)])
        frame = av.VideoFrame.from_ndarray(packed.reshape(-1, light.shape[1]), format="yuv420p")
        matrix = Colorspace.ITU709 if self.matrix == "bt709" else Colorspace.ITU601
        rgb = frame.reformat(format="rgb24", src_colorspace=matrix, threads=1).to_ndarray()
        return np.ascontiguousarray(rgb[:height, :width], dtype=np.uint8)
