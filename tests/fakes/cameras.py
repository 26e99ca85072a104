"""Cameras without hardware, which stand in for OpenCV's capture."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


class MovingCamera:
    """A capture that pans over a random scene 60 times a second, with answers of the test's at some reads; then it fails.

    Args:
        answers: what some reads (counted from 0) give instead of a picture: a (good, picture) pair, or an error to raise.
        change: applied to every picture.
        reads: after so many nothing comes any more.
    """

    def __init__(
        self,
        answers: dict[int, Any] | None = None,
        *,
        change: Callable[[NDArray[np.uint8]], NDArray[Any]] = lambda picture: picture,
        reads: int = 260,
    ) -> None:
        self.answers = answers or {}
        self.change = change
        self.reads = reads
        self.index = 0
        self.released = False
        self.scene = np.random.default_rng(0).integers(0, 255, (48, 2000, 3), dtype=np.uint8)

    def isOpened(self) -> bool:
        """As OpenCV's."""
        return True

    def read(self) -> tuple[bool, Any]:
        """As OpenCV's."""
        index, self.index = self.index, self.index + 1
        time.sleep(1 / 60)
        answer = self.answers.get(index)
        if isinstance(answer, Exception):
            raise answer
        if answer is not None or index >= self.reads:
            return answer or (False, None)
        left = 3 * (index % 600)
        return True, self.change(np.ascontiguousarray(self.scene[:, left : left + 64]))

    def release(self) -> None:
        """As OpenCV's."""
        self.released = True


class PictureCamera:
    """A capture that gives pictures one after another, when told to; then it ends, or blocks."""

    def __init__(self, pictures: list[NDArray[np.uint8]], *, opens: bool = True) -> None:
        self.pictures = list(pictures)
        self.opens = opens
        self.released = False
        self.may_read = threading.Semaphore(0)

    def isOpened(self) -> bool:
        """As OpenCV's."""
        return self.opens

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
        """As OpenCV's; waits until the test allows a picture."""
        self.may_read.acquire(timeout=5)
        return (True, self.pictures.pop(0)) if self.pictures else (False, None)

    def release(self) -> None:
        """As OpenCV's."""
        self.released = True


class AdjustableCamera(MovingCamera):
    """A capture that can be asked for settings, and has its own mind.

    Args:
        accepted: the values that it takes over; others are ignored, as drivers do.
        values: what it says at first, by OpenCV's property.
    """

    def __init__(self, *, accepted: dict[int, set[float]], values: dict[int, float]) -> None:
        super().__init__()
        self.accepted = accepted
        self.values = dict(values)
        self.asked: list[tuple[int, float]] = []

    def set(self, key: int, value: float) -> bool:
        """As OpenCV's."""
        self.asked.append((key, value))
        if value not in self.accepted.get(key, set()):
            return False
        self.values[key] = value
        return True

    def get(self, key: int) -> float:
        """As OpenCV's: 0 for what it does not know."""
        return self.values.get(key, 0.0)
