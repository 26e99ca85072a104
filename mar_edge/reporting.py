"""How work in progress, and what should be known of it, reach whoever asked for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mar_edge.credentials import without_credentials

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and of how much; of 0 where that is not known."""

Warn = Callable[[str], None]
"""Called with one sentence that an operator should know."""


def no_progress(_task: str, _done: int, _total: int) -> None:
    """Report nothing."""


def no_warning(_message: str) -> None:
    """Report nothing."""


class Warnings:
    """Warnings that wait until somebody takes them; any thread may add and take.

    Args:
        limit: the newest that are kept.
    """

    def __init__(self, limit: int = 100) -> None:
        self._waiting: deque[str] = deque(maxlen=limit)

    def __call__(self, message: str) -> None:
        """Add one sentence; passwords and tokens in it are hidden."""
        self._waiting.append(without_credentials(message))

    def __bool__(self) -> bool:
        """Always true: one in which nothing waits is a place for warnings too."""
        return True

    def __len__(self) -> int:
        """Warnings that wait."""
        return len(self._waiting)

    def take(self) -> list[str]:
        """Return what waits, oldest first, and forget it."""
        taken: list[str] = []
        while self._waiting:
            try:
                taken.append(self._waiting.popleft())
            except IndexError:  # another thread took it
                break
        return taken
