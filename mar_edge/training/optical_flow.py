"""Optical flow of a clip, token by token: a target that any video has, and that tells motion from looks.

Source: dense inverse search, Kroeger et al., arXiv 1603.03590, as in OpenCV.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.geometry import Geometry

FLOW_CHANNELS = 6
"""Right and down, of: the picture within a tubelet; that without the camera's own motion; the same on to the next tubelet."""

GRID_PX = 8
"""The camera's motion is fitted to the flow at every so many pixels."""


def token_flow(clip: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.float32]:
    """Return how the picture moves at every token.

    The camera's motion is the similarity transform that most of the picture follows (RANSAC); what is left is what moves in
    front of the camera.

    Args:
        clip: uint8 (T, H, W, 3).
        geometry: of the clip.

    Returns:
        float32 (t, h, w, FLOW_CHANNELS), in picture widths, averaged over the token's place. Within a tubelet is from its
        first frame to its last; from the last tubelet nothing leads on, and there its values are 0.
    """
    t, h, w = geometry.grid
    levels = _levels(clip)
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    search.setFinestScale(1)  # half of the pixels tell as much of a whole token
    out = np.zeros((t, h, w, FLOW_CHANNELS), np.float32)
    for step in range(t):
        first = step * geometry.tubelet_frames
        last = first + geometry.tubelet_frames - 1
        within = _flow(search, levels[first], levels[last])
        out[step, :, :, :2] = _averaged(within, h, w)
        out[step, :, :, 2:4] = _averaged(within - _camera(within), h, w)
        if step + 1 < t:
            onwards = _flow(search, levels[last], levels[last + 1])
            out[step, :, :, 4:] = _averaged(onwards - _camera(onwards), h, w)
    return out / np.float32(geometry.width_px)


def _levels(clip: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return grey frames (T, H, W), stretched: dark footage has few grey levels for the search to hold on to."""
    grey = np.stack([np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)) for frame in clip]).astype(np.float32)
    low, high = np.percentile(grey[::4], [1, 99])
    bright = 255 * np.sqrt(np.clip((grey - low) / max(high - low, 8.0), 0, 1))
    return np.stack([np.asarray(cv2.GaussianBlur(frame, (0, 0), 1.0)) for frame in bright]).astype(np.uint8)


def _flow(search: cv2.DISOpticalFlow, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(search.calc(before, after, None), np.float32)  # type: ignore[call-overload]


def _camera(flow: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the flow (H, W, 2) that the camera's own motion makes."""
    height, width = flow.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    half = GRID_PX // 2
    spots = np.stack([columns, rows], axis=-1)
    start = spots[half::GRID_PX, half::GRID_PX].reshape(-1, 2)
    end = start + flow[half::GRID_PX, half::GRID_PX].reshape(-1, 2)
    fitted: Any = cv2.estimateAffinePartial2D(start, end, method=cv2.RANSAC, ransacReprojThreshold=0.5)[0]
    if fitted is None:  # nothing moves as one
        return np.zeros_like(flow)
    moved: NDArray[np.float32] = (spots @ fitted[:, :2].T + fitted[:, 2] - spots).astype(np.float32)
    return moved


def _averaged(flow: NDArray[np.float32], h: int, w: int) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(flow, (w, h), interpolation=cv2.INTER_AREA), np.float32)
