"""A drawn hand: what the demo camera films where no recorded picture may be shipped.

A hand is a relief: every bone is a row of balls, the highest point of each pixel is kept, and light falls on the slopes.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.runtime.sources.demo.hand_pose import POSES, Skeleton, skeleton
from mar_edge.runtime.sources.demo.hand_skin import FINGERS, FOREARM, NOTHING, PALM, Relief, painted, smooth

Floats = NDArray[np.float32]
Points = NDArray[np.float64]

_FINGER_RADII = ((0.105, 0.098, 0.088, 0.074), (0.108, 0.100, 0.090, 0.076), (0.104, 0.096, 0.086, 0.073),
                 (0.094, 0.084, 0.076, 0.064))  # fmt: skip
_THUMB_RADII = (0.15, 0.125, 0.105, 0.085)


@dataclass(frozen=True, kw_only=True)
class _Limb:
    """A row of balls: centres (N, 3) with their radii (N,)."""

    centers: Points
    radii: Points


def draw_hand(
    rng: np.random.Generator,
    size_px: int = 160,
    pose: str = "pointing",
    *,
    left: bool | None = None,
    palm_view: bool = False,
    tilt_deg: tuple[float, float, float] | None = None,
    forearm: float = 0.0,
    sleeve: float | None = None,
) -> tuple[NDArray[np.uint8], Floats]:
    """Draw a hand, its wrist at the bottom; skin, light, proportions and the bend of every joint differ each time.

    Args:
        rng: draws all that is not given.
        size_px: longest side of the hand without its forearm.
        pose: one of `hand_pose.POSES`.
        left: a left hand; either by default.
        palm_view: the palm faces the viewer, instead of the back that people see of their own hand.
        tilt_deg: (fingertips away from the viewer, turn about the forearm, turn in the picture, clockwise); drawn, and
            small, by default.
        forearm: how much of the forearm is drawn below the wrist, in palm lengths (about half of the hand's length).
        sleeve: where a sleeve begins, in palm lengths below the wrist; none by default, or where no forearm is that long.

    Returns:
        The picture, uint8 (H, W, 4) with straight (not premultiplied) alpha, RGB; and its 21 landmarks, float32 (21, 2), x and y
        in pixels, in MediaPipe's order: wrist, thumb 1-4, index 1-4, middle 1-4, ring 1-4, little 1-4.

    Raises:
        ValueError: if the pose is unknown, or the size below 8 px.
    """
    if pose not in POSES:
        raise ValueError(f"no pose '{pose}' is known; use one of {', '.join(POSES)}")
    if size_px < 8:
        raise ValueError(f"a hand of {size_px} px cannot be drawn; use 8 px or more")
    left = bool(rng.random() < 0.5) if left is None else left
    if tilt_deg is None:
        tilt_deg = (rng.uniform(0, 25), rng.normal(0, 10), rng.normal(0, 6))
    bones = skeleton(rng, POSES[pose], left=left, palm_view=palm_view, tilt_deg=tilt_deg)
    hand = _limbs(bones)
    arm = _arm(bones, forearm, sleeve, rng.normal(0, 0.08))
    fine = 3 if size_px < 100 else 2  # supersampling, for the outline
    scale = (size_px - 2) / _extent(hand).max() * fine
    low = np.min([(limb.centers[:, :2] - limb.radii[:, None]).min(axis=0) for limb in hand + arm], axis=0)
    side_px = np.ceil(_extent(hand + arm) * scale / fine).astype(int) + 2
    origin = np.array([*(fine - low * scale), 0.0])
    limbs = [_Limb(centers=limb.centers * scale + origin, radii=limb.radii * scale) for limb in hand + arm]
    height, layer = _heights(limbs, (int(side_px[1]) * fine, int(side_px[0]) * fine), scale)
    relief = Relief(
        height=height,
        layer=layer,
        scale=scale,
        bones=Skeleton(joints=bones.joints * scale + origin, dorsal=bones.dorsal, back=bones.back),
        radii=np.array([0.2, *_THUMB_RADII, *np.ravel(_FINGER_RADII)]) * scale,
        sleeve=len(limbs) - 1 if len(arm) == 2 else None,
    )
    landmarks = (relief.bones.joints[:, :2] / fine - 0.5).astype(np.float32)
    return _shrink(painted(rng, relief), relief.there, (int(side_px[0]), int(side_px[1]))), landmarks


def _limbs(bones: Skeleton) -> list[_Limb]:
    """Return palm, thumb and fingers as rows of balls; the palm's parts first."""
    joints, up = bones.joints, bones.back
    knuckles = joints[[5, 9, 13, 17]]
    middle = knuckles.mean(axis=0)
    palm = []
    for finger, knuckle in enumerate(knuckles):
        base = 0.05 * middle + 0.36 * (knuckle - middle) - up * 0.02
        web = knuckle + 0.36 * (joints[6 + 4 * finger] - knuckle)
        palm.append(_chain(np.stack([base, knuckle - up * 0.03, web]), (0.17, 0.135, 0.10)))
    ball_of_thumb = np.stack([joints[1] * 0.6, joints[1] - up * 0.04, 0.35 * joints[1] + 0.65 * joints[2]])
    edge = np.stack(
        [knuckles[3] * 0.15 - up * 0.05, knuckles[3] * 0.5 + (knuckles[3] - knuckles[2]) * 0.15 - up * 0.05]
    )
    rows = [*palm, _chain(ball_of_thumb, (0.17, 0.18, 0.14)), _chain(edge, (0.17, 0.16))]
    whole = _Limb(
        centers=np.concatenate([row.centers for row in rows]), radii=np.concatenate([row.radii for row in rows])
    )
    fingers = [_chain(_shortened(joints[1:5], _THUMB_RADII[-1]), _THUMB_RADII)]
    for finger, radii in enumerate(_FINGER_RADII):
        fingers.append(_chain(_shortened(joints[5 + 4 * finger : 9 + 4 * finger], radii[-1]), radii))
    return [whole, *fingers]


def _arm(bones: Skeleton, length: float, sleeve: float | None, lean: float) -> list[_Limb]:
    """Return a forearm below the wrist, and the sleeve over it."""
    if length <= 0:
        return []
    down = np.array([lean, 1.0, 0.0])

    def girth(at: float) -> float:
        return float(np.interp(at, [0.0, 0.35, 1.5, 3.0], [0.2, 0.24, 0.33, 0.4]))

    def part(begin: float, end: float, wider: float) -> _Limb:
        places = np.linspace(begin, end, 8)
        radii = tuple(girth(place) * wider for place in places)
        return _chain(bones.joints[0] + places[:, None] * down - np.array([0, 0, 0.08]), radii)

    arm = [part(0.1, length, 1.0)]
    if sleeve is not None and sleeve + 0.25 < length:
        arm.append(part(sleeve + 0.25, length, 1.25))
    return arm


def _shortened(joints: Points, radius: float) -> Points:
    """Return a finger's joints with the last ball inside the fingertip."""
    along = joints[-1] - joints[-2]
    tip = joints[-1] - along / np.linalg.norm(along) * radius * 0.7
    return np.concatenate([joints[:-1], tip[None]])


def _chain(joints: Points, radii: tuple[float, ...]) -> _Limb:
    """Return balls close enough to look like a tapering limb."""
    centers, sizes = [], []
    for begin, end, thick, thin in zip(joints[:-1], joints[1:], radii[:-1], radii[1:], strict=True):
        count = 2 + int(np.linalg.norm(end - begin) / (0.25 * thin))
        share = np.linspace(0, 1, count)[:, None]
        centers.append(begin + share * (end - begin))
        sizes.append(thick + share[:, 0] * (thin - thick))
    return _Limb(centers=np.concatenate(centers), radii=np.concatenate(sizes))


def _extent(limbs: list[_Limb]) -> Points:
    low = np.min([(limb.centers[:, :2] - limb.radii[:, None]).min(axis=0) for limb in limbs], axis=0)
    high = np.max([(limb.centers[:, :2] + limb.radii[:, None]).max(axis=0) for limb in limbs], axis=0)
    return np.asarray(high - low)


def _heights(limbs: list[_Limb], shape: tuple[int, int], scale: float) -> tuple[Floats, NDArray[np.int8]]:
    """Return the height of each pixel, `NOTHING` where there is nothing, and which limb is on top, -1 for none."""
    height = np.full(shape, NOTHING, np.float32)
    layer = np.full(shape, -1, np.int8)
    for index, limb in enumerate(limbs):
        own = np.full(shape, NOTHING, np.float32)
        for (x, y, z), radius in zip(limb.centers, limb.radii, strict=True):
            x0, y0 = max(0, int(x - radius)), max(0, int(y - radius))
            box = own[y0 : int(y + radius) + 2, x0 : int(x + radius) + 2]
            rows, columns = np.ogrid[y0 : y0 + box.shape[0], x0 : x0 + box.shape[1]]
            inside = radius**2 - (columns - x) ** 2 - (rows - y) ** 2
            np.maximum(box, np.where(inside > 0, z + np.sqrt(np.maximum(inside, 0)), NOTHING), out=box)
        if index == PALM:
            own = smooth(own, 0.035 * scale)
        layer[own > height] = index
        # Limbs melt into each other a little, as flesh does (polynomial smooth maximum).
        melt = (0.05 if index <= FINGERS[-1] else 0.15 if index == FOREARM else 0.01) * scale
        near = np.maximum(melt - np.abs(own - height), 0) / melt
        height = np.maximum(own, height) + near**2 * melt / 4
        if index == FOREARM:
            height = _without_seam(height, limb.centers[0], scale)
    return height, layer


def _without_seam(height: Floats, wrist: Points, scale: float) -> Floats:
    """Return the relief smoothed about the wrist, where hand and forearm are one."""
    rows, columns = np.ogrid[: height.shape[0], : height.shape[1]]
    near = np.exp(-((columns - wrist[0]) ** 2 + (rows - wrist[1]) ** 2) / (2 * (0.25 * scale) ** 2))
    return np.asarray(height + near * (smooth(height, 0.1 * scale) - height), dtype=np.float32)


def _shrink(color: Floats, there: NDArray[np.bool_], size_px: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the supersampled picture at its size, with straight alpha."""
    alpha = there.astype(np.float32)
    covered = cv2.resize(alpha, size_px, interpolation=cv2.INTER_AREA)[..., None]
    small = cv2.resize(color * alpha[..., None], size_px, interpolation=cv2.INTER_AREA) / np.maximum(covered, 1e-3)
    return np.clip(np.round(np.dstack([small, covered * 255])), 0, 255).astype(np.uint8)
