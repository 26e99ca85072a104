"""Pauses between attempts: short at first, then longer, and never the same for many devices at once."""

from __future__ import annotations

import random

FIRST_S = 0.5
LONGEST_S = 30.0
_JITTER = 0.2


class Backoff:
    """Doubles the pause with every attempt that fails.

    Args:
        first_s: the first pause, seconds.
        longest_s: the longest one, seconds.
        rng: of the jitter, by which a pause is up to a fifth shorter.

    Attributes:
        attempts: failed attempts since the last success.
    """

    def __init__(
        self, *, first_s: float = FIRST_S, longest_s: float = LONGEST_S, rng: random.Random | None = None
    ) -> None:
        self.attempts = 0
        self._first_s = first_s
        self._longest_s = longest_s
        self._rng = rng or random.Random()

    def reset(self) -> None:
        """Begin again with the first pause: an attempt has succeeded."""
        self.attempts = 0

    def next_s(self) -> float:
        """Return the pause before the next attempt, seconds."""
        pause_s = min(self._longest_s, self._first_s * 2.0 ** min(self.attempts, 16))
        self.attempts += 1
        return pause_s * (1 - _JITTER * self._rng.random())
