"""Prepares a camera's picture for the model: check, resize, crop, colour order. Everything stays uint8."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import FrameError
from mar_edge.runtime.clips.area import shrink
from mar_edge.runtime.frame import Color

Resize = Literal["stretch", "center_crop"]
"""`stretch` scales the picture to the model's size; `center_crop` scales the short side and crops the middle."""


def check_frame(frame: object) -> NDArray[np.uint8]:
    """Check that something is a picture.

    Returns:
        The frame itself, uint8 (H, W, 3).

    Raises:
        FrameError: if it is not; the message states what it is instead.
    """
    if not isinstance(frame, np.ndarray):
        raise FrameError(f"a frame must be a numpy array of shape (H, W, 3), not {type(frame).__name__}")
    if frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise FrameError(f"a frame must have shape (H, W, 3), not {frame.shape}{_shape_advice(frame)}")
    if frame.dtype != np.uint8:
        raise FrameError(
            f"a frame must have dtype uint8 with values 0 to 255, not {frame.dtype}; {_type_advice(frame)}"
        )
    return frame


def preprocess(
    frame: NDArray[np.uint8],
    *,
    height_px: int,
    width_px: int,
    resize: Resize,
    color: Color = "bgr",
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Bring a picture to the model's size and to RGB.

    Args:
        frame: uint8 (H, W, 3).
        height_px: the model's height.
        width_px: the model's width.
        resize: the model's resize rule.
        color: order of the frame's channels.
        out: where the result is written, contiguous; a new array by default.

    Returns:
        uint8 (height, width, 3) RGB: `out`, if it is given; otherwise perhaps a view of the frame.
    """
    if resize == "center_crop":
        frame = _center_crop(frame, width_px / height_px)
    if frame.shape[:2] != (height_px, width_px):
        if frame.shape[0] >= height_px and frame.shape[1] >= width_px:
            # averaging when shrinking: anything else aliases, and aliasing looks like motion
            frame = shrink(frame, height_px, width_px)
        else:
            frame = np.asarray(cv2.resize(frame, (width_px, height_px), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    if color == "bgr":  # only now, when the picture is small
        return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB, dst=out), dtype=np.uint8)
    if out is None:
        return frame
    out[:] = frame
    return out


def _shape_advice(frame: NDArray[np.generic]) -> str:
    if frame.size and (frame.ndim == 2 or (frame.ndim == 3 and frame.shape[2] == 1)):
        return "; for a grey picture use cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)"
    if frame.size and frame.ndim == 3 and frame.shape[2] == 4:
        return "; drop its alpha channel with frame[..., :3]"
    if frame.size and frame.ndim == 3 and frame.shape[0] in (1, 3):
        return "; put the channels last with frame.transpose(1, 2, 0)"
    return ""


def _type_advice(frame: NDArray[np.generic]) -> str:
    if frame.dtype == np.uint16:
        return "convert 16 bit with (frame >> 8).astype('uint8')"
    if np.issubdtype(frame.dtype, np.floating):
        return "convert values from 0 to 1 with (255 * frame).astype('uint8')"
    return "convert it with .astype('uint8')"


def _center_crop(frame: NDArray[np.uint8], aspect: float) -> NDArray[np.uint8]:
    height, width = frame.shape[:2]
    keep_w, keep_h = min(width, max(1, round(height * aspect))), min(height, max(1, round(width / aspect)))
    top, left = (height - keep_h) // 2, (width - keep_w) // 2
    return frame[top : top + keep_h, left : left + keep_w]


def crop_views(frame: NDArray[np.uint8], crops: int) -> list[NDArray[np.uint8]]:
    """Return the crops of a picture in a multi-view evaluation.

    Args:
        frame: uint8 (H, W, 3).
        crops: 1 for the picture itself, 3 for squares at both ends and in the middle of its longer side.

    Returns:
        Views of the picture, uint8 (h, w, 3).
    """
    if crops == 1:
        return [frame]
    height, width = frame.shape[:2]
    side = min(height, width)
    starts = [0, (max(height, width) - side) // 2, max(height, width) - side]
    return [frame[:, s : s + side] if width >= height else frame[s : s + side] for s in starts]
