"""Films hands that gesture: before a world that a virtual camera looks at, with exact classes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.runtime.sources.demo.camera_path import CameraPath, Motion
from mar_edge.training.synthetic.gestures.acts import perform
from mar_edge.training.synthetic.gestures.arm import Arm, Layer, draw_arm, over, paint_arm
from mar_edge.training.synthetic.gestures.cutouts import Cutout
from mar_edge.training.synthetic.gestures.hand_path import Stage
from mar_edge.training.synthetic.gestures.performance import Performance, Stroke
from mar_edge.training.synthetic.gestures.person import Person, draw_person, paint_person
from mar_edge.training.synthetic.gestures.shapes import Points, Rng
from mar_edge.training.synthetic.moves import draw_motion
from mar_edge.training.synthetic.moving_objects import draw_objects
from mar_edge.training.synthetic.picture_quality import degrade
from mar_edge.training.synthetic.virtual_camera import RENDER, Filming, draw_shot, frame_times
from mar_edge.training.synthetic.worlds import World

MOVES = ("pan_left", "pan_right", "tilt_up", "tilt_down", "zoom_in", "zoom_out", "shake")
"""What the camera does while a hand gestures before it, in the few clips in which it moves."""


DARKEST_GAIN = 0.25
"""Darkest picture, against a well lit one: a hand must still be seen."""


class GestureFilm(NamedTuple):
    """A clip of a hand.

    Attributes:
        clip: uint8 (T, S, S, 3).
        clean: the same before a cheap camera spoiled it.
        classes: class index of every frame (T,).
        strokes: what was drawn, in order; times in seconds from the first frame.
        time_s: of every frame (T,).
        places: of the hand (T, 2), in picture widths and heights from the upper left corner; outside 0 to 1 it is not seen.
    """

    clip: NDArray[np.uint8]
    clean: NDArray[np.uint8]
    classes: NDArray[np.int64]
    strokes: tuple[Stroke, ...]
    time_s: NDArray[np.float64]
    places: NDArray[np.float64]


@dataclass(frozen=True)
class _Scene:
    """Everything in front of the camera.

    Attributes:
        arm: how the arm looks.
        acts: what its hand does.
        person: whose arm it is; None if the camera is worn by them.
        elbow: where the elbow is while the hand is at home, of a worn camera.
        home: where the hand is at home.
        follows: how far the elbow goes with the hand, 0 to 1.
        lag_deg_s: turn of the hand against its motion, degrees per picture height per second.
        aspect: of the picture.
    """

    arm: Arm
    acts: Performance
    person: Person | None
    elbow: Points
    home: Points
    follows: float
    lag_deg_s: float
    aspect: float

    def place(self, time_s: float) -> Points:
        """Return where the hand is (2,), in picture heights."""
        place = self.acts.at(time_s)[0]
        return place if self.person is None else place + self.person.offset(time_s)

    def layer(self, time_s: float, side_px: int) -> Layer | None:
        """Return what is seen of the person at a moment; None for nothing."""
        _, turn_deg, pose = self.acts.at(time_s)
        place = self.place(time_s)
        turn_deg += float(np.clip(self.lag_deg_s * (self.place(time_s - 0.04) - place)[0] / 0.04, -25, 25))
        if self.person is not None:
            elbow = self.person.elbow(place, time_s)
            layer = paint_person(self.person, elbow, time_s, self.aspect, side_px)
        else:
            elbow = self.elbow + self.follows * (place - self.home)
            layer = None
            if np.any(place < -1.5 * self.arm.length) or np.any(
                place > np.array([self.aspect, 1]) + 1.5 * self.arm.length
            ):
                return None
        arm = paint_arm(self.arm, pose, place, elbow, turn_deg, self.aspect, side_px)
        return arm if layer is None else over(layer, arm)


def film_gestures(
    worlds: list[World],
    world: World,
    hands: list[Cutout],
    filming: Filming,
    labels: tuple[str, ...],
    rng: Rng,
    *,
    negative: bool = False,
    plain: bool = False,
) -> GestureFilm:
    """Film one clip.

    Args:
        worlds: from which the surfaces of passing objects are cut.
        world: what is behind the hand.
        hands: to choose from.
        filming: the settings.
        labels: classes; a shape that is none of them is class 0.
        rng: source of all random numbers.
        negative: the hand does all kinds of things, but draws no gesture.
        plain: a large hand before a good camera that is worn and stands still.
    """
    time_s = frame_times(filming, rng)
    aspect = float(rng.choice([1.0, 4 / 3, 4 / 3, 1.5, 16 / 9, 3 / 4, 9 / 16]))
    duration_s = float(time_s[-1])
    camera = CameraPath([(duration_s + 0.3, Motion())], rng) if plain else _camera(duration_s, filming, rng)
    shot = draw_shot(world, camera, time_s, aspect, filming, rng)
    scene = _scene(hands, aspect, duration_s, rng, negative=negative, plain=plain)
    passing = draw_objects(worlds, shot.path, time_s, 0.3, rng) if rng.random() < (0 if plain else 0.3) else []
    exposure_s = float(rng.choice([0.0, rng.uniform(0.004, 0.06)]))
    frames = []
    for t in time_s:
        view = shot.view(float(t))
        for item in passing:
            item.paint(view, shot.path.at(t), t, aspect)
        frames.append(_with(view, scene, float(t), exposure_s))
    clean = np.stack(frames)
    return GestureFilm(
        clip=clean if plain else degrade(clean, rng, darkest=DARKEST_GAIN),
        clean=clean,
        classes=scene.acts.classes(time_s, labels),
        strokes=scene.acts.strokes,
        time_s=time_s,
        places=np.stack([scene.place(float(t)) for t in time_s]) / [aspect, 1],
    )


def _camera(duration_s: float, filming: Filming, rng: Rng) -> CameraPath:
    """Draw what the camera does: mostly nothing, or it trembles, and sometimes moves."""
    kind = rng.choice(["still", "tremble", "move", "knock"], p=[0.45, 0.3, 0.18, 0.07])
    motion = draw_motion("still", filming.margin, rng) if kind != "still" else Motion()
    if kind == "tremble":
        motion = replace(
            motion, jitter=float(rng.uniform(0.001, 0.008)), jitter_roll_deg=float(rng.uniform(0, 1.0)), jitter_hz=3.0
        )
    if kind not in ("move", "knock"):
        return CameraPath([(duration_s + 0.3, motion)], rng, start_deg=float(rng.normal(0, 5)))
    move = draw_motion(str(rng.choice(MOVES)), filming.margin, rng)
    if kind == "move":
        slower = float(rng.uniform(0.15, 0.8))
        move = replace(
            move,
            right_per_s=slower * move.right_per_s,
            down_per_s=slower * move.down_per_s,
            zoom_per_s=0.4 * slower * move.zoom_per_s,
        )
    move_s = float(rng.uniform(0.2, 0.5) if kind == "knock" else rng.uniform(0.8, duration_s))
    before_s = float(rng.uniform(0, max(0.01, duration_s - move_s)))
    segments = [(before_s, motion), (move_s, move), (max(0.01, duration_s - before_s - move_s) + 0.3, motion)]
    return CameraPath(segments, rng, start_deg=float(rng.normal(0, 5)))


def _scene(hands: list[Cutout], aspect: float, duration_s: float, rng: Rng, *, negative: bool, plain: bool) -> _Scene:
    facing = rng.random() < (0 if plain else 0.3)
    length = _between(rng, *((0.1, 0.3) if facing else (0.3, 0.6) if plain else (0.25, 0.75)))
    arm = draw_arm(_poses(hands, rng), length, rng)
    person = draw_person(aspect, length, arm.hands[0].skin * arm.tint, rng) if facing else None
    if person is not None:
        arm = replace(arm, sleeve=float(rng.choice([0.0, 1.0])), cloth=person.top, bend_deg=arm.bend_deg * 0.6)
        home = (
            person.shoulder(0) + np.array([person.side * rng.uniform(-0.6, 1.0), rng.uniform(-1.0, 0.8)]) * person.head
        )
        away = person.shoulder(0) + np.array([person.side * 0.5, 2.4]) * person.head  # it hangs down
        elbow = away
    else:
        home = np.array([aspect * rng.uniform(0.3, 0.7), rng.uniform(0.35, 0.7)])
        elbow = _elbow(home, length, aspect, rng)
        way = (elbow - home) / np.hypot(*(elbow - home))
        away = home + way * (1.2 + length)
    if person is None:
        size = _between(rng, *((0.35, 0.6) if plain else (0.22, 0.6)))
    else:
        size = min(0.7, length * _between(rng, 1.2, 3.2))
    stage = Stage(aspect, length, home, away, size, sweeps=person is None)
    return _Scene(
        arm=arm,
        acts=perform(stage, duration_s, rng, negative=negative),
        person=person,
        elbow=elbow,
        home=home,
        follows=float(rng.uniform(0.25, 0.95)),
        lag_deg_s=float(rng.normal(0, 6)),
        aspect=aspect,
    )


def _between(rng: Rng, low: float, high: float) -> float:
    """Draw a number, log-uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _poses(hands: list[Cutout], rng: Rng) -> tuple[Cutout, ...]:
    """Draw the poses of one hand: mostly it points."""
    pointing = [hand for hand in hands if hand.points] or hands
    first = pointing if rng.random() < 0.55 else hands
    chosen = first[int(rng.integers(len(first)))]
    # further poses are of hands with about the same colour
    near = sorted(
        rng.integers(len(hands), size=24).tolist(), key=lambda i: float(np.abs(hands[i].skin - chosen.skin).sum())
    )
    return (chosen, *(hands[index] for index in near[:3]))


