"""Draws a person who faces the camera: head, trunk and the upper arm of the hand that gestures."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.training.synthetic.gestures.arm import Layer, paint
from mar_edge.training.synthetic.gestures.shapes import Points, Rng


@dataclass(frozen=True)
class Person:
    """How a person looks, and where they stand; lengths in picture heights.

    Attributes:
        middle: (x, y) between the shoulders.
        head: height of the head.
        side: -1 if the gesturing hand is at the left in the picture, 1 at the right.
        skin, top, hair: colours (3,).
        sway: how far the trunk moves to and fro.
        sway_hz: how often.
        phase: of the sway.
    """

    middle: Points
    head: float
    side: int
    skin: NDArray[np.float64]
    top: NDArray[np.float64]
    hair: NDArray[np.float64]
    sway: float
    sway_hz: float
    phase: float

    def offset(self, time_s: float) -> Points:
        """Return how far the trunk is from its middle at a time (2,)."""
        angle = 2 * np.pi * (self.sway_hz * time_s + self.phase)
        return self.sway * np.array([np.sin(angle), 0.3 * np.sin(2 * angle)])

    def shoulder(self, time_s: float) -> Points:
        """Return the place of the gesturing arm's shoulder (2,)."""
        return self.middle + self.offset(time_s) + np.array([self.side * 0.85, 0.18]) * self.head

    def elbow(self, hand: Points, time_s: float) -> Points:
        """Return the place of the elbow for a hand: between it and the shoulder, hanging down and outwards."""
        shoulder = self.shoulder(time_s)
        way = hand - shoulder
        slack = max(0.0, 1.0 - float(np.hypot(*way)) / (2.9 * self.head))
        return shoulder + 0.5 * way + np.array([0.5 * self.side, 1.2]) * self.head * (0.25 + slack)


def draw_person(aspect: float, length: float, skin: NDArray[np.float64], rng: Rng) -> Person:
    """Draw a person.

    Args:
        aspect: of the picture.
        length: of their hand, in picture heights.
        skin: colour of the hand.
        rng: source of all random numbers.
    """
    head = length * rng.uniform(1.1, 1.45)
    return Person(
        middle=np.array([aspect * rng.uniform(0.25, 0.75), rng.uniform(0.3, 0.7)]),
        head=float(head),
        side=int(rng.choice([-1, 1])),
        skin=skin * np.exp(rng.normal(0, 0.08)),
        top=rng.uniform(10, 220) * np.exp(rng.normal(0, 0.35, 3)),
        hair=rng.uniform(5, 120) * np.exp(rng.normal(0, 0.2, 3)),
        sway=float(rng.choice([0.0, rng.uniform(0.005, 0.05)])),
        sway_hz=float(rng.uniform(0.1, 0.6)),
        phase=float(rng.random()),
    )


def paint_person(person: Person, elbow: Points, time_s: float, aspect: float, side_px: int) -> Layer:
    """Return the layer of a person without the forearm.

    Args:
        person: who.
        elbow: (x, y) of the gesturing arm's elbow.
        time_s: moment.
        aspect: width / height of the picture, which is squashed into the square layer.
        side_px: S.
    """
    layer = np.zeros((side_px, side_px, 4), np.uint8)
    squash = np.array([side_px / aspect, float(side_px)])
    head = person.head
    neck = person.middle + person.offset(time_s)

    def pixels(points: Points) -> NDArray[np.int32]:  # in 1/16
        return np.asarray(np.clip(points * squash * 16, -60_000, 60_000), np.int32)

    def blob(centre: Points, size: tuple[float, float], colour: NDArray[np.float64]) -> None:
        x, y = pixels(centre).tolist()
        wide, high = pixels(np.array(size)).tolist()
        cv2.ellipse(layer, (x, y), (wide, high), 0, 0, 360, paint(colour), -1, cv2.LINE_AA, 4)

    def limb(start: Points, end: Points, width: float, colour: NDArray[np.float64]) -> None:
        thickness_px = max(1, round(width * float(squash.mean())))
        a, b = (tuple(pixels(point).tolist()) for point in (start, end))
        cv2.line(layer, a, b, paint(colour), thickness_px, cv2.LINE_AA, 4)

    other = neck + np.array([-person.side * 0.85, 0.18]) * head
    limb(other, other + np.array([-person.side * 0.15, 1.5]) * head, 0.4 * head, person.top * 0.9)
    trunk = neck + np.array([(-0.85, 0.08), (0.85, 0.08), (0.75, 2.6), (-0.75, 2.6)]) * head
    cv2.fillConvexPoly(layer, pixels(trunk), paint(person.top), cv2.LINE_AA, 4)
    limb(neck + np.array([0, 0.1]) * head, neck - np.array([0, 0.3]) * head, 0.4 * head, person.skin * 0.8)
    blob(neck - np.array([0, 0.72]) * head, (0.38 * head, 0.52 * head), person.hair)
    blob(neck - np.array([0, 0.62]) * head, (0.33 * head, 0.44 * head), person.skin)
    limb(person.shoulder(time_s), elbow, 0.42 * head, person.top * 0.95)
    return layer
