"""How a source is read: retries, time-outs, and when to end."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

from mar_edge.errors import OptionError

STALL_S = 5.0
"""A live source without a frame for this time is lost, and connected again."""


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How a source is read.

    Attributes:
        max_retries: failed attempts in a row after which a live source is given up; None for never.
        stall_s: time without a frame after which a live source is lost, seconds.
        max_s: time after which the stream ends, seconds: since its start for a live one, of the recording otherwise.

    Raises:
        OptionError: if one of them is invalid.
    """

    max_retries: int | None = None
    stall_s: float = STALL_S
    max_s: float | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.max_retries is not None and not (isinstance(self.max_retries, int) and self.max_retries >= 0):
            raise OptionError(f"max_retries is {self.max_retries!r}; use 0 or more, or None for no limit")
        stall_s: object = self.stall_s
        max_s: object = self.max_s
        if not (isinstance(stall_s, Real) and float(stall_s) > 0):
            raise OptionError(f"stall_s is {stall_s!r}; use more than 0 seconds")
        if max_s is not None and not (isinstance(max_s, Real) and float(max_s) >= 0):
            raise OptionError(f"max_s is {max_s!r}; use 0 seconds or more, or None for no limit")
