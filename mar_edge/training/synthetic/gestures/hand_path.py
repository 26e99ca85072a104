"""The path of a hand, made move by move: resting, going, following a line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mar_edge.training.synthetic.gestures.performance import RATE_HZ, Performance, Stroke
from mar_edge.training.synthetic.gestures.shapes import Points, Rng


class Stage(NamedTuple):
    """Where a hand may move.

    Attributes:
        aspect: picture width / height.
        hand: length of the hand, wrist to tip of the middle finger, in picture heights.
        home: (x, y) where it likes to rest.
        away: (x, y) where none of it is seen; it comes from there and leaves to there.
        size: usual size of a shape.
        sweeps: whether the arm is long enough to swipe from one side of the picture to the other.
    """

    aspect: float
    hand: float
    home: Points
    away: Points
    size: float
    sweeps: bool


@dataclass
class HandPath:
    """Makes a path, move by move.

    Args:
        stage: where the hand may move.
        rng: source of all random numbers.

    Attributes:
        at: where the hand is (2,).
        gone: whether it is out of the picture.
    """

    stage: Stage
    rng: Rng
    pieces: list[Points] = field(default_factory=list)
    strokes: list[Stroke] = field(default_factory=list)
    poses: list[tuple[float, int]] = field(default_factory=lambda: [(0.0, 0)])
    samples: int = 0
    gone: bool = True

    def __post_init__(self) -> None:
        self.at: Points = self.stage.away
        # people differ: this one is fast or slow, rounds corners or rests there, draws large or small
        # people whose motion is a command are quick; those who take care that it is seen are three times slower
        self.pace = float(np.exp(self.rng.normal(*((0, 0.45) if self.rng.random() < 0.6 else (-0.93, 0.6)))))
        self.corner_s = float(self.rng.choice([0.0, 0.05, 0.12, 0.3, 0.5], p=[0.32, 0.25, 0.23, 0.14, 0.06]))
        self.smooth = float(self.rng.uniform(0.3, 1.0))
        self.size = self.stage.size * float(np.exp(self.rng.normal(0, 0.2)))

    @property
    def time_s(self) -> float:
        """How long the path is so far."""
        return self.samples / RATE_HZ

    def performance(self, duration_s: float) -> Performance:
        """Return what was done in a clip, with the tremor of a hand."""
        path = np.concatenate(self.pieces)
        samples = np.arange(len(path)) / RATE_HZ
        tremor = self.rng.uniform(0, 0.006)
        for axis in range(2):
            for hz in self.rng.uniform(0.4, 5, 4):
                path[:, axis] += tremor / hz**0.7 * np.sin(2 * np.pi * (hz * samples + self.rng.random()))
        swing = self.rng.uniform(0, 5) * np.sin(2 * np.pi * (self.rng.uniform(0.2, 1.2) * samples + self.rng.random()))
        strokes = tuple(stroke for stroke in self.strokes if stroke.end_s < duration_s)
        return Performance(path, strokes, tuple(self.poses), swing)

    def rest(self, seconds: float) -> None:
        """Stay, or drift a little."""
        if self.gone:
            self.add(np.tile(self.at, (self.count(seconds), 1)))
            return
        drift = self.rng.normal(0, 0.012, 2)
        share = np.linspace(0, 1, self.count(seconds))[:, None]
        self.add(self.at + share * drift)

    def go(self, goal: Points, speed: float, *, bend: float = 0.0) -> None:
        """Move to a place, slowing down at its ends.

        Args:
            goal: where to.
            speed: mean, in picture heights per second.
            bend: of the way, as share of its length.
        """
        way = goal - self.at
        share = eased(self.count(float(np.hypot(*way)) / speed + 0.08), 1.0)[:, None]
        across = np.array([-way[1], way[0]]) * bend
        self.add(self.at + share * way + 4 * share * (1 - share) * across)

    def along(self, line: Points, speed: float) -> None:
        """Follow a line (N, 2) at a mean speed, in picture heights per second."""
        steps = np.hypot(*np.diff(line, axis=0).T)
        length = np.concatenate([[0.0], np.cumsum(steps)])
        reached = eased(self.count(max(0.12, length[-1] / speed)), self.smooth) * length[-1]
        self.add(np.stack([np.interp(reached, length, line[:, axis]) for axis in range(2)], axis=1))

    def change_pose(self) -> None:
        """Take another pose."""
        self.poses.append((self.time_s, int(self.rng.integers(1, 4))))

    def within(self, place: Points) -> bool:
        """Return whether a place is well inside the picture."""
        return bool(0.05 < place[0] < self.stage.aspect - 0.05 and 0.05 < place[1] < 0.98)

    def inside(self, place: Points) -> Points:
        """Return the nearest place that is well inside the picture."""
        return np.asarray(np.clip(place, [0.05, 0.05], [self.stage.aspect - 0.05, 0.98]))

    def count(self, seconds: float) -> int:
        """Return the samples of a duration."""
        return max(2, round(seconds * RATE_HZ))

    def add(self, piece: Points) -> None:
        """Append places (N, 2) to the path."""
        self.pieces.append(np.array(piece, np.float64))
        self.samples += len(piece)
        self.at = self.pieces[-1][-1].copy()


def eased(count: int, smooth: float) -> NDArray[np.float64]:
    """Return a way's share over time (count,): at a constant speed (smooth 0) to slow at both ends (1)."""
    share = np.linspace(0, 1, count)
    slow: NDArray[np.float64] = share**3 * (10 - 15 * share + 6 * share**2)
    return smooth * slow + (1 - smooth) * share
