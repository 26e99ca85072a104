"""The interval of a rate of rare events."""

from __future__ import annotations

import math
from collections.abc import Callable

from mar_edge.evaluation.intervals import Interval


def poisson(count: int) -> Interval:
    """Return the exact 95 % interval of the expected number of events, after `count` were seen.

    Source: Garwood, "Fiducial limits for the Poisson distribution", Biometrika 28 (1936).

    Raises:
        ValueError: if the count is negative.
    """
    if count < 0:
        raise ValueError(f"{count} is no number of events")
    high = _mean_where(lambda mean: _at_most(count, mean) <= 0.025, count)
    low = _mean_where(lambda mean: 1 - _at_most(count - 1, mean) >= 0.025, count) if count else 0.0
    return low, high


def _at_most(count: int, mean: float) -> float:
    """Return the probability of at most `count` events where `mean` are expected."""
    if mean == 0:
        return 1.0
    return sum(math.exp(events * math.log(mean) - mean - math.lgamma(events + 1)) for events in range(count + 1))


def _mean_where(reached: Callable[[float], bool], count: int) -> float:
    """Return the smallest mean from which on a condition holds, by bisection."""
    low, high = 0.0, count + 10.0 + 10.0 * math.sqrt(count + 1.0)
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