def _elbow(home: Points, length: float, aspect: float, rng: Rng) -> Points:
    """Draw where the elbow of a worn camera's user is: below the picture, beside it, or above."""
    side = rng.choice(["below", "beside", "above"], p=[0.82, 0.13, 0.05])
    reach = length * rng.uniform(1.6, 2.6)
    if side == "below":
        angle = float(np.clip(rng.normal(0, 30), -70, 70))
    elif side == "beside":
        angle = float(rng.choice([-1, 1]) * rng.uniform(70, 110))
    else:
        angle = float(180 + rng.normal(0, 30))
    return home + max(reach, 0.75) * np.array([np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))])


def _with(view: NDArray[np.uint8], scene: _Scene, time_s: float, exposure_s: float) -> NDArray[np.uint8]:
    """Return a view with the person in front, blurred by their motion while the shutter is open."""
    side = view.shape[0]
    moments = [time_s] if exposure_s == 0 else [time_s - exposure_s * part / 3 for part in range(4)]
    layers = [layer for moment in moments if (layer := scene.layer(moment, RENDER * side)) is not None]
    if not layers:
        return view
    small = [cv2.resize(layer, (side, side), interpolation=cv2.INTER_AREA) for layer in layers]
    whole = np.stack(small).sum(axis=0, dtype=np.float32) / np.float32(len(moments))
    out: NDArray[np.uint8] = np.clip(view * (1 - whole[..., 3:] / 255) + whole[..., :3] + 0.5, 0, 255).astype(np.uint8)
    return out
