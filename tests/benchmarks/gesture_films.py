"""Films whose brightness says which gesture they show, and a model that reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from judging import CLASSES
from numpy.typing import NDArray

from mar_edge.runtime.model import Model
from mar_edge.testing import FakeEngine

RATE_FPS = 10.0


class DrawnFilm(NamedTuple):
    """A film with its truth, as a generator gives it."""

    clip: NDArray[np.uint8]
    strokes: tuple[tuple[str, float, float], ...]

    @property
    def time_s(self) -> NDArray[np.float64]:
        """When its frames were taken."""
        return at(self.clip)


def reader(classes: int = 8) -> Model:
    """Return a streaming model that names the class by its brightness; it is warm after 0.8 s."""
    return Model(FakeEngine(labels=CLASSES[classes], streaming=True, keep=False))


def shows(*parts: tuple[str, float], classes: int = 8) -> NDArray[np.uint8]:
    """Return a film of one label after the other for some seconds each, uint8 (T, 48, 64, 3)."""
    levels = [
        np.full(round(seconds * RATE_FPS), (CLASSES[classes].index(label) + 0.5) * 256 / classes)
        for label, seconds in parts
    ]
    grey = np.concatenate(levels).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(grey[:, None, None, None], (len(grey), 48, 64, 3)))


def at(clip: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the times of a film's frames, float64 (T,)."""
    return np.arange(len(clip)) / RATE_FPS


def gesture(label: str, *, strokes: Sequence[tuple[str, float, float]] | None = None) -> DrawnFilm:
    """Return a film of 5 s: a stroke from 1 s to 2 s, which the model begins to name as it ends, for 1 s."""
    told = ((label, 1.0, 2.0),) if strokes is None else tuple(strokes)
    return DrawnFilm(shows(("none", 2.0), (label, 1.0), ("none", 2.0)), told)
