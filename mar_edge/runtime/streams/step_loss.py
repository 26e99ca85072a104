"""Notices when a live stream loses many of its time steps: a streaming model answers worse where it misses what came before."""

from __future__ import annotations

from collections import deque

SPAN_STEPS = 50
"""Newest time steps that are looked at: some seconds, so that a short hold-up, as while a graph is loaded, is none."""

MOST_MISSING = 0.2
"""Share of them that may be missing."""


class StepLoss:
    """Counts the missing time steps of one stream, and says once that they are too many. Not thread-safe."""

    def __init__(self) -> None:
        self._told = False
        self.clear()

    def clear(self) -> None:
        """Forget: the stream is broken, and the steps are numbered anew."""
        self._known: deque[int] = deque()
        self._first: int | None = None

    def known(self, step: int) -> int:
        """Note a step whose answer is known.

        Returns:
            How many of the newest `SPAN_STEPS` are missing, if they are too many for the first time; otherwise 0.
        """
        if self._told:
            return 0
        self._first = step if self._first is None else self._first
        self._known.append(step)
        while self._known[0] <= step - SPAN_STEPS:
            self._known.popleft()
        missing = SPAN_STEPS - len(self._known)
        if step - self._first < SPAN_STEPS - 1 or missing <= MOST_MISSING * SPAN_STEPS:
            return 0
        self._told = True
        return missing
