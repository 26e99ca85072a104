"""The shapes that a hand draws into the air, as the `gestures` model names them.

Directions are those seen in the picture: x runs right and y down.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

SHAPES: dict[str, tuple[tuple[float, float], ...]] = {
    "swipe_left": ((1.0, 0.5), (0.0, 0.5)),
    "swipe_right": ((0.0, 0.5), (1.0, 0.5)),
    "swipe_up": ((0.5, 1.0), (0.5, 0.0)),
    "swipe_down": ((0.5, 0.0), (0.5, 1.0)),
    "circle": tuple((0.5 + 0.5 * np.sin(turn), 0.5 - 0.5 * np.cos(turn)) for turn in np.linspace(0, 2 * np.pi, 65)),
    "tick": ((0.0, 0.6), (0.35, 1.0), (1.0, 0.0)),
    "cross": ((0.0, 0.0), (1.0, 1.0), (1.0, 0.0), (0.0, 1.0)),
}
"""Corners of the canonical shapes, in the order in which they are drawn; the circle is one of 64, clockwise from the top."""


def stroke(label: str, rng: np.random.Generator | None = None, points: int = 64) -> Points:
    """Return a shape as the path of a fingertip.

    Args:
        label: one of `SHAPES`.
        rng: draws how it differs from the canonical shape: a little turned and stretched, and a circle in either sense from
            any place; None for the canonical one.
        points: how many, evenly spaced along the path, at least 2.

    Returns:
        float64 (points, 2), x and y. The canonical shape fills a box of one unit a side, (0, 0) at the upper left.
    """
    corners = np.array(SHAPES[label])
    if rng is not None:
        if label == "circle":
            corners = np.roll(corners[:-1], int(rng.integers(64)), axis=0)
            corners = np.concatenate([corners, corners[:1]])[:: rng.choice([-1, 1])]
        turn = np.deg2rad(rng.normal(0, 5))
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        corners = 0.5 + (corners - 0.5) * rng.normal(1, 0.06, 2) @ rotation.T
    passed = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(corners, axis=0), axis=1))])
    places = np.linspace(0, passed[-1], points)
    return np.stack([np.interp(places, passed, axis) for axis in corners.T], axis=1)
