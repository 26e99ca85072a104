"""The looks that a training takes at its validation clips: which of them was the best, and how long ago that was."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

SMOOTHED = 3
"""Looks whose middle loss counts."""

RISING = 2
"""Looks without a better one, after which the loss is said to have risen."""


class Look(NamedTuple):
    """One validation.

    Attributes:
        step: after which it was.
        loss: mean cross entropy.
        top1: share of the clips that were recognised.
        smoothed: the middle one of this loss and the two before it.
    """

    step: int
    loss: float
    top1: float
    smoothed: float


@dataclass(frozen=True)
class Looks:
    """All looks of a training so far.

    The best one has the least smoothed loss. Of many looks at few clips the one of most recognised clips is a lucky one, and so
    is a single dip of the loss; the middle of three losses follows neither, and lags behind by one look at most.

    Attributes:
        all: in the order of the steps.
    """

    all: tuple[Look, ...]

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> Looks:
        """Read those of a training's log.

        Args:
            rows: with `step`, `val_loss` and `val_top1` where there was a validation.
        """
        there = [row for row in rows if "val_loss" in row]
        losses = [row["val_loss"] for row in there]
        smoothed = [median(losses[max(0, end - SMOOTHED) : end]) for end in range(1, len(losses) + 1)]
        return cls(
            tuple(
                Look(row["step"], row["val_loss"], row["val_top1"], value)
                for row, value in zip(there, smoothed, strict=True)
            )
        )

    @property
    def best(self) -> Look | None:
        """The look of the least smoothed loss, of equal ones the first; None without a finite one."""
        finite = [look for look in self.all if math.isfinite(look.smoothed)]
        return min(finite, key=lambda look: look.smoothed, default=None)

    @property
    def since_best(self) -> int:
        """Looks after the best one."""
        best = self.best
        return len(self.all) - (0 if best is None else 1 + self.all.index(best))

    @property
    def risen(self) -> str | None:
        """Since when the loss has only been higher, a sentence; None while there was no time for doubt."""
        best = self.best
        if best is None or self.since_best < RISING:
            return None
        return f"validation loss has risen since step {best.step}: {self.all[-1].smoothed:.3f} now, {best.smoothed:.3f} then"
