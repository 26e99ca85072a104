"""What hands do: gestures, other shapes, and everything beside that."""

from __future__ import annotations

import numpy as np

from mar_edge.training.synthetic.gestures.hand_path import HandPath, Stage, eased
from mar_edge.training.synthetic.gestures.performance import RATE_HZ, Performance, Stroke
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

SLOWEST = 0.08
"""Picture heights per second; what is slower is no stroke."""


def perform(stage: Stage, duration_s: float, rng: Rng, *, negative: bool = False) -> Performance:
    """Draw what a hand does.

    Args:
        stage: where it moves.
        duration_s: of the clip.
        rng: source of all random numbers.
        negative: it makes no gesture.
    """
    hand = _Actor(stage, rng)
    begins = rng.random()
    if begins < 0.4:
        hand.begin_with(_other(rng) if negative or rng.random() < 0.25 else str(rng.choice(GESTURES)))
    elif begins < 0.75:
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


class _Actor(HandPath):
    """A hand that acts."""

    def enter(self) -> None:
        """Come in from outside; that is no gesture, however straight."""
        self.gone = False
        goal = self.stage.home + self.rng.normal(0, 0.13, 2) * [self.stage.aspect, 1]
        self.go(goal, self._tempo(0.7, 2.2), bend=float(self.rng.normal(0, 0.15)))
        self.rest(float(self.rng.choice([0.0, 0.1, 0.4, 0.8])) * float(self.rng.uniform(0.6, 1.4)))

    def leave(self) -> None:
        """Go out of the picture."""
        self.go(self.stage.away, self._tempo(0.8, 2.5), bend=float(self.rng.normal(0, 0.15)))
        self.gone = True

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
            self.change_pose()
        self.stroke(label, self._moved_to(self.at, legs))

    def stroke(self, label: str, legs: Legs) -> None:
        """Draw a shape from where the hand is."""
        start_s = self.time_s
        speed = self._speed(label)
        for number, leg in enumerate(legs):
            if number and self.corner_s:
                self.rest(self.corner_s * float(self.rng.uniform(0.5, 1.5)))
            self.along(leg, speed)
        self.strokes.append(Stroke(label, start_s, self.time_s))
        self.add(self.at[None])
        if self.rng.random() < 0.25:  # a little too far, and back
            back = legs[-1][-2] - legs[-1][-1]
            back = back / max(1e-6, float(np.hypot(*back))) * self.rng.uniform(0.02, 0.06)
            self.along(self.at + np.linspace(0, 1, 8)[:, None] * back, 0.4)

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
        self.along(ends[0] + eased(24, 0.5)[:, None] * (ends[1] - ends[0]), speed)
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
                self._tempo(0.6, 2.0),
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
            self.change_pose()
            self.rest(float(self.rng.uniform(0.15, 0.8)))

    def _leave(self) -> None:
        self.leave()
        self.rest(float(self.rng.exponential(0.6)))

    def _drift(self) -> None:
        goal = self.inside(self.at + self.rng.normal(0, 0.15, 2))
        self.go(goal, float(self.rng.uniform(0.02, 0.07)))

    def _wander(self) -> None:
        """Move about without resting; the last move is too short, too slanted or too bent for a swipe."""
        for _ in range(int(self.rng.integers(3, 9))):
            goal = self.inside(self.at + self.rng.normal(0, 0.2, 2))
            self.go(goal, self._tempo(0.3, 1.8), bend=float(self.rng.normal(0, 0.25)))
        self._slanted(float(self.rng.uniform(0.05, 0.25)))
        self.rest(float(self.rng.uniform(0.1, 0.7)))

    def _shake(self) -> None:
        """Scratch, type, tap, knock: fast and small."""
        seconds = float(self.rng.uniform(0.5, 1.8))
        times_s = np.arange(self.count(seconds)) / RATE_HZ
        width = self.rng.uniform(0.005, 0.06, 2) * self.rng.choice([0.2, 1.0], 2)
        hz = self.rng.uniform(2, 7)
        waves = np.sin(
            2 * np.pi * hz * times_s[:, None] * self.rng.uniform(0.9, 1.1, 2) + self.rng.uniform(0, 6, 2) * [1, 1]
        )
        self.add(self.at + width * (waves - waves[:1]))

    def _wave(self) -> None:
        """To and fro along a line, without a rest at its ends."""
        legs = turned_swipe(float(self.rng.choice([0, 90, self.rng.uniform(0, 180)])), self.rng)[0]
        way = (legs[-1] - legs[0]) * self.rng.uniform(0.08, 0.3)
        cycles = float(self.rng.integers(2, 6)) + self.rng.choice([0.0, 0.5])
        times_s = np.arange(self.count(cycles / float(self.rng.uniform(0.8, 2.5)))) / RATE_HZ
        share = 0.5 - 0.5 * np.cos(2 * np.pi * cycles * times_s / max(times_s[-1], 0.1))
        fall = np.linspace(1, self.rng.uniform(0.4, 1), len(share))
        self.add(self.at + (share * fall)[:, None] * way)
        self.rest(float(self.rng.uniform(0.05, 0.5)))

    def _nudge(self) -> None:
        """A short or slanted straight move between two rests."""
        self.rest(float(self.rng.uniform(0.1, 0.6)))
        if self.rng.random() < 0.5:
            angle = self.rng.uniform(0, 2 * np.pi)
            goal = self.at + self.rng.uniform(0.02, 0.4 * self.size) * np.array([np.cos(angle), np.sin(angle)])
            self.go(goal, self._tempo(0.2, 1.0))
        else:
            self._slanted(float(self.rng.uniform(0.1, 0.5)))
        self.rest(float(self.rng.uniform(0.2, 0.8)))

    def _slanted(self, length: float) -> None:
        angle = np.deg2rad(self.rng.choice([45, 135, 225, 315]) + self.rng.uniform(-15, 15))
        way = length * np.array([np.cos(angle), np.sin(angle)])
        goal = self.at + way if self.within(self.at + way) else self.at - way
        self.go(goal, self._tempo(0.4, 1.5), bend=float(self.rng.normal(0, 0.1)))

    def _approach(self, start: Points) -> None:
        """Go to where a shape begins; a straight way along an axis would be a swipe, so such a way is bent."""
        way = np.abs(start - self.at)
        straight = float(min(way) / max(1e-6, *way)) < np.tan(np.deg2rad(25))
        bend = float(self.rng.choice([-1, 1]) * self.rng.uniform(0.3, 0.5)) if straight and max(way) > 0.12 else 0.0
        bend = bend or float(self.rng.normal(0, 0.15))
        self.go(start, self._tempo(0.5, 1.6), bend=bend)

    def _tempo(self, low: float, high: float) -> float:
        """Return a mean speed between strokes, in picture heights per second; people who draw slowly also do this slower."""
        return float(self.rng.uniform(low, high) * self.pace**0.5)

    def _speed(self, label: str) -> float:
        """Return the mean speed of a stroke, in picture heights per second; a hand draws large shapes faster."""
        usual = 0.75 if label in SWIPES else 1.25
        speed = usual * self.pace * float(np.exp(self.rng.normal(0, 0.25))) * (self.size / 0.4) ** 0.5
        return float(max(SLOWEST, speed))

    def _scaled(self, legs: Legs, swipe: bool) -> Legs:
        size = self.size * float(np.exp(self.rng.normal(0, 0.15)))
        if swipe:
            size = float(np.clip(1.15 * size, 0.22, 0.95))
        return [leg * size for leg in legs]

    def _placed(self, legs: Legs, swipe: bool) -> Legs:
        """Return a shape at a place where most of it is seen; a swipe may begin at an edge, with half of the hand outside."""
        legs = self._scaled(legs, swipe)
        middle = self.stage.home + self.rng.normal(0, 0.1, 2) * [self.stage.aspect, 1]
        whole = np.concatenate(legs)
        low, high = whole.min(axis=0), whole.max(axis=0)
        most = np.array([self.stage.aspect, 1.0])
        middle = np.clip(middle, np.minimum(-low, most / 2), np.maximum(most - high, most / 2))
        if swipe and self.stage.sweeps and self.rng.random() < 0.3:
            way = legs[-1][-1] - legs[0][0]
            axis = int(np.argmax(np.abs(way)))
            outside = self.stage.hand * self.rng.uniform(-0.2, 0.5)
            begin = -outside if way[axis] > 0 else most[axis] + outside
            middle[axis] = begin - legs[0][0][axis]
        return [leg + middle for leg in legs]

    def _moved_to(self, start: Points, legs: Legs) -> Legs:
        return [leg + (start - legs[0][0]) for leg in legs]

    def _began_at(self, stroke: Stroke) -> Points:
        return np.asarray(np.concatenate(self.pieces)[int(stroke.start_s * RATE_HZ)])
