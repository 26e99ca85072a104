"""What a virtual camera does in a clip: one move, or several one after another."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mar_edge.runtime.sources.demo.camera_path import LABELS, CameraPath, Motion, motion_of

Rng = np.random.Generator

SPEEDS = {"pan": (0.2, 1.5), "tilt": (0.2, 1.5), "zoom": (0.10, 0.60), "roll": (8.0, 40.0), "shake": (0.012, 0.06)}
"""Lowest and highest speed of every kind of move, in the units of `motion_of`."""

SHORTEST_S = 0.6
"""Least duration of a move that changes within a clip."""

PAUSES = 0.4
"""Probability that the camera is still between the first and the last of three moves."""

LARGEST_ZOOM = 8.0
"""A long zoom is slower than its specified range rather than beyond this factor, where a world shows no more detail."""


@dataclass(frozen=True)
class Moves:
    """What a camera does in one clip.

    Attributes:
        labels: its moves in order, of `LABELS`.
        durations_s: of each.
    """

    labels: tuple[str, ...]
    durations_s: tuple[float, ...]

    def classes(self, time_s: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the class of the move at every time; the last one holds after the end."""
        which = np.searchsorted(np.cumsum(self.durations_s)[:-1], time_s, side="right")
        return np.array([LABELS.index(label) for label in self.labels])[which]


def draw_moves(first: str, duration_s: float, rng: Rng) -> Moves:
    """Draw two or three moves that fill a clip, each unlike the one before it.

    Args:
        first: the first move.
        duration_s: of the clip; where `SHORTEST_S` fits only once, the first move fills it.
        rng: source of all random numbers.
    """
    count = min(int(rng.integers(2, 4)), max(1, int(duration_s / SHORTEST_S)))
    labels = [first]
    while len(labels) < count:
        others = [label for label in LABELS if label != labels[-1]]
        pauses = len(labels) == 1 and count == 3 and first != "still" and rng.random() < PAUSES
        labels.append("still" if pauses else others[int(rng.integers(len(others)))])
    shortest_s = min(SHORTEST_S, duration_s / count)
    durations_s = shortest_s + (duration_s - count * shortest_s) * rng.dirichlet(np.ones(count))
    return Moves(tuple(labels), tuple(durations_s.tolist()))


def draw_speed(label: str, margin: float, rng: Rng) -> float:
    """Draw the speed of a label's move, log-uniform over its specified range and the margin."""
    low, high = SPEEDS[label.split("_")[0]]
    return float(np.exp(rng.uniform(np.log(low * (1 - margin)), np.log(high * (1 + margin)))))


def draw_motion(label: str, margin: float, rng: Rng) -> Motion:
    """Draw a label's motion: its move, and small unwanted ones on the other axes."""
    if label == "still":
        steady = rng.random() < 0.5
        drift = rng.normal(0, 0.0 if steady else 0.008, 2)
        wobble = 0.0 if steady else float(rng.uniform(0, 0.0025))
        return Motion(right_per_s=drift[0], down_per_s=drift[1], jitter=wobble, jitter_hz=float(rng.uniform(1, 8)))
    motion = motion_of(label, draw_speed(label, margin, rng))
    if label == "shake":
        return replace(
            motion,
            jitter_roll_deg=float(rng.uniform(0, 3)),
            jitter_hz=float(rng.uniform(2, 8)),
            right_per_s=float(rng.normal(0, 0.03)),
            down_per_s=float(rng.normal(0, 0.03)),
        )
    main = abs(motion.right_per_s) + abs(motion.down_per_s)
    side = 0.08 * main if main else 0.02
    return replace(
        motion,
        right_per_s=motion.right_per_s or float(rng.normal(0, side)),
        down_per_s=motion.down_per_s or float(rng.normal(0, side)),
        zoom_per_s=motion.zoom_per_s or float(rng.normal(0, 0.012)),
        roll_deg_per_s=motion.roll_deg_per_s or float(rng.normal(0, 0.9)),
        jitter=float(rng.choice([0, rng.uniform(0, 0.004)])),
        jitter_hz=float(rng.uniform(2, 8)),
    )


def draw_path(moves: Moves, margin: float, rng: Rng, *, largest_zoom: float | None = None) -> CameraPath:
    """Draw the path of a camera that does the moves, at a pace that may vary by a fifth.

    Args:
        moves: what it does.
        margin: share by which speeds may be outside the specified ranges.
        rng: source of all random numbers.
        largest_zoom: factor that one move zooms at most by, at the pace 1; None does not bound it.
    """
    duration_s = sum(moves.durations_s)
    pace_s = np.linspace(0, duration_s, 4)
    pace = 1 + rng.uniform(-0.2, 0.2, 4) * rng.choice([0, 1])
    segments = []
    for seconds, label in zip(moves.durations_s, moves.labels, strict=True):
        motion = draw_motion(label, margin, rng)
        if largest_zoom is not None:
            most = max(np.log(largest_zoom) / seconds, np.log1p(SPEEDS["zoom"][0]))
            motion = replace(motion, zoom_per_s=float(np.expm1(np.clip(np.log1p(motion.zoom_per_s), -most, most))))
        segments.append((seconds, motion))
    return CameraPath(segments, rng, (pace_s, pace), rng.normal(0, 6))
