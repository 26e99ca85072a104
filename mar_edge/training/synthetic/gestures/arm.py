"""Draws a hand and its arm: from the hand's place and the elbow's, as a layer with its own transparency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.training.synthetic.gestures.cutouts import Cutout
from mar_edge.training.synthetic.gestures.shapes import Points, Rng

Layer: TypeAlias = NDArray[np.uint8]
"""Colours times their alpha, and the alpha (S, S, 4), on which OpenCV draws with smooth edges."""


@dataclass(frozen=True)
class Arm:
    """How an arm looks.

    Attributes:
        hands: cut-outs, one for each pose.
        mirrored: it is the other hand.
        length: of the hand, in picture heights.
        bend_deg: angle between forearm and hand.
        sleeve: share of the forearm, from the elbow, that is covered; 0 to 1.
        cloth: colour of the sleeve (3,).
        stripes: strength of its stripes, 0 for none.
        tint: factors of the colours of hand and skin (3,): the light.
        thick: width of the forearm at the elbow, in those at the wrist.
    """

    hands: tuple[Cutout, ...]
    mirrored: bool
    length: float
    bend_deg: float
    sleeve: float
    cloth: NDArray[np.float64]
    stripes: float
    tint: NDArray[np.float64]
    thick: float


def draw_arm(hands: tuple[Cutout, ...], length: float, rng: Rng) -> Arm:
    """Draw how an arm looks."""
    light = np.exp(rng.normal(0, 0.25)) * np.exp(rng.normal(0, 0.06, 3))
    if rng.random() < 0.12:  # against the light
        light = light * rng.uniform(0.12, 0.4)
    return Arm(
        hands=hands,
        mirrored=bool(rng.random() < 0.5),
        length=length,
        bend_deg=float(rng.normal(0, 16)),
        sleeve=0.0 if rng.random() < 0.45 else float(rng.uniform(0.2, 1.0)),
        cloth=rng.uniform(10, 230) * np.exp(rng.normal(0, 0.3, 3)),
        stripes=float(rng.choice([0.0, rng.uniform(0.1, 0.6)])),
        tint=np.minimum(light, 1.6),
        thick=float(rng.uniform(1.0, 1.7)),
    )


def paint_arm(arm: Arm, pose: int, place: Points, elbow: Points, turn_deg: float, aspect: float, side_px: int) -> Layer:
    """Return the layer of an arm.

    Args:
        arm: how it looks.
        pose: number of its hand.
        place: (x, y) of the hand, in picture heights.
        elbow: (x, y) of the elbow.
        turn_deg: further turn of the hand.
        aspect: width / height of the picture, which is squashed into the square layer.
        side_px: S.
    """
    hand = arm.hands[pose % len(arm.hands)]
    squash = np.array([side_px / aspect, float(side_px)])
    up = place - elbow
    angle = np.arctan2(up[0], -up[1]) + np.deg2rad(arm.bend_deg + turn_deg)  # 0: the forearm points up
    matrix, wrist = _placed(hand, arm, place, float(angle), squash)
    layer = np.zeros((side_px, side_px, 4), np.uint8)
    width = arm.length * hand.width_px / hand.length_px
    _forearm(layer, arm, hand, wrist, elbow, width, squash)
    seen = cv2.warpAffine(hand.rgba, matrix, (side_px, side_px), flags=cv2.INTER_LINEAR)
    return over(layer, np.clip(seen * np.array([*arm.tint, 1.0], np.float32), 0, 255).astype(np.uint8))


def over(below: Layer, above: Layer) -> Layer:
    """Return one layer above another."""
    uncovered = 255 - cv2.cvtColor(above[..., 3], cv2.COLOR_GRAY2BGRA)
    uncovered[..., 3] = uncovered[..., 0]
    return np.asarray(cv2.add(cv2.multiply(below, uncovered, scale=1 / 255), above), np.uint8)


def paint(colour: NDArray[np.float64]) -> tuple[float, ...]:
    """Return what OpenCV draws an opaque colour (3,) with."""
    return (*np.clip(colour, 0, 255).tolist(), 255.0)


def _placed(
    hand: Cutout, arm: Arm, place: Points, angle: float, squash: NDArray[np.float64]
) -> tuple[NDArray[np.float64], Points]:
    """Return the matrix from the cut-out's pixels to the layer's, and the place of the wrist."""
    scale = arm.length / hand.length_px
    up = hand.palm - hand.wrist
    own = np.arctan2(up[0], -up[1])
    flip = np.diag([-1.0 if arm.mirrored else 1.0, 1.0])
    turn = angle - (-own if arm.mirrored else own)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = scale * rotation @ flip
    wrist = place + linear @ (hand.wrist - hand.palm)
    matrix = np.concatenate([linear, (place - linear @ hand.palm)[:, None]], axis=1)
    return squash[:, None] * matrix, wrist


def _forearm(
    layer: Layer, arm: Arm, hand: Cutout, wrist: Points, elbow: Points, width: float, squash: NDArray[np.float64]
) -> None:
    """Paint the forearm, lighter along its middle, and its sleeve."""
    way = elbow - wrist
    length = max(1e-6, float(np.hypot(*way)))
    along = way / length
    across = np.array([-along[1], along[0]])
    start = wrist - along * 0.25 * width  # below the hand's ragged end
    skin = hand.skin * arm.tint

    def strip(begin: float, end: float, share: float, colour: NDArray[np.float64]) -> None:
        """Paint a part of the forearm, `share` of its width."""
        ends = [(begin, width * (1 + (arm.thick - 1) * begin) / 2), (end, width * (1 + (arm.thick - 1) * end) / 2)]
        corners = [start + along * length * at + across * half * share * sign for at, half in ends for sign in (1, -1)]
        corners = [corners[0], corners[1], corners[3], corners[2]]
        pixels = np.clip(np.stack(corners) * squash * 16, -60_000, 60_000).astype(np.int32)
        cv2.fillConvexPoly(layer, pixels, paint(colour), cv2.LINE_AA, 4)

    bare = 1 - arm.sleeve
    for share, light in ((1.0, 0.78), (0.72, 0.92), (0.4, 1.0)):
        if bare > 0:
            strip(0.0, 1.0, share, skin * light)
        if arm.sleeve:
            strip(bare, 1.0, share * 1.25, arm.cloth * light)
    if arm.sleeve and arm.stripes:
        edges = np.linspace(bare, 1.0, 9)
        for begin, end in zip(edges[1::2], edges[2::2], strict=True):
            strip(float(begin), float(end), 1.2, arm.cloth * (1 - arm.stripes))
