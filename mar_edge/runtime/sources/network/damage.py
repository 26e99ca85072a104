"""Counts damaged data of a stream, and reports it at most every few seconds."""

from __future__ import annotations

from mar_edge.counting import counted
from mar_edge.reporting import Warn

TELL_EVERY_S = 5.0
"""Time between two warnings."""


class Damage:
    """Damaged packets and pictures of one connection.

    Args:
        name: of the source.
        warn: called with one sentence a series.

    Attributes:
        total: all so far.
    """

    def __init__(self, name: str, warn: Warn) -> None:
        self.total = 0
        self._name = name
        self._warn = warn
        self._newest = 0  # of the newest packet: at a broken connection, only the part of it that came
        self._untold = 0
        self._reason = ""
        self._told_s: float | None = None

    def add(self, reason: str) -> None:
        """Count one."""
        self.total += 1
        self._newest += 1
        self._reason = reason

    def report(self, now_s: float) -> None:
        """Report what was found before the packet that comes now: the first of a series at once, others later."""
        self._untold += self._newest
        self._newest = 0
        if self._told_s is None or now_s - self._told_s >= TELL_EVERY_S:
            if self._untold:
                self._told_s = now_s
            self.finish()

    def finish(self) -> None:
        """Report what was not reported yet."""
        if self._untold:
            self._warn(f"{self._name}: {counted(self._untold, 'damaged packet')} ({self._reason}). Check the network")
            self._untold = 0
