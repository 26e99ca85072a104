"""What a hand did: its path, its strokes and the classes that follow from them.

Places are in picture heights from the picture's upper left corner, so that a circle is round in a picture of any shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mar_edge.training.synthetic.gestures.shapes import Points

RATE_HZ = 120.0
"""Rate at which a path is sampled."""

NAMED_AFTER_S = 0.2
"""A gesture is named from this long after the end of its stroke: earlier nobody can know whether it goes on."""

NAMED_UNTIL_S = 1.0
"""A gesture is named until this long after the end of its stroke."""


class Stroke(NamedTuple):
    """One shape.

    Attributes:
        label: name of the shape.
        start_s, end_s: of its line.
    """

    label: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Performance:
    """The path of a hand.

    Attributes:
        path: its place (N, 2) at `RATE_HZ`.
        strokes: shapes in order; those whose line ends in the clip.
        poses: (time in seconds, number) of every change of the hand's pose; the first at 0.
        shiver: how fast the wrist turns to and fro beside the path, in degrees, over time (N,).
    """

    path: Points
    strokes: tuple[Stroke, ...]
    poses: tuple[tuple[float, int], ...]
    shiver: NDArray[np.float64]

    def at(self, time_s: float) -> tuple[Points, float, int]:
        """Return place (2,), turn of the wrist in degrees, and pose at a time; the last ones hold after the end."""
        place = min(max(0.0, time_s * RATE_HZ), len(self.path) - 1.001)
        low, share = int(place), place % 1.0
        pose = [number for since_s, number in self.poses if since_s <= time_s or since_s == 0][-1]
        here = self.path[low] * (1 - share) + self.path[low + 1] * share
        return here, float(self.shiver[low]), pose

    def classes(self, time_s: NDArray[np.float64], labels: tuple[str, ...]) -> NDArray[np.int64]:
        """Return the class of every moment: 0, or that of the last stroke for as long as it is named."""
        out = np.zeros(len(time_s), np.int64)
        for stroke in self.strokes:
            named = (time_s >= stroke.end_s + NAMED_AFTER_S) & (time_s < stroke.end_s + NAMED_UNTIL_S)
            out[named] = labels.index(stroke.label) if stroke.label in labels else 0
        return out
