"""Skin on the relief of a drawn hand: its colour, creases and nails, and the light on it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.runtime.sources.demo.hand_pose import Skeleton

Floats = NDArray[np.float32]
Points = NDArray[np.float64]

NOTHING = -1e4  # the height of a pixel in which there is nothing
PALM, THUMB, FINGERS, FOREARM = 0, 1, (2, 3, 4, 5), 6  # a relief's layers; the sleeve comes last

_TONES = np.array([[241, 200, 175], [229, 178, 148], [209, 152, 120], [176, 120, 90], [128, 84, 62], [92, 60, 46]])
_ROSE = np.array([222.0, 146.0, 130.0])
# Lines of a palm, as (share of wrist to index knuckle, share of wrist to little finger's knuckle): life, head, heart.
_PALM_LINES = (
    ((0.80, 0.02), (0.62, 0.22), (0.40, 0.30), (0.12, 0.22)),
    ((0.80, 0.04), (0.62, 0.28), (0.42, 0.50), (0.22, 0.66)),
    ((0.78, 0.32), (0.58, 0.44), (0.36, 0.62), (0.12, 0.88)),
)


@dataclass(frozen=True, kw_only=True)
class Relief:
    """A hand as a height above the picture.

    Attributes:
        height: float32 (H, W), pixels; `NOTHING` where there is nothing.
        layer: int8 (H, W), which limb is on top: `PALM`, ...; -1 none.
        scale: pixels a palm length.
        bones: in pixels.
        radii: of each joint, (21,), pixels.
        sleeve: the layer that is cloth; None without one.
    """

    height: Floats
    layer: NDArray[np.int8]
    scale: float
    bones: Skeleton
    radii: Points
    sleeve: int | None

    @property
    def there(self) -> NDArray[np.bool_]:
        """Where there is anything."""
        return np.asarray(self.height > NOTHING / 2)


def painted(rng: np.random.Generator, relief: Relief) -> Floats:
    """Return the lit colours, float32 (H, W, 3), 0 to 255; skin tone, sleeve and lamp are drawn."""
    tone = rng.uniform(0, len(_TONES) - 1)
    skin = np.array([np.interp(tone, range(len(_TONES)), channel) for channel in _TONES.T]) * rng.normal(1, 0.03, 3)
    if relief.bones.back[2] < 0:
        skin = 0.65 * skin + 0.35 * _ROSE * np.array([1.0, 1.08, 1.08])  # palms are lighter, and more alike
    rose = _ROSE * skin.mean() / _ROSE.mean()
    warm, creases, nails = _warmth(relief), _creases(relief), _nails(relief)
    color = skin + 0.35 * warm[..., None] * (rose - skin)
    color = color * (1 + _mottle(rng, relief.height.shape) - 0.3 * creases)[..., None]
    color = color + 0.55 * nails[..., None] * (np.minimum(255, 0.6 * rose + 0.6 * skin + 28) - color)
    if relief.sleeve is not None:
        color[relief.layer == relief.sleeve] = rng.uniform(20, 180) + rng.uniform(0, 60, 3)
    return _lit(rng, color.astype(np.float32), relief)


def smooth(height: Floats, sigma: float) -> Floats:
    """Blur a height without its surroundings."""
    there = height > NOTHING / 2
    return np.asarray(np.where(there, _spread(height, there, sigma), NOTHING), dtype=np.float32)


def _spread(values: Floats, there: NDArray[np.bool_], sigma: float) -> Floats:
    """Return the blurred values of those pixels alone, also a little beyond their border (normalised convolution)."""
    mask = there.astype(np.float32)
    total = cv2.GaussianBlur(values * mask, (0, 0), sigma)
    weight = cv2.GaussianBlur(mask, (0, 0), sigma)
    return np.asarray(total / np.maximum(weight, 1e-3), dtype=np.float32)


def _lit(rng: np.random.Generator, color: Floats, relief: Relief) -> Floats:
    """Return the colours under a lamp from above and in front: darker in hollows, and redder in the shade."""
    scale, there = relief.scale, relief.there
    around = _spread(relief.height, there, 0.03 * scale) - 0.08 * scale  # the outline falls off, without a black rim
    ground = cv2.GaussianBlur(np.where(there, relief.height, around).astype(np.float32), (0, 0), 0.012 * scale)
    slope_y, slope_x = np.gradient(ground)
    lamp = np.array([rng.uniform(-0.7, 0.7), rng.uniform(-0.9, -0.1), 1.0])
    lamp /= np.linalg.norm(lamp)
    facing = (lamp[2] - slope_x * lamp[0] - slope_y * lamp[1]) / np.sqrt(1 + slope_x**2 + slope_y**2)
    shade = 0.42 + 0.62 * np.clip((facing + 0.4) / 1.4, 0, 1)
    hollow = (smooth(relief.height, 0.07 * scale) - relief.height) / (0.12 * scale)
    shade *= 1 - 0.35 * np.clip(hollow, 0, 1)
    lit = color * shade[..., None] ** np.array([0.85, 1.0, 1.1]) * rng.uniform(0.85, 1.15)
    return np.asarray(np.clip(lit, 0, 255), dtype=np.float32)


def _mottle(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Return how skin varies: blotches and grain, about 0."""
    size = (shape[1], shape[0])
    blotches = cv2.resize(rng.normal(0, 0.02, (12, 12)).astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    grain = cv2.resize(rng.normal(0, 0.015, (shape[0] // 2 + 1, shape[1] // 2 + 1)).astype(np.float32), size)
    return np.asarray(blotches + grain, dtype=np.float32)


def _warmth(relief: Relief) -> Floats:
    """Return where skin is rosier, 0 to 1: the joints and tips of the fingers."""
    warm = np.zeros(relief.height.shape, np.float32)
    for layer in (THUMB, *FINGERS):
        for joint in range(4 * layer - 2, 4 * layer + 1):
            x, y = relief.bones.joints[joint, :2]
            cv2.circle(warm, (round(x), round(y)), round(relief.radii[joint]), 1.0, -1)
    return np.asarray(cv2.GaussianBlur(warm, (0, 0), 0.06 * relief.scale), dtype=np.float32)


def _creases(relief: Relief) -> Floats:
    """Return where skin is folded, 0 to 1: three lines over a joint's back, one on its inner side; the lines of a palm."""
    creases = np.zeros(relief.height.shape, np.float32)
    joints, back = relief.bones.joints, relief.bones.back
    for layer in (THUMB, *FINGERS):
        folds = np.zeros_like(creases)
        for joint in (4 * layer - 2, 4 * layer - 1):
            along = joints[joint, :2] - joints[joint - 1, :2]
            length, radius = float(np.hypot(*along)), float(relief.radii[joint])
            if length < radius:
                continue  # the bone points at the viewer
            along /= length
            across = np.array([-along[1], along[0]]) * radius * 0.5
            for offset in (-0.4, 0.05, 0.4) if relief.bones.dorsal[joint, 2] > 0 else (0.0,):
                middle = joints[joint, :2] + along * offset * radius
                _line(folds, np.stack([middle - across, middle + across]), 0.008 * relief.scale)
        creases = np.maximum(creases, np.where(relief.layer == layer, folds, 0))
    if back[2] < 0:
        lines = np.zeros_like(creases)
        to_index, to_little = joints[5, :2] - joints[0, :2], joints[17, :2] - joints[0, :2]
        for line in _PALM_LINES:
            _line(lines, np.array([joints[0, :2] + a * to_index + b * to_little for a, b in line]), 0.02 * relief.scale)
        creases = np.maximum(creases, np.where(relief.layer == PALM, lines, 0))
    return np.asarray(cv2.GaussianBlur(creases, (0, 0), 0.008 * relief.scale), dtype=np.float32)


def _nails(relief: Relief) -> Floats:
    """Return where nails are seen, 0 to 1."""
    nails = np.zeros(relief.height.shape, np.float32)
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)[:, None]
    for layer in (THUMB, *FINGERS):
        tip = 4 * layer
        out, radius = relief.bones.dorsal[tip], relief.radii[tip]
        if out[2] < 0.15:
            continue
        along = relief.bones.joints[tip] - relief.bones.joints[tip - 1]
        along = along / np.linalg.norm(along)
        across = np.cross(along, out)
        middle = relief.bones.joints[tip] - along * 1.15 * radius + out * 0.8 * radius
        rim = middle + np.sin(turn) * along * 0.85 * radius + np.cos(turn) * across * 0.68 * radius
        own = np.zeros_like(nails)
        cv2.fillPoly(own, [np.round(rim[:, :2]).astype(np.int32)], 1.0)
        seen = (relief.layer == layer) & (relief.height < middle[2] + 0.8 * radius)
        nails = np.maximum(nails, np.where(seen, own, 0))
    return np.asarray(cv2.GaussianBlur(nails, (0, 0), 0.01 * relief.scale), dtype=np.float32)


def _line(picture: Floats, points: Points, width: float) -> None:
    cv2.polylines(picture, [np.round(points).astype(np.int32)], False, 1.0, max(1, round(width)), cv2.LINE_AA)
