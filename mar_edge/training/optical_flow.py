"""Optical flow of a clip, token by token: a target that any video has, and that tells motion from looks.

Source: dense inverse search, Kroeger et al., arXiv 1603.03590, as in OpenCV.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.geometry import Geometry


def token_flow(clip: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.float32]:
    """Return how the picture moves at every token.

    Args:
        clip: uint8 (T, H, W, 3).
        geometry: of the clip.

    Returns:
        float32 (t, h, w, 2), right and down, in picture widths a tubelet, averaged over the tubelet's place. A tubelet's
        flow is that from its first to its last frame.
    """
    t, h, w = geometry.grid
    # dark footage has few grey levels: stretched, the search finds something to hold on to
    grey = np.stack([np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)) for frame in clip]).astype(np.float32)
    low, high = np.percentile(grey[::4], [1, 99])
    grey = np.sqrt(np.clip((grey - low) / max(high - low, 8.0), 0, 1))
    levels = (255 * grey).astype(np.uint8)
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    search.setFinestScale(0)  # clips are small
    out = np.empty((t, h, w, 2), np.float32)
    last = geometry.tubelet_frames - 1
    for step in range(t):
        start = step * geometry.tubelet_frames
        flow = np.asarray(search.calc(levels[start], levels[start + last], None), np.float32)  # type: ignore[call-overload]
        out[step] = cv2.resize(flow, (w, h), interpolation=cv2.INTER_AREA)
    return out / np.float32(geometry.width_px)
