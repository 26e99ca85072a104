"""A camera that moves over a still, drawn scene."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from mar_edge.errors import SourceError
from mar_edge.runtime.sources.demo.camera_path import LABELS, CameraPath, motion_of
from mar_edge.runtime.sources.demo.scene import dead_leaves
from mar_edge.runtime.sources.demo.show import Film, Part, check_labels, seen

SCRIPT: tuple[Part, ...] = (
    # label, seconds, speed (see `camera_path.motion_of`)
    ("still", 4, 0),
    ("pan_right", 4, 0.45),
    ("still", 4, 0),
    ("tilt_down", 4, 0.35),
    ("zoom_in", 4, 0.30),
    ("pan_left", 4, 0.40),
    ("roll_clockwise", 4, 22),
    ("still", 4, 0),
    ("shake", 4, 0.03),
    ("tilt_up", 4, 0.40),
    ("zoom_out", 4, 0.30),
    ("roll_counter_clockwise", 4, 22),
)

_SCENE_PX = 2048


class CameraShow:
    """Moves of the camera, each of which lasts for some seconds.

    Args:
        script: (label, seconds, speed) one after another; by default every move.

    Raises:
        SourceError: if the script is empty, or has an unknown label or a move without its speed.
    """

    def __init__(self, script: Sequence[Part] = SCRIPT) -> None:
        check_labels(script, LABELS)
        self.script = tuple(script)
        self.idle: str | None = None
        self._moves = [(part[1], motion_of(part[0], _speed_of(part))) for part in self.script]

    def film(self, size_px: tuple[int, int], seed: int) -> Film:
        """Draw the scene; see `Show.film`."""
        rng = np.random.default_rng(seed)
        blurred = cv2.GaussianBlur(dead_leaves(rng, _SCENE_PX, shapes=900), (0, 0), 1.0)
        scene = np.asarray(blurred, dtype=np.uint8)
        path = CameraPath(self._moves, rng)
        return lambda script_s: seen(scene, path, script_s, size_px, 640)


def _speed_of(part: Part) -> float:
    if len(part) == 3:
        return part[2]
    if part[0] != "still":
        raise SourceError(f"demo script has no speed for {part[0]}; write (label, seconds, speed)")
    return 0.0
