"""The arm before the demo camera: a drawn hand on a forearm that comes from below."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.runtime.sources.demo.hand import draw_hand

Points = NDArray[np.float64]

_HAND = 0.42  # length of the hand, in picture heights
_FOREARM = 3.4  # in palm lengths: beyond the lower edge, wherever the hand is
_SLEEVE = 1.9
_DRAWN_PX = (24, 400)  # length of the hand as it is drawn: a larger one takes long, and is enlarged instead


class Arm:
    """A pointing hand with forearm and sleeve.

    Args:
        rng: draws whose it is: skin, sleeve, left or right.
        size_px: (width, height) of the pictures.
    """

    def __init__(self, rng: np.random.Generator, size_px: tuple[int, int]) -> None:
        self._width, self._height = size_px
        left = bool(rng.random() < 0.3)
        drawn_px = int(np.clip(round(_HAND * self._height), *_DRAWN_PX))
        drawn, landmarks = draw_hand(
            rng,
            drawn_px,
            "pointing",
            left=left,
            tilt_deg=(rng.uniform(10, 25), rng.normal(0, 6), 0.0),
            forearm=_FOREARM,
            sleeve=_SLEEVE,
        )
        alpha = drawn[..., 3:].astype(np.float32) / 255
        self._sprite = np.dstack([drawn[..., :3] * alpha, drawn[..., 3:]]).astype(np.uint8)  # premultiplied
        self._scale = _HAND * self._height / drawn_px
        self._tip, self._wrist = landmarks[8].astype(np.float64), landmarks[0].astype(np.float64)
        self._elbow = np.array([(-0.2 if left else 0.2) * self._width / self._height, 1.0])

    def draw(self, picture: NDArray[np.uint8], places: Sequence[Points]) -> None:
        """Draw the arm into a picture.

        Args:
            picture: uint8 (H, W, 3).
            places: where its fingertip is while the picture is exposed, (x, y) in picture heights from its middle.
        """
        poses = [self._pose(place) for place in places]
        left, top, right, bottom = self._box(poses)
        if left >= right or top >= bottom:
            return
        corner = np.array([[0.0, 0.0, left], [0.0, 0.0, top]])
        size = (right - left, bottom - top)
        layer = np.zeros((size[1], size[0], 4), np.uint16)
        for pose in poses:
            layer += np.asarray(
                cv2.warpAffine(self._sprite, pose - corner, size, flags=cv2.INTER_LINEAR), dtype=np.uint8
            )
        layer //= len(poses)
        behind = picture[top:bottom, left:right]
        behind[:] = np.minimum(behind * (255 - layer[..., 3:]) // 255 + layer[..., :3], 255)

    def _box(self, poses: Sequence[Points]) -> tuple[int, int, int, int]:
        """Return the part of the picture that the arm may cover: left, top, right, bottom."""
        height, width = self._sprite.shape[:2]
        corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]]).T
        placed = np.concatenate([pose @ corners for pose in poses], axis=1)
        low = np.clip(np.floor(placed.min(axis=1)), 0, (self._width, self._height)).astype(int)
        high = np.clip(np.ceil(placed.max(axis=1)), 0, (self._width, self._height)).astype(int)
        return int(low[0]), int(low[1]), int(high[0]), int(high[1])

    def _pose(self, tip: Points) -> Points:
        """Return the 2x3 matrix from the drawn arm to the picture: the fingertip in its place, the forearm to the elbow."""
        elbow = self._elbow + 0.45 * np.array([tip[0], max(0.0, tip[1])])
        across, down = elbow - tip
        drawn_across, drawn_down = self._wrist - self._tip
        turn = np.arctan2(drawn_across, drawn_down) - np.arctan2(across, down)
        cos, sin = self._scale * np.cos(turn), self._scale * np.sin(turn)
        linear = np.array([[cos, -sin], [sin, cos]])
        place = np.array([self._width - 1, self._height - 1]) / 2 + tip * self._height
        return np.concatenate([linear, (place - linear @ self._tip)[:, None]], axis=1)
