"""Intervals of a rate of rare events, and of any figure over clips that come in groups."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mar_edge.evaluation.metrics import Interval

DRAWS = 2000


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


def by_group(
    figure: Callable[[NDArray[np.int64]], float], groups: Sequence[str], *, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """Return the 95 % interval of a figure by a bootstrap that draws whole groups, because clips of one are alike.

    Args:
        figure: of the clips with these numbers, int64 (n,), some of them several times.
        groups: of every clip.
        draws: how often as many groups as there are are drawn, with replacement.
        seed: of the drawing.

    Raises:
        ValueError: if there is no clip.

    Source: Davison and Hinkley, "Bootstrap methods and their application" (1997), section 3.8, percentile interval.
    """
    if not groups:
        raise ValueError("no clips")
    members = [np.flatnonzero(np.array(groups) == group) for group in dict.fromkeys(groups)]
    rng = np.random.default_rng(seed)
    figures = [
        figure(np.concatenate([members[place] for place in rng.integers(len(members), size=len(members))]))
        for _ in range(draws)
    ]
    low, high = np.percentile(figures, [2.5, 97.5])
    return float(low), float(high)


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
