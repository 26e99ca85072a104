"""Optical flow of a clip, token by token: a target that exists for any video, and that separates motion from appearance.

Source: dense inverse search, Kroeger et al., arXiv 1603.03590, as in OpenCV.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.geometry import Geometry

FLOW_CHANNELS = 6
"""Right and down, of: the picture within a tubelet; the same without the camera's motion; both to the next tubelet."""

GRID_PX = 8
"""Distance in pixels of the points at which the camera's motion is fitted to the flow."""


def token_flow(clip: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.float32]:
    """Return the motion of the picture at every token.

    The camera's motion is the similarity transform that most of the picture follows (RANSAC); the remainder is what moves in
    front of the camera.

    Args:
        clip: uint8 (T, H, W, 3).
        geometry: of the clip.

    Returns:
        float32 (t, h, w, FLOW_CHANNELS), in picture widths, averaged over the token's area. Within a tubelet is from its
        first frame to its last; after the last tubelet there is no next one, and its values are 0.
    """
    t, h, w = geometry.grid
    levels = stretched_grey(clip)
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    search.setFinestScale(1)  # half of the pixels are sufficient for a token
    out = np.zeros((t, h, w, FLOW_CHANNELS), np.float32)
    for step in range(t):
        first = step * geometry.tubelet_frames
        last = first + geometry.tubelet_frames - 1
        within = dense_flow(search, levels[first], levels[last])
        out[step, :, :, :2] = _averaged(within, h, w)
        out[step, :, :, 2:4] = out[step, :, :, :2] - _camera(within, h, w)
        if step + 1 < t:
            onwards = dense_flow(search, levels[last], levels[last + 1])
            out[step, :, :, 4:] = _averaged(onwards, h, w) - _camera(onwards, h, w)
    return out / np.float32(geometry.width_px)


def stretched_grey(clip: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return grey frames of a clip (T, H, W, 3) as (T, H, W), stretched: dark footage has too few grey levels for the search."""
    grey = np.stack([np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)) for frame in clip]).astype(np.float32)
    low, high = np.percentile(grey[::4], [1, 99])
    bright = 255 * np.sqrt(np.clip((grey - low) / max(high - low, 8.0), 0, 1))
    return np.stack([np.asarray(cv2.GaussianBlur(frame, (0, 0), 1.0)) for frame in bright]).astype(np.uint8)


def dense_flow(search: cv2.DISOpticalFlow, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the flow from one grey picture (H, W) to the next, float32 (H, W, 2), right and down in pixels."""
    return np.asarray(search.calc(before, after, None), np.float32)  # type: ignore[call-overload]


def _camera(flow: NDArray[np.float32], h: int, w: int) -> NDArray[np.float32]:
    """Return the mean flow (h, w, 2) of the camera's motion at every token, which is the flow at its centre."""
    height, width = flow.shape[:2]
    start = _spots(height, width, GRID_PX, GRID_PX)
    half = GRID_PX // 2
    end = start + flow[half::GRID_PX, half::GRID_PX].reshape(-1, 2)
    fitted: Any = cv2.estimateAffinePartial2D(start, end, method=cv2.RANSAC, ransacReprojThreshold=0.5)[0]
    if fitted is None:  # no common motion
        return np.zeros((h, w, 2), np.float32)
    middles = _spots(height, width, height // h, width // w)
    moved: NDArray[np.float32] = (middles @ fitted[:, :2].T + fitted[:, 2] - middles).astype(np.float32)
    return moved.reshape(h, w, 2)


@lru_cache(maxsize=8)
def _spots(height: int, width: int, step_y: int, step_x: int) -> NDArray[np.float32]:
    """Return the centres (N, 2) of a picture's cells, x and y."""
    rows, columns = np.mgrid[step_y // 2 : height : step_y, step_x // 2 : width : step_x].astype(np.float32)
    return np.stack([columns.ravel(), rows.ravel()], axis=-1)


def _averaged(flow: NDArray[np.float32], h: int, w: int) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(flow, (w, h), interpolation=cv2.INTER_AREA), np.float32)
