"""The size, rate and pixel format that are asked of a camera."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2

from mar_edge.runtime.sources.address import check_options, did_you_mean, invalid, parse_rate, parse_size

OPTIONS = ("size", "fps", "format")

PIXEL_FORMATS = {
    "mjpg": "MJPG", "yuyv": "YUYV", "uyvy": "UYVY", "yvyu": "YVYU", "nv12": "NV12", "nv21": "NV21", "yu12": "YU12",
    "yv12": "YV12", "rgb3": "RGB3", "bgr3": "BGR3", "grey": "GREY", "y16": "Y16 ",
}  # fmt: skip
"""Names as `v4l2-ctl --list-formats` prints them, of the formats that OpenCV converts to BGR, and their FOURCC."""

_SAME_NAME = {"mjpeg": "mjpg", "yuy2": "yuyv", "i420": "yu12", "rgb24": "rgb3", "bgr24": "bgr3", "gray": "grey"}
_RATE_TOLERANCE = 0.02  # 29.97 for 30


@dataclass(frozen=True, kw_only=True)
class CameraSettings:
    """What is asked of a camera; it may deliver something else.

    Attributes:
        size_px: (width, height); None for the driver's choice, as for the others.
        fps: frames per second.
        pixel_format: in which the camera sends pictures, one of `PIXEL_FORMATS`. Over USB 2, `mjpg` is the only one that
            reaches 30 frames per second at 1280x720.
    """

    size_px: tuple[int, int] | None = None
    fps: float | None = None
    pixel_format: str | None = None

    @classmethod
    def parse(cls, name: str, options: dict[str, str]) -> CameraSettings:
        """Read the options of an address.

        Raises:
            SourceError: if a key is unknown or a value cannot be read.
        """
        check_options(name, options, OPTIONS)
        pixel_format = options.get("format", "").lower() or None
        pixel_format = _SAME_NAME.get(pixel_format or "", pixel_format)
        if pixel_format is not None and pixel_format not in PIXEL_FORMATS:
            raise invalid(
                f"{name}: format is '{options['format']}'{did_you_mean(pixel_format, tuple(PIXEL_FORMATS))}; "
                f"use one of {', '.join(PIXEL_FORMATS)}. Run: v4l2-ctl --list-formats-ext"
            )
        return cls(
            size_px=parse_size(name, options["size"]) if "size" in options else None,
            fps=parse_rate(name, options["fps"]) if "fps" in options else None,
            pixel_format=pixel_format,
        )

    def apply(self, capture: Any) -> str | None:
        """Ask an open capture for these settings.

        Args:
            capture: with `set` and `get` as of `cv2.VideoCapture`.

        Returns:
            What the camera delivers instead, in a sentence that follows its name; None if it accepted everything.
        """
        # the format first: which sizes and rates there are depends on it
        if self.pixel_format is not None:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*PIXEL_FORMATS[self.pixel_format]))
        if self.size_px is not None:
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, self.size_px[0])
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self.size_px[1])
        if self.fps is not None:
            capture.set(cv2.CAP_PROP_FPS, self.fps)
        delivers = _delivered(capture)
        if self._accepts(delivers):
            return None
        return f"does not support {self}; it delivers {delivers}. Run: v4l2-ctl --list-formats-ext"

    def _accepts(self, delivered: CameraSettings) -> bool:
        size_fits = self.size_px in (None, delivered.size_px)
        format_fits = self.pixel_format is None or delivered.pixel_format in (None, self.pixel_format)
        rate_fits = (
            self.fps is None or delivered.fps is None or math.isclose(self.fps, delivered.fps, rel_tol=_RATE_TOLERANCE)
        )
        return size_fits and rate_fits and format_fits

    def __str__(self) -> str:
        """Return `1280x720 at 30 fps in mjpg`, as far as it is known."""
        size = f"{self.size_px[0]}x{self.size_px[1]}" if self.size_px else "its size"
        rate = f" at {self.fps:g} fps" if self.fps else ""
        return size + rate + (f" in {self.pixel_format}" if self.pixel_format else "")


def _delivered(capture: Any) -> CameraSettings:
    """Return what a capture says that it delivers."""
    width, height = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    letters = "".join(chr(code >> shift & 0xFF) for shift in (0, 8, 16, 24)) if code > 0 else ""
    known = {fourcc: name for name, fourcc in PIXEL_FORMATS.items()}
    return CameraSettings(
        size_px=(width, height),
        fps=rate if (rate := float(capture.get(cv2.CAP_PROP_FPS))) > 0 else None,
        pixel_format=known.get(letters, letters.strip().lower() or None),
    )
