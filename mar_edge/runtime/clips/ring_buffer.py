"""The live window: the newest frames of a stream, contiguous in memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class RingBuffer:
    """Keeps the newest `frames` pictures contiguous in memory, in time order.

    Every picture is written twice, `frames` places apart; any `frames` neighbours are then a window, and
    reading it copies nothing.

    Args:
        frames: length of the window.
        shape: shape of one picture, (H, W, 3).
    """

    def __init__(self, frames: int, shape: tuple[int, int, int]) -> None:
        self.frames = frames
        self._data = np.zeros((2 * frames, *shape), np.uint8)
        self._next = 0
        self._held = 0

    def __len__(self) -> int:
        """Pictures held, at most `frames`."""
        return self._held

    @property
    def full(self) -> bool:
        """Whether the window is full."""
        return self._held == self.frames

    @property
    def place(self) -> NDArray[np.uint8]:
        """Where the next picture may be written before it is pushed, (H, W, 3); the window does not show it yet."""
        place: NDArray[np.uint8] = self._data[self._next + self.frames]
        return place

    def push(self, picture: NDArray[np.uint8]) -> None:
        """Add the newest picture (H, W, 3), which may be `place`; the oldest is removed."""
        self._data[self._next + self.frames] = picture
        self._data[self._next] = picture
        self._next = (self._next + 1) % self.frames
        self._held = min(self._held + 1, self.frames)

    def window(self) -> NDArray[np.uint8]:
        """Return the window (frames, H, W, 3), oldest first, as a view that the next push changes.

        Raises:
            ValueError: if the window is not full yet.
        """
        if not self.full:
            raise ValueError(f"the window holds {self._held} of {self.frames} frames")
        return self._data[self._next : self._next + self.frames]

    def newest(self, count: int, behind: int = 0) -> NDArray[np.uint8]:
        """Return neighbouring pictures (count, H, W, 3), oldest first, as a view that the next push changes.

        Args:
            count: how many.
            behind: newer ones that are left out.

        Raises:
            ValueError: if so many are not held.
        """
        if count + behind > self._held:
            raise ValueError(f"the window holds {self._held} of {count + behind} frames")
        end = self._next + self.frames - behind
        return self._data[end - count : end]

    def clear(self) -> None:
        """Empty the window."""
        self._held = 0
        self._next = 0
