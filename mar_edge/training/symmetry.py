"""Mirrors, flips, transposes and reverses clips of camera moves and changes their labels with them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mar_edge.runtime.camera_path import LABELS

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


def apply(clip: NDArray[np.uint8], label: int, symmetries: tuple[str, ...]) -> tuple[NDArray[np.uint8], int]:
    """Apply symmetries in order.

    Args:
        clip: square frames (T, S, S, 3).
        label: class index into `LABELS`.
        symmetries: names from `SYMMETRIES`.

    Returns:
        A view of the clip and its new label.
    """
    for name in symmetries:
        if name == "mirror":
            clip = clip[:, :, ::-1]
        elif name == "flip":
            clip = clip[:, ::-1]
        elif name == "transpose":
            clip = clip.swapaxes(1, 2)
        else:
            clip = clip[::-1]
        label = int(_TABLES[name][label])
    return clip, label


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
