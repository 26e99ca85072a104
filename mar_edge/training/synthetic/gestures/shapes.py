"""What a hand draws into the air: gestures, and shapes that are none.

Points are (x, y) in units of the shape's size, x to the right and y down as seen in the picture, about the middle of the shape.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Rng = np.random.Generator

Points: TypeAlias = NDArray[np.float64]
"""A polyline (N, 2)."""

Legs: TypeAlias = list[Points]
"""Lines one after another; a hand slows down, and may rest, between two of them."""

NONE = "none"

SWIPES = ("swipe_left", "swipe_right", "swipe_up", "swipe_down")

GESTURES = (*SWIPES, "circle", "tick", "cross")

FURTHER = ("square", "caret", "star")
"""Shapes that a model may know as classes of their own, and that are `none` otherwise."""

_DIRECTIONS = {"swipe_left": (-1.0, 0.0), "swipe_right": (1.0, 0.0), "swipe_up": (0.0, -1.0), "swipe_down": (0.0, 1.0)}

_ARC = np.linspace(0, 1, 13)

SWIPE_TILT_DEG = 17.0
"""Largest angle between a swipe and its axis."""


def draw_shape(name: str, rng: Rng) -> Legs:
    """Draw a shape as people vary it: sides, angles, order, turning sense, and a slightly crooked line.

    Args:
        name: one of `GESTURES`, `FURTHER` or `OTHERS`.
        rng: source of all random numbers.
    """
    legs = _SHAPES[name](rng)
    if name in SWIPES:
        return legs
    turn = np.deg2rad(rng.normal(0, 6))
    stretch = np.exp(rng.normal(0, 0.15))
    cos, sin = np.cos(turn), np.sin(turn)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([stretch, 1 / stretch])
    whole = np.concatenate(legs)
    middle = (whole.min(axis=0) + whole.max(axis=0)) / 2
    return [(leg - middle) @ linear.T for leg in legs]


def turned_swipe(angle_deg: float, rng: Rng) -> Legs:
    """Return a straight stroke of length 1 in a direction, 0 to the right and 90 down, slightly bent."""
    along = np.array([np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))])
    across = np.array([-along[1], along[0]])
    bend = rng.normal(0, 0.06)
    return [np.outer(_ARC - 0.5, along) + np.outer(bend * 4 * _ARC * (1 - _ARC), across)]


def _swipe(name: str) -> Callable[[Rng], Legs]:
    x, y = _DIRECTIONS[name]
    axis_deg = float(np.rad2deg(np.arctan2(y, x)))
    return lambda rng: turned_swipe(axis_deg + float(np.clip(rng.normal(0, 8), -SWIPE_TILT_DEG, SWIPE_TILT_DEG)), rng)


def _circle(rng: Rng) -> Legs:
    turns = rng.uniform(0.88, 1.12) if rng.random() < 0.8 else rng.uniform(1.5, 2.3)
    start = -np.pi / 2 + rng.normal(0, 0.5) if rng.random() < 0.7 else rng.uniform(0, 2 * np.pi)
    angle = start + rng.choice([-1, 1]) * np.linspace(0, 2 * np.pi * turns, int(32 * turns))
    spiral = 1 + rng.normal(0, 0.06) * np.linspace(-1, 1, len(angle))
    return [0.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1) * spiral[:, None]]


def _tick(rng: Rng) -> Legs:
    down, up = np.deg2rad(rng.uniform(30, 80)), np.deg2rad(rng.uniform(30, 75))
    short = rng.uniform(0.25, 0.65)
    corner = short * np.array([np.cos(down), np.sin(down)])
    return _through([(0, 0), corner, corner + np.array([np.cos(up), -np.sin(up)])], rng)


def _cross(rng: Rng) -> Legs:
    """Two diagonals; after the first the hand goes to the nearest end of the second."""
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]) + rng.normal(0, 0.05, (4, 2))
    begin = int(rng.choice([0, 1, 2, 3], p=[0.5, 0.3, 0.1, 0.1]))
    end = (begin + 2) % 4
    side = int(rng.choice([1, 3]))
    return _through([corners[begin], corners[end], corners[(end + side) % 4], corners[(end - side) % 4]], rng)


def _polygon(corners: int) -> Callable[[Rng], Legs]:
    def draw(rng: Rng) -> Legs:
        start = rng.integers(corners) if rng.random() < 0.5 else 0
        angle = (
            (start + rng.choice([-1, 1]) * np.arange(corners + 1) + (0.5 if corners == 4 else 0)) * 2 * np.pi / corners
        )
        points = 0.6 * np.stack([np.sin(angle), -np.cos(angle)], axis=1) + rng.normal(0, 0.04, (corners + 1, 2))
        return _through(list(points), rng)

    return draw


def _caret(rng: Rng) -> Legs:
    half, high = rng.uniform(0.3, 0.6), rng.uniform(0.7, 1.1)
    points = [(-half, high / 2), (rng.normal(0, 0.08), -high / 2), (half, high / 2 + rng.normal(0, 0.1))]
    if rng.random() < 0.25:
        points.reverse()
    return _through(points, rng)


def _star(rng: Rng) -> Legs:
    """A pentagram in one line, from any of its points."""
    start = 3 if rng.random() < 0.6 else int(rng.integers(5))
    angle = (start + rng.choice([-2, 2]) * np.arange(6)) * 2 * np.pi / 5
    return _through(list(0.6 * np.stack([np.sin(angle), -np.cos(angle)], axis=1) + rng.normal(0, 0.04, (6, 2))), rng)


def _zigzag(rng: Rng) -> Legs:
    count = int(rng.integers(3, 7))
    high = rng.uniform(0.2, 0.8)
    points = [(index / count - 0.5, high * (index % 2 - 0.5)) for index in range(count + 1)]
    return _through(_any_way(points, rng), rng)


def _corner(rng: Rng) -> Legs:
    """An L: one side along an axis, then one across."""
    points = [(0, 0), (0, rng.uniform(0.5, 1)), (rng.choice([-1, 1]) * rng.uniform(0.3, 1), rng.uniform(0.5, 1))]
    return _through(_any_way(points, rng), rng)


def _arc(rng: Rng) -> Legs:
    """Too little of a circle to be one, too bent to be a swipe."""
    angle = rng.uniform(0, 2 * np.pi) + rng.choice([-1, 1]) * np.linspace(0, np.deg2rad(rng.uniform(90, 220)), 24)
    return [0.6 * np.stack([np.cos(angle), np.sin(angle)], axis=1)]


def _eight(rng: Rng) -> Legs:
    angle = rng.uniform(0, 2 * np.pi) + rng.choice([-1, 1]) * np.linspace(0, 2 * np.pi, 48)
    points = np.stack([0.5 * np.sin(angle), 0.3 * np.sin(2 * angle)], axis=1)
    return [points if rng.random() < 0.5 else points[:, ::-1]]


def _wave_line(rng: Rng) -> Legs:
    x = np.linspace(-0.5, 0.5, 48)
    points = np.stack([x, rng.uniform(0.1, 0.35) * np.sin(2 * np.pi * rng.uniform(1, 2.5) * x)], axis=1)
    return [np.array(_any_way(list(points), rng))]


def _backwards_tick(rng: Rng) -> Legs:
    return [leg * np.array([-1, 1]) for leg in _tick(rng)] if rng.random() < 0.6 else _backwards(_tick(rng))


def _diagonal(rng: Rng) -> Legs:
    return turned_swipe(rng.choice([45, 135, 225, 315]) + rng.uniform(-14, 14), rng)


def _there_and_back(rng: Rng) -> Legs:
    """Along a line and back at once, one or more times."""
    out = turned_swipe(rng.uniform(0, 360), rng)
    return (out + _backwards(out)) * int(rng.integers(1, 4))


def _scribble(rng: Rng) -> Legs:
    return _through(list(rng.uniform(-0.5, 0.5, (int(rng.integers(3, 8)), 2))), rng)


def _backwards(legs: Legs) -> Legs:
    return [leg[::-1] for leg in legs[::-1]]


def _any_way(points: list[tuple[float, float]] | list[Points], rng: Rng) -> list[Points]:
    """Return points mirrored, turned by a quarter and reversed at random."""
    out = [np.asarray(point, np.float64) for point in points]
    signs = rng.choice([-1, 1], 2)
    out = [point * signs for point in out]
    out = [point[::-1] for point in out] if rng.random() < 0.5 else out
    return out[::-1] if rng.random() < 0.5 else out


def _through(corners: list[tuple[float, float]] | list[Points], rng: Rng) -> Legs:
    """Return the lines between corners, each slightly bent."""
    legs = []
    for start, end in pairwise(corners):
        a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
        across = np.array([a[1] - b[1], b[0] - a[0]]) * rng.normal(0, 0.05)
        legs.append(a + np.outer(_ARC, b - a) + np.outer(4 * _ARC * (1 - _ARC), across))
    return legs


OTHERS: dict[str, Callable[[Rng], Legs]] = {
    "triangle": _polygon(3),
    "pentagon": _polygon(5),
    "zigzag": _zigzag,
    "corner": _corner,
    "arc": _arc,
    "eight": _eight,
    "wave_line": _wave_line,
    "backwards_tick": _backwards_tick,
    "diagonal": _diagonal,
    "there_and_back": _there_and_back,
    "scribble": _scribble,
}
"""Shapes that are never a class."""

_SHAPES: dict[str, Callable[[Rng], Legs]] = {
    **{name: _swipe(name) for name in SWIPES},
    "circle": _circle,
    "tick": _tick,
    "cross": _cross,
    "square": _polygon(4),
    "caret": _caret,
    "star": _star,
    **OTHERS,
}
