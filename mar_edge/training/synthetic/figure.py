"""A jointed figure that jumps, runs, sits down, stands up, turns and walks.

Lengths are in legs (hip to ankle is 1), angles in radians. Axes of a figure: forward, to its left, up.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Curve: TypeAlias = NDArray[np.float64]
"""A quantity over time (T,)."""

ACTIONS = ("Jump", "Run", "Sit", "Stand", "Turn", "Walk")

SKIN, LEGS, TOP, SHOES, HAIR = range(5)
PARTS = 5

WAIST = -3
"""Index of the trunk in `limbs`; it starts at the hip."""

HEIGHT = 1.85
"""Height of a standing figure, in legs."""


class Pose(NamedTuple):
    """How a figure moves.

    Attributes:
        thigh, knee, arm, elbow: bends of both sides (2, T); forward is positive, a knee bends back.
        lean: of the trunk, forward (T,).
        forward: how far it has come (T,).
        air: feet above the ground (T,).
        yaw: how far it has turned (T,).
    """

    thigh: Curve
    knee: Curve
    arm: Curve
    elbow: Curve
    lean: Curve
    forward: Curve
    air: Curve
    yaw: Curve


class Limb(NamedTuple):
    """A capsule between two joints.

    Attributes:
        start, end: joints over time (T, 3), forward, left and up.
        thickness: in legs.
        part: one of SKIN, LEGS, TOP, SHOES, HAIR.
    """

    start: Curve
    end: Curve
    thickness: float
    part: int


def perform(action: str, times_s: Curve, rng: np.random.Generator) -> Pose:
    """Draw the parameters of an action, and compute its motion.

    Args:
        action: one of `ACTIONS`.
        times_s: moments (T,), from 0.
        rng: draws speed, size and manner of the movement.
    """
    if action in ("Run", "Walk"):
        return _stride(times_s, rng, runs=action == "Run")
    if action in ("Sit", "Stand"):
        return _sit(times_s, rng, down=action == "Sit")
    return _jump(times_s, rng) if action == "Jump" else _turn(times_s, rng)


def _still(times_s: Curve, rng: np.random.Generator) -> Pose:
    one, both = np.zeros(len(times_s)), np.zeros((2, len(times_s)))
    return Pose(both, both, both, both + rng.uniform(0, 0.5), one, one, one, one)


def _stride(times_s: Curve, rng: np.random.Generator, *, runs: bool) -> Pose:
    rate_hz = rng.uniform(1.2, 1.7) if runs else rng.uniform(0.75, 1.1)
    reach = rng.uniform(0.5, 0.9) if runs else rng.uniform(0.3, 0.5)
    speed = rng.uniform(2.2, 4.5) if runs else rng.uniform(0.9, 1.7)  # legs per second
    phase = 2 * np.pi * (rate_hz * times_s + rng.random())
    sides = phase + np.pi * np.arange(2)[:, None]
    lag = 1.9 if runs else 1.6  # a knee bends most while its leg swings forward
    bend = (1.3 if runs else 0.7) * reach * np.clip(np.sin(sides - lag) + 0.3, 0, 2)
    still = _still(times_s, rng)
    return still._replace(
        thigh=reach * np.sin(sides) + (0.15 if runs else 0),
        knee=bend + (0.2 if runs else 0.03),
        arm=-reach * (0.9 if runs else 0.7) * np.sin(sides),
        elbow=still.elbow + (1.2 if runs else 0.1),
        lean=still.lean + (0.15 if runs else 0.04),
        forward=speed * times_s,
        air=0.09 * np.abs(np.sin(phase)) if runs else still.air,
    )


def _sit(times_s: Curve, rng: np.random.Generator, *, down: bool) -> Pose:
    start_s, takes_s, depth = rng.uniform(0.05, 0.8), rng.uniform(0.7, 1.7), 1.5 * rng.uniform(0.6, 1.1)
    end_s = start_s + takes_s
    sat = _smooth(times_s, start_s, end_s)
    sat = sat if down else 1 - sat
    between = 4 * sat * (1 - sat)
    # a figure that stands up often leaves in another direction, one that sits down comes from another
    aside = rng.uniform(-1.5, 1.5) * (rng.random() < 0.4)
    turned = 1 - _smooth(times_s, start_s - 0.8, start_s + 0.2) if down else _smooth(times_s, end_s - 0.2, end_s + 0.8)
    still = _still(times_s, rng)
    arm = 0.32 * sat * rng.uniform(0, 2.6) + 0.4 * between
    return still._replace(
        thigh=np.tile(depth * sat, (2, 1)),
        knee=np.tile(depth * sat, (2, 1)),
        arm=np.tile(arm, (2, 1)),
        elbow=still.elbow + 0.5 * sat,
        lean=rng.uniform(0.3, 1.3) * between + rng.uniform(-0.2, 0.3) * sat,
        forward=-0.35 * sat,
        yaw=aside * turned,
    )


def _jump(times_s: Curve, rng: np.random.Generator) -> Pose:
    start_s, height, tempo = rng.uniform(-0.3, 0.7), rng.uniform(0.15, 0.7), rng.uniform(0.6, 1.2)
    flight_s, crouch_s, land_s = 0.5 * np.sqrt(height / 0.45), 0.35 * tempo, 0.28 * tempo
    every_s = crouch_s + 0.12 + flight_s + rng.uniform(0.2, 0.6)
    crouch, air, swing = np.zeros((3, len(times_s)))
    for jump in range(int(rng.integers(1, 4))):
        begins_s = start_s + jump * every_s
        leaves_s = begins_s + crouch_s + 0.12
        lands_s = leaves_s + flight_s
        flown = np.clip((times_s - leaves_s) / flight_s, 0, 1)
        air = air + 4 * height * flown * (1 - flown)
        low_s = begins_s + crouch_s
        crouch = crouch + _smooth(times_s, begins_s, low_s) * (1 - _smooth(times_s, low_s, low_s + 0.15))
        crouch = crouch + 0.7 * _smooth(times_s, lands_s - 0.04, lands_s + 0.12) * (
            1 - _smooth(times_s, lands_s + 0.12, lands_s + 0.12 + land_s)
        )
        raised = _smooth(times_s, begins_s + 0.6 * crouch_s, low_s + 0.2)
        swing = swing + raised * (1 - _smooth(times_s, lands_s - 0.1, lands_s + 0.3))
    bend = crouch * rng.uniform(0.3, 0.9)
    far = rng.uniform(-0.2, 1) * rng.integers(0, 2)
    return _still(times_s, rng)._replace(
        thigh=np.tile(bend, (2, 1)),
        knee=np.tile(1.9 * bend, (2, 1)),
        arm=np.tile(swing * rng.uniform(0, 2.6) - 0.7 * crouch, (2, 1)),
        lean=0.6 * bend,
        forward=far * _smooth(times_s, start_s, start_s + 1),
        air=air,
    )


def _turn(times_s: Curve, rng: np.random.Generator) -> Pose:
    start_s, takes_s = rng.uniform(0.05, 0.7), rng.uniform(0.7, 1.6)
    turned = _smooth(times_s, start_s, start_s + takes_s)
    between = 4 * turned * (1 - turned)
    sides = np.arange(2)[:, None]
    step = between * 0.3 * np.clip(np.sin(2 * np.pi * (1.3 * times_s + 0.5 * sides + rng.random())), 0, 1)
    return _still(times_s, rng)._replace(
        thigh=step,
        knee=1.6 * step,
        arm=between * 0.25 * np.sin(2 * np.pi * times_s + 3 * sides),
        yaw=rng.choice([-1, 1]) * rng.uniform(1.2, 3.3) * turned,
    )


def limbs(pose: Pose, rng: np.random.Generator) -> list[Limb]:
    """Return the capsules of a figure; its lowest foot is on the ground, except for `air`."""
    drop = 0.5 * np.cos(pose.thigh) + 0.5 * np.cos(pose.thigh - pose.knee)  # (2, T)
    hip_f, hip_u = pose.forward, drop.max(axis=0) + pose.air
    lean = pose.lean
    sleeves = SKIN if rng.random() < 0.7 else TOP
    out = []
    for side, left in enumerate((-0.1, 0.1)):
        shin = pose.thigh[side] - pose.knee[side]
        hip = _joint(hip_f, left, hip_u)
        knee = hip + _down(pose.thigh[side], 0.5)
        ankle = knee + _down(shin, 0.5)
        shoulder = _joint(hip_f + 0.55 * np.sin(lean), 2.1 * left, hip_u + 0.55 * np.cos(lean))
        elbow = shoulder + _down(pose.arm[side], 0.33)
        wrist = elbow + _down(pose.arm[side] + pose.elbow[side], 0.3)
        flank = _joint(hip_f + 0.6 * np.sin(lean), 1.4 * left, hip_u + 0.6 * np.cos(lean))
        out += [
            Limb(hip, knee, 0.17, LEGS),
            Limb(knee, ankle, 0.13, LEGS),
            Limb(ankle, ankle + np.array([0.14, 0, -0.02]), 0.1, SHOES),
            Limb(shoulder, elbow, 0.11, TOP),
            Limb(elbow, wrist, 0.085, sleeves),
            Limb(hip, flank, 0.16, TOP),
        ]
    waist, neck = _joint(hip_f, 0, hip_u), _joint(hip_f + 0.6 * np.sin(lean), 0, hip_u + 0.6 * np.cos(lean))
    head = _joint(hip_f + 0.8 * np.sin(0.9 * lean), 0, hip_u + 0.8 * np.cos(0.9 * lean))
    return [
        *out,
        Limb(waist, neck, 0.3, TOP),
        Limb(head, head + np.array([0.02, 0, 0.07]), 0.22, SKIN),
        Limb(head + np.array([-0.07, 0, 0.06]), head + np.array([-0.05, 0, 0.1]), 0.2, HAIR),
    ]


def _joint(forward: Curve, left: float, up: Curve) -> Curve:
    return np.stack([forward, np.full_like(forward, left), up], axis=1)


def _down(angle: Curve, length: float) -> Curve:
    """Return the vector (T, 3) along a limb that hangs down at an angle."""
    return np.stack([length * np.sin(angle), np.zeros_like(angle), -length * np.cos(angle)], axis=1)


def _smooth(times_s: Curve, start_s: float, end_s: float) -> Curve:
    """Rise from 0 to 1 between two moments."""
    share = np.clip((times_s - start_s) / (end_s - start_s), 0, 1)
    return share * share * (3 - 2 * share)
