"""Converts a camera's pictures to uint8 BGR."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import FrameError
from mar_edge.reporting import Warn

_DEPTHS = (8, 10, 12, 14, 16)
"""Bit depths that sensors store in 16 bit numbers."""


class BgrPictures:
    """Brings the pictures of one camera to uint8 (H, W, 3) BGR.

    Grey (H, W) and (H, W, 1), BGRA (H, W, 4), and 16 bit of each are converted. Sensors of 10, 12 or 14 bit leave the
    upper bits of a 16 bit number empty; so the depth is the smallest that holds the brightest pixel seen so far.

    Args:
        warn: called when the depth of 16 bit pictures is determined, or is found to be larger.
    """

    def __init__(self, warn: Warn) -> None:
        self._warn = warn
        self._bits = 0

    def convert(self, picture: object) -> NDArray[np.uint8]:
        """Return a picture as uint8 (H, W, 3) BGR; one in this form is returned unchanged.

        Raises:
            FrameError: if it cannot be converted; the message states what to do.
        """
        if not isinstance(picture, np.ndarray):
            raise FrameError(
                f"returns {type(picture).__name__} objects; pictures must be numpy arrays of shape (H, W, 3)"
            )
        channels = picture.shape[2] if picture.ndim == 3 else 1
        if picture.ndim not in (2, 3) or channels not in (1, 3, 4) or picture.shape[0] == 1:
            raise FrameError(
                f"returns data of shape {picture.shape}, which is not a decoded picture (H, W), (H, W, 3) or (H, W, 4); "
                "let it convert to BGR, in OpenCV with capture.set(cv2.CAP_PROP_CONVERT_RGB, 1)"
            )
        if picture.dtype == np.uint16:
            picture = self._to_8_bit(picture)
        elif picture.dtype != np.uint8:
            raise FrameError(f"returns pictures of {picture.dtype}; expected uint8 with values 0 to 255, or uint16")
        if channels == 3:
            return picture
        code = cv2.COLOR_GRAY2BGR if channels == 1 else cv2.COLOR_BGRA2BGR
        return np.asarray(cv2.cvtColor(picture, code), dtype=np.uint8)

    def _to_8_bit(self, picture: NDArray[np.uint16]) -> NDArray[np.uint8]:
        brightest = int(picture.max())
        bits = next(bits for bits in _DEPTHS if brightest < 1 << bits)
        if bits > self._bits:
            self._bits = bits
            self._warn(f"returns pictures in 16 bit numbers; they are read as {bits} bit and converted to 8")
        return (picture >> (self._bits - 8)).astype(np.uint8)
