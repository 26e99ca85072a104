"""What a hand does over time: gestures, other shapes, and everything that hands do beside that.

Places are in picture heights from the picture's upper left corner, so that a circle is round in a picture of any shape.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mar_edge.training.synthetic.gestures.shapes import (
    FURTHER,
    GESTURES,
    OTHERS,
    SWIPES,
    Legs,
    Points,
    Rng,
    draw_shape,
    turned_swipe,
)

RATE_HZ = 120.0
"""Rate at which a path is sampled."""

NAMED_AFTER_S = 0.2
"""A gesture is named from this long after the end of its stroke: earlier nobody can know whether it goes on."""

NAMED_UNTIL_S = 1.0
"""A gesture is named until this long after the end of its stroke."""

SLOWEST = 0.17
"""Picture heights per second; what is slower is no stroke."""


class Stroke(NamedTuple):
    """One shape.

    Attributes:
        label: name of the shape.
        start_s, end_s: of its line.
    """

    label: str
    start_s: float
    end_s: float


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


def perform(stage: Stage, duration_s: float, rng: Rng, *, negative: bool = False) -> Performance:
    """Draw what a hand does.

    Args:
        stage: where it moves.
        duration_s: of the clip.
        rng: source of all random numbers.
        negative: it makes no gesture.
    """
    hand = _Hand(stage, rng)
    begins = rng.random()
    if begins < 0.3:
        hand.begin_with(_other(rng) if negative or rng.random() < 0.25 else str(rng.choice(GESTURES)))
    elif begins < 0.7:
        hand.gone = False
        hand.at = stage.home + rng.normal(0, 0.12, 2) * [stage.aspect, 1]
        if rng.random() < 0.5:
            hand.rest(float(rng.uniform(0, 0.8)))
    else:
        hand.rest(float(rng.exponential(0.5)))
        hand.enter()
    mix = [0.0, 0.4, 0.6] if negative else [0.6, 0.23, 0.17]
    while hand.time_s < duration_s:
        if hand.gone:
            hand.rest(float(rng.exponential(0.4)))
            if stage.sweeps and not negative and rng.random() < 0.14:
                hand.sweep_through()
                continue
            hand.enter()
        kind = rng.choice(["gesture", "shape", "idle"], p=mix)
        if kind == "idle":
            hand.idle()
            continue
        hand.draw(str(rng.choice(GESTURES)) if kind == "gesture" else _other(rng))
        hand.afterwards()
    hand.rest(0.5)
    return hand.performance(duration_s)


def _other(rng: Rng) -> str:
    return str(rng.choice(FURTHER)) if rng.random() < 0.55 else str(rng.choice(list(OTHERS)))


@dataclass
class _Hand:
    """Makes a path, act by act."""

    stage: Stage
    rng: Rng
    pieces: list[Points] = field(default_factory=list)
    strokes: list[Stroke] = field(default_factory=list)
    poses: list[tuple[float, int]] = field(default_factory=lambda: [(0.0, 0)])
    samples: int = 0
    gone: bool = False

    def __post_init__(self) -> None:
        self.at: Points = self.stage.away
        self.gone = True
        # people differ: this one is fast or slow, rounds corners or rests there, draws large or small
        self.pace = float(np.exp(self.rng.normal(0, 0.45)))
        self.corner_s = float(self.rng.choice([0.0, 0.05, 0.12, 0.3], p=[0.35, 0.3, 0.25, 0.1]))
        self.smooth = float(self.rng.uniform(0.3, 1.0))
        self.size = self.stage.size * float(np.exp(self.rng.normal(0, 0.2)))

    @property
    def time_s(self) -> float:
        return self.samples / RATE_HZ

    def performance(self, duration_s: float) -> Performance:
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
            self._add(np.tile(self.at, (self._count(seconds), 1)))
            return
        drift = self.rng.normal(0, 0.012, 2)
        share = np.linspace(0, 1, self._count(seconds))[:, None]
        self._add(self.at + share * drift)

    def enter(self) -> None:
        """Come in from outside; that is no gesture, however straight."""
        self.gone = False
        goal = self.stage.home + self.rng.normal(0, 0.13, 2) * [self.stage.aspect, 1]
        self.go(goal, float(self.rng.uniform(0.7, 2.2)), bend=float(self.rng.normal(0, 0.15)))
        self.rest(float(self.rng.choice([0.0, 0.1, 0.4, 0.8])) * float(self.rng.uniform(0.6, 1.4)))

    def leave(self) -> None:
        """Go out of the picture."""
        self.go(self.stage.away, float(self.rng.uniform(0.8, 2.5)), bend=float(self.rng.normal(0, 0.15)))
        self.gone = True

    def go(self, goal: Points, speed: float, *, bend: float = 0.0) -> None:
        """Move to a place, slowing down at its ends.

        Args:
            goal: where to.
            speed: mean, in picture heights per second.
            bend: of the way, as share of its length.
        """
        way = goal - self.at
        share = _eased(self._count(float(np.hypot(*way)) / speed + 0.08), 1.0)[:, None]
        across = np.array([-way[1], way[0]]) * bend
        self._add(self.at + share * way + 4 * share * (1 - share) * across)

    def begin_with(self, label: str) -> None:
        """Draw a shape from where the hand is when the clip begins."""
        self.gone = False
        legs = self._placed(draw_shape(label, self.rng), label in SWIPES)
        self.at = legs[0][0]
        self.rest(float(self.rng.choice([0.02, self.rng.uniform(0.05, 1.0)])))
        self.stroke(label, self._moved_to(self.at, legs))
        self.afterwards()

    def draw(self, label: str) -> None:
        """Go to the beginning of a shape, wait, and draw it."""
        legs = self._placed(draw_shape(label, self.rng), label in SWIPES)
        self._approach(legs[0][0])
        if self.rng.random() < 0.85:
            self.rest(float(self.rng.uniform(0.12, 0.6)))
        if self.rng.random() < 0.25:
            self._change_pose()
        self.stroke(label, self._moved_to(self.at, legs))

    def stroke(self, label: str, legs: Legs) -> None:
        """Draw a shape from where the hand is."""
        start_s = self.time_s
        speed = self._speed(label)
        for number, leg in enumerate(legs):
            if number and self.corner_s:
                self.rest(self.corner_s * float(self.rng.uniform(0.5, 1.5)))
            self._along(leg, speed)
        self.strokes.append(Stroke(label, start_s, self.time_s))
        self._add(self.at[None] + 0)
        if self.rng.random() < 0.25:  # a little too far, and back
            back = legs[-1][-2] - legs[-1][-1]
            back = back / max(1e-6, float(np.hypot(*back))) * self.rng.uniform(0.02, 0.06)
            self._along(self.at + np.linspace(0, 1, 8)[:, None] * back, 0.4)

    def sweep_through(self) -> None:
        """Swipe from outside one side of the picture into the other one, as people do who stand before a camera."""
        stage, rng = self.stage, self.rng
        right = bool(rng.random() < 0.5)
        y = float(np.clip(stage.home[1] + rng.normal(0, 0.12), 0.15, 0.9))
        ends = np.array([[-stage.hand, y], [stage.aspect + stage.hand, y + rng.normal(0, 0.08)]])
        ends = ends if right else ends[::-1]
        if rng.random() < 0.5:  # it stops in the picture
            ends[1, 0] = stage.aspect * (rng.uniform(0.7, 0.95) if right else rng.uniform(0.05, 0.3))
        self.at = ends[0]
        start_s = self.time_s
        speed = float(rng.uniform(0.9, 2.5)) * stage.aspect
        self._along(ends[0] + _eased(24, 0.5)[:, None] * (ends[1] - ends[0]), speed)
        inside = 0.0 if -0.02 < ends[1, 0] < stage.aspect + 0.02 else stage.hand / speed
        self.strokes.append(Stroke(SWIPES[int(right)], start_s, max(start_s + 0.1, self.time_s - inside)))
        self.gone = bool(inside)
        if self.gone:
            self.at = stage.away
            self.rest(float(rng.uniform(0.3, 1.2)))
        else:
            self.afterwards()

    def afterwards(self) -> None:
        """What follows a shape: resting, leaving, or the return stroke."""
        rng = self.rng
        last = self.strokes[-1]
        kind = rng.choice(["rest", "leave", "return"], p=[0.55, 0.2, 0.25])
        if kind == "rest":
            self.rest(float(rng.uniform(0.3, 1.1)))
        elif kind == "leave":
            self.rest(float(rng.uniform(0.08, 0.4)))
            self.leave()
        else:
            self.rest(float(rng.uniform(0.1, 0.45)))
            start = self._began_at(last)
            self.go(
                start + rng.normal(0, 0.04, 2),
                float(rng.uniform(0.5, 1.6)) * self.pace,
                bend=float(rng.normal(0, 0.12)),
            )
            self.rest(float(rng.uniform(0.15, 0.7)))
            if last.label in GESTURES and rng.random() < 0.5:  # once more
                legs = draw_shape(last.label, rng)
                self.stroke(last.label, self._moved_to(self.at, self._scaled(legs, last.label in SWIPES)))
                self.rest(float(rng.uniform(0.3, 1.0)))

    def idle(self) -> None:
        """Something that is no shape."""
        kind = self.rng.choice(
            ["point", "wander", "shake", "wave", "nudge", "leave", "pose", "drift"],
            p=[0.14, 0.22, 0.14, 0.12, 0.12, 0.1, 0.08, 0.08],
        )
        getattr(self, f"_{kind}")()

    def _point(self) -> None:
        self.rest(float(self.rng.uniform(0.4, 2.0)))

    def _pose(self) -> None:
        for _ in range(int(self.rng.integers(1, 4))):
            self._change_pose()
            self.rest(float(self.rng.uniform(0.15, 0.8)))

    def _leave(self) -> None:
        self.leave()
        self.rest(float(self.rng.exponential(0.6)))

    def _drift(self) -> None:
        goal = self._inside(self.at + self.rng.normal(0, 0.15, 2))
        self.go(goal, float(self.rng.uniform(0.02, 0.07)))

    def _wander(self) -> None:
        """Move about without resting; the last move is too short, too slanted or too bent for a swipe."""
        for _ in range(int(self.rng.integers(3, 9))):
            goal = self._inside(self.at + self.rng.normal(0, 0.2, 2))
            self.go(goal, float(self.rng.uniform(0.3, 1.8)), bend=float(self.rng.normal(0, 0.25)))
        self._slanted(float(self.rng.uniform(0.05, 0.25)))
        self.rest(float(self.rng.uniform(0.1, 0.7)))

    def _shake(self) -> None:
        """Scratch, type, tap, knock: fast and small."""
        seconds = float(self.rng.uniform(0.5, 1.8))
        times_s = np.arange(self._count(seconds)) / RATE_HZ
        width = self.rng.uniform(0.005, 0.06, 2) * self.rng.choice([0.2, 1.0], 2)
        hz = self.rng.uniform(2, 7)
        waves = np.sin(
            2 * np.pi * hz * times_s[:, None] * self.rng.uniform(0.9, 1.1, 2) + self.rng.uniform(0, 6, 2) * [1, 1]
        )
        self._add(self.at + width * (waves - waves[:1]))

    def _wave(self) -> None:
        """To and fro along a line, without a rest at its ends."""
        legs = turned_swipe(float(self.rng.choice([0, 90, self.rng.uniform(0, 180)])), self.rng)[0]
        way = (legs[-1] - legs[0]) * self.rng.uniform(0.08, 0.3)
        cycles = float(self.rng.integers(2, 6)) + self.rng.choice([0.0, 0.5])
        times_s = np.arange(self._count(cycles / float(self.rng.uniform(0.8, 2.5)))) / RATE_HZ
        share = 0.5 - 0.5 * np.cos(2 * np.pi * cycles * times_s / max(times_s[-1], 0.1))
        fall = np.linspace(1, self.rng.uniform(0.4, 1), len(share))
        self._add(self.at + (share * fall)[:, None] * way)
        self.rest(float(self.rng.uniform(0.05, 0.5)))

    def _nudge(self) -> None:
        """A short or slanted straight move between two rests."""
        self.rest(float(self.rng.uniform(0.1, 0.6)))
        if self.rng.random() < 0.5:
            angle = self.rng.uniform(0, 2 * np.pi)
            goal = self.at + self.rng.uniform(0.02, 0.4 * self.size) * np.array([np.cos(angle), np.sin(angle)])
            self.go(goal, float(self.rng.uniform(0.2, 1.0)))
        else:
            self._slanted(float(self.rng.uniform(0.1, 0.5)))
        self.rest(float(self.rng.uniform(0.2, 0.8)))

    def _slanted(self, length: float) -> None:
        angle = np.deg2rad(self.rng.choice([45, 135, 225, 315]) + self.rng.uniform(-15, 15))
        way = length * np.array([np.cos(angle), np.sin(angle)])
        goal = self.at + way if self._within(self.at + way) else self.at - way
        self.go(goal, float(self.rng.uniform(0.4, 1.5)), bend=float(self.rng.normal(0, 0.1)))

    def _approach(self, start: Points) -> None:
        """Go to where a shape begins; a straight way along an axis would be a swipe, so such a way is bent."""
        way = np.abs(start - self.at)
        straight = float(min(way) / max(1e-6, *way)) < np.tan(np.deg2rad(25))
        bend = float(self.rng.choice([-1, 1]) * self.rng.uniform(0.3, 0.5)) if straight and max(way) > 0.12 else 0.0
        bend = bend or float(self.rng.normal(0, 0.15))
        self.go(start, float(self.rng.uniform(0.5, 1.6)), bend=bend)

    def _speed(self, label: str) -> float:
        """Return the mean speed of a stroke, in picture heights per second; a hand draws large shapes faster."""
        usual = 0.75 if label in SWIPES else 0.95
        speed = usual * self.pace * float(np.exp(self.rng.normal(0, 0.25))) * (self.size / 0.4) ** 0.5
        return float(max(SLOWEST, speed))

    def _along(self, line: Points, speed: float) -> None:
        steps = np.hypot(*np.diff(line, axis=0).T)
        length = np.concatenate([[0.0], np.cumsum(steps)])
        reached = _eased(self._count(max(0.12, length[-1] / speed)), self.smooth) * length[-1]
        self._add(np.stack([np.interp(reached, length, line[:, axis]) for axis in range(2)], axis=1))

    def _scaled(self, legs: Legs, swipe: bool) -> Legs:
        size = self.size * float(np.exp(self.rng.normal(0, 0.15)))
        if swipe:
            size = float(np.clip(1.15 * size, 0.22, 0.95))
        return [leg * size for leg in legs]

    def _placed(self, legs: Legs, swipe: bool) -> Legs:
        """Return a shape at a place where most of it is seen."""
        legs = self._scaled(legs, swipe)
        middle = self.stage.home + self.rng.normal(0, 0.1, 2) * [self.stage.aspect, 1]
        whole = np.concatenate(legs)
        low, high = whole.min(axis=0), whole.max(axis=0)
        most = np.array([self.stage.aspect, 1.0])
        middle = np.clip(middle, np.minimum(-low, most / 2), np.maximum(most - high, most / 2))
        return [leg + middle for leg in legs]

    def _moved_to(self, start: Points, legs: Legs) -> Legs:
        return [leg + (start - legs[0][0]) for leg in legs]

    def _began_at(self, stroke: Stroke) -> Points:
        return np.asarray(np.concatenate(self.pieces)[int(stroke.start_s * RATE_HZ)])

    def _change_pose(self) -> None:
        self.poses.append((self.time_s, int(self.rng.integers(1, 4))))

    def _within(self, place: Points) -> bool:
        return bool(0.05 < place[0] < self.stage.aspect - 0.05 and 0.05 < place[1] < 0.98)

    def _inside(self, place: Points) -> Points:
        return np.asarray(np.clip(place, [0.05, 0.05], [self.stage.aspect - 0.05, 0.98]))

    def _count(self, seconds: float) -> int:
        return max(2, round(seconds * RATE_HZ))

    def _add(self, piece: Points) -> None:
        self.pieces.append(np.array(piece, np.float64))
        self.samples += len(piece)
        self.at = self.pieces[-1][-1].copy()


def _eased(count: int, smooth: float) -> NDArray[np.float64]:
    """Return a way's share over time (count,): at a constant speed (smooth 0) to slow at both ends (1)."""
    share = np.linspace(0, 1, count)
    slow: NDArray[np.float64] = share**3 * (10 - 15 * share + 6 * share**2)
    return smooth * slow + (1 - smooth) * share
