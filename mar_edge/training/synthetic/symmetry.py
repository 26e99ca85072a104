"""Mirrors, flips, transposes and reverses clips of camera moves and changes their labels with them."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.runtime.sources.demo.camera_path import LABELS

_SWAPS = {
    "mirror": [("pan_left", "pan_right"), ("roll_clockwise", "roll_counter_clockwise")],
    "flip": [("tilt_up", "tilt_down"), ("roll_clockwise", "roll_counter_clockwise")],
    "transpose": [("pan_left", "tilt_up"), ("pan_right", "tilt_down"), ("roll_clockwise", "roll_counter_clockwise")],
    "reverse": [
        ("pan_left", "pan_right"),
        ("tilt_up", "tilt_down"),
        ("zoom_in", "zoom_out"),
        ("roll_clockwise", "roll_counter_clockwise"),
    ],
}
SYMMETRIES = tuple(_SWAPS)


class Film(NamedTuple):
    """A filmed clip.

    Attributes:
        clip: uint8 square frames (T, S, S, 3).
        classes: int64 (T,), class index of every frame; of camera moves, into `LABELS`.
        flow: float32 (t, h, w, 2), right and down, of the world at every token.
    """

    clip: NDArray[np.uint8]
    classes: NDArray[np.int64]
    flow: NDArray[np.float32]

    @property
    def label(self) -> int:
        """Class of the last frame, and so of the last time step."""
        return int(self.classes[-1])

    def steps(self, tubelet_frames: int) -> NDArray[np.int64]:
        """Return the class of every time step (t,): that of its newest frame, which is what a live model should say."""
        return self.classes[tubelet_frames - 1 :: tubelet_frames]


def apply(film: Film, symmetries: tuple[str, ...]) -> Film:
    """Apply symmetries in order.

    Args:
        film: a clip with classes and flow.
        symmetries: names from `SYMMETRIES`.

    Returns:
        The clip after the symmetries.
    """
    clip, classes, flow = film
    for name in symmetries:
        if name == "mirror":  # OpenCV swaps pixels twenty times faster than numpy's strides do
            rows = np.ascontiguousarray(clip).reshape(-1, clip.shape[2], 3)
            clip = np.asarray(cv2.flip(rows, 1), dtype=np.uint8).reshape(clip.shape)
            flow = flow[:, :, ::-1] * np.array([-1, 1], np.float32)
        elif name == "flip":
            clip = clip[:, ::-1]
            flow = flow[:, ::-1] * np.array([1, -1], np.float32)
        elif name == "transpose":
            clip = np.stack([np.asarray(cv2.transpose(frame), dtype=np.uint8) for frame in clip])
            flow = flow.swapaxes(1, 2)[..., ::-1]
        else:
            clip, classes = clip[::-1], classes[::-1]  # a tubelet's newest frame was its oldest: so frames have classes
            flow = -flow[::-1]
        classes = _TABLES[name][classes]
    return Film(clip, classes, flow)


def draw(rng: np.random.Generator) -> tuple[str, ...]:
    """Draw each symmetry with probability one half."""
    return tuple(name for name in SYMMETRIES if rng.random() < 0.5)


def _table(pairs: list[tuple[str, str]]) -> NDArray[np.int64]:
    table = np.arange(len(LABELS))
    for a, b in pairs:
        i, j = LABELS.index(a), LABELS.index(b)
        table[i], table[j] = j, i
    return table


_TABLES = {name: _table(pairs) for name, pairs in _SWAPS.items()}
