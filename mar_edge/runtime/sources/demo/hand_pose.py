"""The bones of a drawn hand: where its 21 landmarks are, for a pose and a view.

Lengths are in palm lengths (wrist to the middle finger's knuckle, about 95 mm). x runs right, y down, z towards the viewer; the
wrist is the origin. Poses are those of a right hand whose back faces the viewer, so its thumb is on the left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Knuckle (x, y, z) and the lengths of the three bones, index to little finger: an adult's mean proportions, rounded.
_FINGERS = (
    ((-0.28, -0.94, 0.00), (0.47, 0.28, 0.24)),
    ((-0.04, -1.00, 0.03), (0.52, 0.32, 0.26)),
    ((0.19, -0.94, 0.01), (0.49, 0.31, 0.26)),
    ((0.38, -0.82, -0.05), (0.38, 0.21, 0.22)),
)
_THUMB_BASE = (-0.21, -0.20, -0.06)
_THUMB_BONES = (0.42, 0.35, 0.29)


@dataclass(frozen=True, kw_only=True)
class Pose:
    """How far the joints of a hand are bent.

    Attributes:
        bend_deg: (knuckle, middle joint, last joint) of index, middle, ring and little finger; 0 is straight.
        spread_deg: how far the fingers are spread: between neighbours.
        thumb_deg: (away from the fingers, towards the palm) of the thumb's three bones.
    """

    bend_deg: tuple[tuple[float, float, float], ...]
    spread_deg: float
    thumb_deg: tuple[tuple[float, float], ...]


_STRAIGHT, _FOLDED = (6.0, 8.0, 5.0), (78.0, 98.0, 55.0)
_THUMB_ACROSS = ((24.0, 38.0), (-22.0, 42.0), (-58.0, 8.0))
_THUMB_OUT = ((52.0, 12.0), (40.0, 8.0), (34.0, 4.0))
_THUMB_ALONG = ((30.0, 26.0), (8.0, 16.0), (-4.0, 8.0))

POSES: dict[str, Pose] = {
    "pointing": Pose(bend_deg=(_STRAIGHT, _FOLDED, _FOLDED, _FOLDED), spread_deg=2, thumb_deg=_THUMB_ACROSS),
    "open": Pose(bend_deg=(_STRAIGHT,) * 4, spread_deg=13, thumb_deg=_THUMB_OUT),
    "flat": Pose(bend_deg=(_STRAIGHT,) * 4, spread_deg=1, thumb_deg=_THUMB_ALONG),
    "relaxed": Pose(
        bend_deg=((18, 24, 14), (26, 32, 18), (32, 36, 20), (36, 38, 20)), spread_deg=4, thumb_deg=_THUMB_ALONG
    ),
    "fist": Pose(bend_deg=(_FOLDED,) * 4, spread_deg=1, thumb_deg=_THUMB_ACROSS),
    "two": Pose(bend_deg=(_STRAIGHT, _STRAIGHT, _FOLDED, _FOLDED), spread_deg=14, thumb_deg=_THUMB_ACROSS),
    "three": Pose(bend_deg=(_STRAIGHT, _STRAIGHT, _STRAIGHT, _FOLDED), spread_deg=11, thumb_deg=_THUMB_ACROSS),
    "thumb": Pose(bend_deg=(_FOLDED,) * 4, spread_deg=1, thumb_deg=((48, 6), (40, 2), (36, 0))),
    "gun": Pose(bend_deg=(_STRAIGHT, _FOLDED, _FOLDED, _FOLDED), spread_deg=2, thumb_deg=_THUMB_OUT),
    "phone": Pose(bend_deg=(_FOLDED, _FOLDED, _FOLDED, _STRAIGHT), spread_deg=6, thumb_deg=_THUMB_OUT),
}


@dataclass(frozen=True, kw_only=True)
class Skeleton:
    """A hand's joints in the viewer's frame.

    Attributes:
        joints: float64 (21, 3) in MediaPipe's order: wrist, thumb 1-4, index 1-4, middle 1-4, ring 1-4, little 1-4.
        dorsal: float64 (21, 3), at every joint the unit vector out of the back (on the last joint: out of the nail).
        back: float64 (3,), the unit vector out of the back of the palm.
    """

    joints: Floats
    dorsal: Floats
    back: Floats


def skeleton(
    rng: np.random.Generator, pose: Pose, *, left: bool, palm_view: bool, tilt_deg: tuple[float, float, float]
) -> Skeleton:
    """Bend a hand into a pose, each joint a little differently every time, and turn it before the viewer.

    Args:
        rng: draws the small differences in proportion and bend.
        pose: what is bent.
        left: a left hand instead of a right one.
        palm_view: the palm faces the viewer instead of the back.
        tilt_deg: (fingertips away from the viewer, turn about the forearm, turn in the picture, clockwise).
    """
    joints, dorsal = [np.zeros(3)], [np.array([0.0, 0.0, 1.0])]
    _bend_thumb(rng, pose, joints, dorsal)
    for finger in range(4):
        _bend_finger(rng, pose, finger, joints, dorsal)
    flip = np.array([-1.0 if left else 1.0, 1.0, 1.0])
    turn = _rotation(tilt_deg, half_turn=palm_view)
    return Skeleton(
        joints=np.stack(joints) * flip @ turn.T, dorsal=np.stack(dorsal) * flip @ turn.T, back=turn[:, 2].copy()
    )


def _bend_finger(rng: np.random.Generator, pose: Pose, finger: int, joints: list[Floats], dorsal: list[Floats]) -> None:
    knuckle, lengths = _FINGERS[finger]
    splay = np.deg2rad((finger - 1.2) * pose.spread_deg + rng.normal(0, 1.5) + (finger - 1.5) * 2)
    along = np.array([np.sin(splay), -np.cos(splay), 0.0])
    out = np.array([0.0, 0.0, 1.0])
    place = np.array(knuckle) * rng.normal(1, 0.02)
    bend = 0.0
    joints.append(place)
    dorsal.append(out)
    for length, degrees in zip(np.array(lengths) * rng.normal(1, 0.03), pose.bend_deg[finger], strict=True):
        bend += np.deg2rad(max(0.0, degrees + rng.normal(0, 2 + 0.04 * degrees)))
        place = place + length * (np.cos(bend) * along - np.sin(bend) * out)
        joints.append(place)
        dorsal.append(np.cos(bend) * out + np.sin(bend) * along)


def _bend_thumb(rng: np.random.Generator, pose: Pose, joints: list[Floats], dorsal: list[Floats]) -> None:
    place = np.array(_THUMB_BASE)
    joints.append(place)
    dorsal.append(np.array([-0.6, 0.0, 0.8]))
    stretch = rng.normal(1, 0.03)
    for length, degrees in zip(_THUMB_BONES, pose.thumb_deg, strict=True):
        away, inward = np.deg2rad(np.array(degrees) + rng.normal(0, 4, 2))
        along = np.array([-np.sin(away) * np.cos(inward), -np.cos(away) * np.cos(inward), -np.sin(inward)])
        place = place + length * stretch * along
        # A thumb is turned on its axis: its nail looks halfway between the hand's back and its outer side.
        nail = np.array([-0.62, -0.1, 0.78])
        nail = nail - (nail @ along) * along
        joints.append(place)
        dorsal.append(nail / np.linalg.norm(nail))


def _rotation(tilt_deg: tuple[float, float, float], *, half_turn: bool) -> Floats:
    away, about, roll = np.deg2rad(tilt_deg)
    about += np.pi if half_turn else 0.0
    about_x = np.array([[1, 0, 0], [0, np.cos(away), -np.sin(away)], [0, np.sin(away), np.cos(away)]])
    about_y = np.array([[np.cos(about), 0, np.sin(about)], [0, 1, 0], [-np.sin(about), 0, np.cos(about)]])
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return np.asarray(about_z @ about_x @ about_y)
