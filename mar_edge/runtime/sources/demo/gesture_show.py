"""A hand that draws gestures before a camera that stands, as its owner sees it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from mar_edge.errors import SourceError
from mar_edge.runtime.sources.demo.arm import Arm
from mar_edge.runtime.sources.demo.camera_path import CameraPath, Motion
from mar_edge.runtime.sources.demo.hand_path import MIN_PAUSE_S, HandPath
from mar_edge.runtime.sources.demo.scene import room
from mar_edge.runtime.sources.demo.show import Film, Part, Picture, check_labels, seen
from mar_edge.runtime.sources.demo.strokes import SHAPES

NONE = "none"

SCRIPT: tuple[Part, ...] = (
    # label, seconds
    (NONE, 2.6),
    ("swipe_right", 0.7),
    (NONE, 2.6),
    ("circle", 1.3),
    (NONE, 4.0),
    ("swipe_left", 0.7),
    (NONE, 2.4),
    ("tick", 0.9),
    (NONE, 4.0),
    ("swipe_down", 0.6),
    (NONE, 2.6),
    ("cross", 1.5),
    (NONE, 4.0),
    ("swipe_up", 0.6),
    (NONE, 2.8),
)

_SCENE_PX = 1024
_STROKE_S = (0.3, 10.0)
_EXPOSURE_S = 1 / 60
_BLUR_PX = 3.0  # largest step of the hand between two exposures of one picture


class GestureShow:
    """Gestures of one hand; between them it rests, returns slowly, or leaves the picture and comes back.

    Args:
        script: (label, seconds) one after another; by default every gesture.

    Raises:
        SourceError: if the script is empty, has an unknown label or a speed, or does not have `none` at its begin, at its end and
            between two gestures, or not for long enough.
    """

    def __init__(self, script: Sequence[Part] = SCRIPT) -> None:
        check_labels(script, (NONE, *SHAPES))
        labels = [part[0] for part in script]
        if any(len(part) != 2 for part in script):
            raise SourceError("demo script of gestures has speeds; write (label, seconds)")
        if any((label == NONE) != (index % 2 == 0) for index, label in enumerate(labels)) or labels[-1] != NONE:
            raise SourceError(
                f"demo script of gestures is {', '.join(labels)}; begin and end with {NONE}, and put it between"
            )
        for label, seconds in (part[:2] for part in script):
            if label == NONE and not seconds >= MIN_PAUSE_S:
                raise SourceError(
                    f"demo script of gestures has {NONE} for {seconds:g} s; give it {MIN_PAUSE_S:g} s or more"
                )
            if label != NONE and not _STROKE_S[0] <= seconds <= _STROKE_S[1]:
                raise SourceError(
                    f"demo script has {label} for {seconds:g} s; give it {_STROKE_S[0]:g} to {_STROKE_S[1]:g} s"
                )
        self.script = tuple(script)
        self.idle: str | None = NONE

    def film(self, size_px: tuple[int, int], seed: int) -> Film:
        """Draw the scene, the arm and its way; see `Show.film`."""
        rng = np.random.default_rng(seed)
        scene = _muted(np.asarray(cv2.GaussianBlur(room(rng, _SCENE_PX), (0, 0), 1.5), dtype=np.uint8))
        length_s = sum(part[1] for part in self.script)
        camera = CameraPath([(length_s, Motion(jitter=0.0012, jitter_roll_deg=0.08, jitter_hz=1.5))], rng)
        width, height = size_px
        arm = Arm(rng, size_px)
        way = HandPath(rng, self.script, reach=width / height)

        def picture_at(script_s: float) -> Picture:
            picture = seen(scene, camera, script_s, size_px, 700)
            moved_px = float(np.hypot(*(way.at(script_s) - way.at(script_s - _EXPOSURE_S)))) * height
            exposures = int(np.clip(np.ceil(moved_px / _BLUR_PX), 1, 8))
            times_s = script_s - _EXPOSURE_S * np.arange(exposures) / exposures
            arm.draw(picture, [way.at(float(time_s)) for time_s in times_s])
            return picture

        return picture_at


def _muted(scene: Picture) -> Picture:
    """Return a scene in the pale colours of a room's walls."""
    grey = scene.mean(axis=-1, keepdims=True)
    return np.asarray(60 + 0.5 * (0.35 * scene + 0.65 * grey), dtype=np.uint8)
