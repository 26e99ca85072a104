"""How many inputs one inference takes: one, unless several at once were measured to be faster on this device."""

from __future__ import annotations

import statistics
from collections import deque

LARGEST = 8
WORTH = 0.9
"""A batch must take at most this share of the time per input of the next smaller one."""

_RUNS = 5


class BatchChoice:
    """Finds the batch size from the inferences that are needed anyway.

    Only where several inputs wait is a larger batch tried, each size a few times, double the size before; the first one
    that is not worth it ends the search.

    Args:
        largest: largest batch that the engine takes.
    """

    def __init__(self, largest: int = LARGEST) -> None:
        self._largest = largest
        self._best = 1
        self._took_s: dict[int, deque[float]] = {}

    @property
    def best(self) -> int:
        """The size that was found so far."""
        return self._best

    def size(self, waiting: int) -> int:
        """Return how many of the waiting inputs to take at once."""
        enough_known = len(self._took_s.get(self._best, ())) >= _RUNS
        following = 2 * self._best
        if waiting >= following and enough_known and following <= self._largest:
            return following
        return min(self._best, waiting)

    def note(self, size: int, took_s: float) -> None:
        """Note how long an inference of some inputs took, seconds."""
        known = self._took_s.setdefault(size, deque(maxlen=_RUNS))
        known.append(took_s / size)
        if size != 2 * self._best or len(known) < _RUNS:
            return
        if statistics.median(known) <= WORTH * statistics.median(self._took_s[self._best]):
            self._best = size
        else:
            self._largest = self._best
