"""Where the fingertip of the gesturing hand is at each time."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.runtime.sources.demo.show import Part
from mar_edge.runtime.sources.demo.strokes import SHAPES, stroke

Points = NDArray[np.float64]

MIN_PAUSE_S = 1.0
"""Shortest time between two gestures: to rest, to return, and to rest again."""

_REST_S = 0.6
_LEAVE_S = 3.6  # in a pause this long, the hand may leave the picture
_STEPS_HZ = 240.0
_BELOW = 0.75  # y of a hand that cannot be seen, in picture heights below the middle


class HandPath:
    """The way of a fingertip: strokes, with rests before and after, and slow returns between.

    Places are (x, y) in picture heights from the middle of the picture, right and down.

    Args:
        rng: draws places, sizes and the tremor.
        script: (label, seconds), with a label that is no shape at its begin, at its end and between shapes.
        reach: width / height of the picture.
    """

    def __init__(self, rng: np.random.Generator, script: Sequence[Part], *, reach: float) -> None:
        strokes = [self._stroke(rng, part[0], reach) if part[0] in SHAPES else None for part in script]
        pieces = []
        for index, part in enumerate(script):
            count = round(part[1] * _STEPS_HZ)
            drawn = strokes[index]
            if drawn is not None:
                pieces.append(_along(drawn, count))
                continue
            before = strokes[index - 1] if index else None
            after = strokes[index + 1] if index + 1 < len(script) else None
            leaves = part[1] >= _LEAVE_S
            pieces.append(
                _pause(rng, None if before is None else before[-1], None if after is None else after[0], count, leaves)
            )
        way = np.concatenate(pieces)
        # Hands turn corners roundly, and tremble.
        tremor = _smoothed(rng.normal(0, 1, way.shape), 0.03)
        self._way = _smoothed(way, 0.02) + 0.0012 * tremor / tremor.std()
        self._time_s = np.arange(len(way)) / _STEPS_HZ

    def at(self, time_s: float) -> Points:
        """Return the place at a time, (2,); the last one holds after the end, the first one before the begin."""
        return np.array([np.interp(time_s, self._time_s, axis) for axis in self._way.T])

    @staticmethod
    def _stroke(rng: np.random.Generator, label: str, reach: float) -> Points:
        """Return a shape of a size and at a place that lies within the picture."""
        size = np.array([min(0.5, 0.5 * reach), 0.4]) * rng.uniform(0.85, 1.15)
        if label == "circle":
            size[:] = size.min()
        middle = np.array([rng.uniform(-0.08, 0.08) * reach, rng.uniform(-0.14, -0.04)])
        return middle + (stroke(label, rng) - 0.5) * size


def _smoothed(way: Points, sigma_s: float) -> Points:
    """Return a way blurred over time."""
    blurred = cv2.GaussianBlur(way, (1, 0), sigmaX=0.1, sigmaY=sigma_s * _STEPS_HZ, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred, dtype=np.float64)


def _along(path: Points, count: int) -> Points:
    """Return places along a path: it begins and ends at rest (minimum jerk, Flash and Hogan 1985)."""
    time = np.linspace(0, 1, count)
    share = (10 * time**3 - 15 * time**4 + 6 * time**5) * (len(path) - 1)
    return np.stack([np.interp(share, np.arange(len(path)), axis) for axis in path.T], axis=1)


def _pause(rng: np.random.Generator, begin: Points | None, end: Points | None, count: int, leaves: bool) -> Points:
    """Return places between two strokes; a hand that comes from nowhere, or goes there, does so at the lower edge."""

    def away(place: Points) -> Points:
        return np.array([place[0] + rng.uniform(-0.1, 0.1), _BELOW])

    rest = min(count // 4, round(_REST_S * _STEPS_HZ))
    stops, parts = [place for place in (begin, end) if place is not None], [1.0]
    if begin is None and end is None:
        return np.tile([0.0, _BELOW], (count, 1))
    if begin is None:
        stops = [away(stops[0]), *stops]
    elif end is None:
        stops = [*stops, away(stops[-1])]
    elif leaves:
        stops, parts = [begin, away(begin), away(end), end], [0.4, 0.2, 0.4]
    rests = [0 if begin is None else rest, 0 if end is None else rest]
    moving = count - sum(rests)
    corners = np.stack(stops)
    shares = np.diff(np.round(moving * np.cumsum([0.0, *parts])).astype(int))
    ways = [
        _along(_bow(first, last), number) for first, last, number in zip(corners[:-1], corners[1:], shares, strict=True)
    ]
    return np.concatenate([np.tile(corners[0], (rests[0], 1)), *ways, np.tile(corners[-1], (rests[1], 1))])


def _bow(begin: Points, end: Points) -> Points:
    """Return the way from one place to another, as an arc that hangs a little: a hand that does not draw lets go."""
    share = np.linspace(0, 1, 33)[:, None]
    hang = 0.12 * np.linalg.norm(end - begin) * np.sin(np.pi * share)
    return np.asarray(begin + share * (end - begin) + np.concatenate([np.zeros_like(hang), hang], axis=1))
