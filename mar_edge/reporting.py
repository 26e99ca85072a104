"""The interfaces for progress and notices: how they reach the caller."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mar_edge.credentials import without_credentials
from mar_edge.printable import printable_lines

Progress = Callable[[str, int, int], None]
"""Called with the current step, the amount done, and the total; 0 if the total is unknown."""

Warn = Callable[[str], None]
"""Called with one sentence for the operator."""


def no_progress(_task: str, _done: int, _total: int) -> None:
    """Report nothing."""


def no_warning(_message: str) -> None:
    """Report nothing."""


class Warnings:
    """A queue of warnings until they are read; any thread may add and read.

    Args:
        limit: number of newest warnings that are kept.
    """

    def __init__(self, limit: int = 100) -> None:
        self._waiting: deque[str] = deque(maxlen=limit)

    def __call__(self, message: str) -> None:
        """Add one sentence; passwords and tokens in it are hidden, and control characters are shown as escapes."""
        self._waiting.append(printable_lines(without_credentials(message)))

    def __bool__(self) -> bool:
        """Always true: an empty queue can receive warnings as well."""
        return True

    def __len__(self) -> int:
        """Number of unread warnings."""
        return len(self._waiting)

    def take(self) -> list[str]:
        """Return the unread warnings, oldest first, and clear the queue."""
        taken: list[str] = []
        while self._waiting:
            try:
                taken.append(self._waiting.popleft())
            except IndexError:  # another thread took it
                break
        return taken
