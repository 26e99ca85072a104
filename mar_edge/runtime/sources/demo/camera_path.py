"""How a virtual camera moves over a plane: the truth behind the demo source and the egomotion data.

Directions are those of the camera, as its operator names them. x runs right and y down, in view widths.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LABELS = (
    "still",
    "pan_left",
    "pan_right",
    "tilt_up",
    "tilt_down",
    "zoom_in",
    "zoom_out",
    "roll_clockwise",
    "roll_counter_clockwise",
    "shake",
)

_STEPS_HZ = 240.0


@dataclass(frozen=True, kw_only=True)
class Motion:
    """Rates of a camera over one stretch of time.

    Attributes:
        right_per_s: view widths per second to the right (a pan).
        down_per_s: view widths per second downwards (a tilt).
        zoom_per_s: growth of the content per second: 0.3 makes it 30 % larger.
        roll_deg_per_s: degrees per second clockwise.
        jitter: amplitude of a random wobble, in view widths.
        jitter_roll_deg: amplitude of a random wobble in roll.
        jitter_hz: frequency about which it wobbles.
    """

    right_per_s: float = 0.0
    down_per_s: float = 0.0
    zoom_per_s: float = 0.0
    roll_deg_per_s: float = 0.0
    jitter: float = 0.0
    jitter_roll_deg: float = 0.0
    jitter_hz: float = 4.0


def motion_of(label: str, speed: float) -> Motion:
    """Return the pure motion of a label.

    Args:
        label: one of `LABELS`.
        speed: view widths per second for pan, tilt; growth per second for zoom; degrees per second for roll; amplitude in
            view widths for shake; ignored for still.
    """
    if label == "still":
        return Motion()
    if label == "shake":
        return Motion(jitter=speed, jitter_roll_deg=40 * speed)
    axis, sign = {
        "pan_left": ("right_per_s", -1),
        "pan_right": ("right_per_s", 1),
        "tilt_up": ("down_per_s", -1),
        "tilt_down": ("down_per_s", 1),
        "zoom_in": ("zoom_per_s", 1),
        "zoom_out": ("zoom_per_s", -1),
        "roll_clockwise": ("roll_deg_per_s", 1),
        "roll_counter_clockwise": ("roll_deg_per_s", -1),
    }[label]
    if label == "zoom_out":
        return Motion(zoom_per_s=1 / (1 + speed) - 1)
    return Motion(**{axis: sign * speed})


@dataclass
class CameraPath:
    """Poses of a camera that follows one motion after another.

    Args:
        segments: (duration in seconds, motion) in order.
        rng: draws the wobbles.
        pace: multiplies all rates over time, given as (time_s, factor) arrays; 1 throughout by default.
        start_deg: roll at the beginning.
    """

    segments: list[tuple[float, Motion]]
    rng: np.random.Generator
    pace: tuple[Floats, Floats] | None = None
    start_deg: float = 0.0
    _time_s: Floats = field(init=False, repr=False)
    _pose: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        duration_s = sum(seconds for seconds, _ in self.segments)
        steps = int(np.ceil(duration_s * _STEPS_HZ)) + 2
        self._time_s = np.arange(steps) / _STEPS_HZ
        ends_s = np.cumsum([seconds for seconds, _ in self.segments])
        which = np.searchsorted(ends_s, self._time_s, side="right").clip(max=len(self.segments) - 1)
        motions = [motion for _, motion in self.segments]

        def rate(name: str) -> Floats:
            values = np.array([getattr(motion, name) for motion in motions])[which]
            if self.pace is not None:
                values = values * np.interp(self._time_s, *self.pace)
            return np.asarray(values)

        zoom = np.exp(_integral(np.log1p(rate("zoom_per_s"))))
        roll = np.deg2rad(self.start_deg) + _integral(np.deg2rad(rate("roll_deg_per_s")))
        right, down = rate("right_per_s"), rate("down_per_s")
        x = _integral((np.cos(roll) * right - np.sin(roll) * down) / zoom)
        y = _integral((np.sin(roll) * right + np.cos(roll) * down) / zoom)
        wobble = np.stack([self._wobble(motions, which) for _ in range(3)])
        jitter = np.array([motion.jitter for motion in motions])[which]
        jitter_roll = np.deg2rad([motion.jitter_roll_deg for motion in motions])[which]
        self._pose = np.stack(
            [x + jitter * wobble[0] / zoom, y + jitter * wobble[1] / zoom, zoom, roll + jitter_roll * wobble[2]]
        )

    def at(self, time_s: float) -> tuple[float, float, float, float]:
        """Return (x, y, zoom, roll in radians) at a time; the last pose holds after the end."""
        x, y, zoom, roll = (float(np.interp(time_s, self._time_s, row)) for row in self._pose)
        return x, y, zoom, roll

    def _wobble(self, motions: list[Motion], which: NDArray[np.int64]) -> Floats:
        """Band-limited noise of unit standard deviation about each segment's frequency."""
        total = np.zeros_like(self._time_s)
        for index, motion in enumerate(motions):
            if motion.jitter or motion.jitter_roll_deg:
                hz = motion.jitter_hz * self.rng.uniform(0.6, 1.6, 8)
                phase = self.rng.uniform(0, 2 * np.pi, 8)
                waves = np.sin(2 * np.pi * hz[:, None] * self._time_s + phase[:, None]).sum(axis=0) / 2
                total += np.where(which == index, waves, 0)
        return total


def view_affine(
    pose: tuple[float, float, float, float],
    *,
    view_px: tuple[int, int],
    aspect: float,
    scene_center_px: tuple[float, float],
    scene_px_per_width: float,
) -> Floats:
    """Return the 2x3 matrix that takes view pixels to scene pixels (for `cv2.warpAffine` with WARP_INVERSE_MAP).

    Args:
        pose: (x, y, zoom, roll in radians).
        view_px: (width, height) of the rendered view.
        aspect: width / height of the camera's picture; the view may be squashed.
        scene_center_px: (x, y) where the camera starts.
        scene_px_per_width: scene pixels that one view width covers at zoom 1.
    """
    x, y, zoom, roll = pose
    width, height = view_px
    across = scene_px_per_width / zoom / width
    along = scene_px_per_width / zoom / height / aspect
    cos, sin = np.cos(roll), np.sin(roll)
    linear = np.array([[cos * across, -sin * along], [sin * across, cos * along]])
    center = np.array(scene_center_px) + scene_px_per_width * np.array([x, y])
    offset = center - linear @ np.array([(width - 1) / 2, (height - 1) / 2])
    return np.concatenate([linear, offset[:, None]], axis=1)


def content_flow(
    before: tuple[float, float, float, float],
    after: tuple[float, float, float, float],
    *,
    aspect: float,
    places: Floats,
) -> Floats:
    """Return how far the content at some places of the picture moves while the camera goes from one pose to another.

    Args:
        before: (x, y, zoom, roll in radians) at first.
        after: the pose then.
        aspect: width / height of the camera's picture.
        places: (..., 2) in the first picture, (0, 0) its middle, one unit its width and its height.

    Returns:
        (..., 2), right and down, in the same units.
    """
    (x, y, zoom, roll), (x2, y2, zoom2, roll2) = before, after
    scale = np.array([1.0, 1 / aspect])
    world = places * scale @ _turn(roll).T / zoom + np.array([x, y])
    moved = zoom2 * (world - np.array([x2, y2])) @ _turn(roll2) / scale
    return np.asarray(moved - places)


def _turn(angle: float) -> Floats:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _integral(rate: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(rate[:-1])]) / _STEPS_HZ
