"""95 % intervals of figures over clips: closed forms for independent clips, and a bootstrap for clips that come in groups."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Z95 = NormalDist().inv_cdf(0.975)

DRAWS = 2000

CELLS = 2_000_000
"""Most numbers of a table of draws at once, 8 bytes each."""

Interval = tuple[float, float]
"""Lower and upper end, each 0 to 1."""

Floats = NDArray[np.float64]


def wilson(right: int, count: int) -> Interval:
    """Return the 95 % score interval of a share.

    Args:
        right: successes.
        count: trials, at least one.

    Raises:
        ValueError: if there are no trials, or more successes than trials.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    if not 0 <= right <= count or not count:
        raise ValueError(f"{right} of {count} is not a share")
    return score_interval(right / count, count)


def score_interval(share: float, count: int) -> Interval:
    """Return Wilson's 95 % interval of a share, also of one that is no number of trials, such as an average precision.

    Args:
        share: 0 to 1.
        count: trials, at least one.
    """
    scale = 1 + Z95**2 / count
    middle = (share + Z95**2 / (2 * count)) / scale
    reach = Z95 / scale * math.sqrt(share * (1 - share) / count + Z95**2 / (4 * count**2))
    # where every trial or none succeeds, rounding would put the share just outside
    return min(share, max(0.0, middle - reach)), max(share, min(1.0, middle + reach))


def auc_interval(auc: float, positives: int, negatives: int) -> Interval:
    """Return the 95 % interval of an area under a ROC curve, for independent clips.

    It is the set of areas that are less than 1.96 of their own standard errors away, so that it does not collapse at 1.

    Args:
        auc: 0 to 1.
        positives: clips of the class, at least one.
        negatives: all others, at least one.

    Source: Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part 2", Statistics in
    Medicine 25 (2006), method 5.
    """
    more = (positives + negatives) / 2 - 1

    def is_near(area: float) -> bool:
        spread = 1 + more * (1 - area) / (2 - area) + more * area / (1 + area)
        return (auc - area) ** 2 <= Z95**2 * area * (1 - area) * spread / (positives * negatives)

    return _last(is_near, auc, 0.0), _last(is_near, auc, 1.0)


def mean_interval(shares: Sequence[tuple[int, int]]) -> Interval:
    """Return the 95 % interval of the mean of independent shares, such as the recalls of several classes.

    Args:
        shares: (successes, trials) of each; at least one.

    Source: Zou and Donner, "Construction of confidence limits about effect measures", Statistics in Medicine 27 (2008), from
    Wilson's intervals.
    """
    own = [(right / count, *wilson(right, count)) for right, count in shares]
    mean = sum(share for share, _, _ in own) / len(own)
    below = math.sqrt(sum((share - low) ** 2 for share, low, _ in own)) / len(own)
    above = math.sqrt(sum((high - share) ** 2 for share, _, high in own)) / len(own)
    return max(0.0, mean - below), min(1.0, mean + above)


def united(one: Interval, other: Interval) -> Interval:
    """Return the interval that holds both."""
    return min(one[0], other[0]), max(one[1], other[1])


class GroupBootstrap:
    """Draws whole groups of clips with replacement, because clips of one person, scene or recording are alike.

    Args:
        groups: of every clip (N).
        draws: how often as many groups as there are are drawn.
        seed: of the drawing; figures of one seed are of the same draws.

    Attributes:
        count: number of groups.

    Raises:
        ValueError: if there is no clip.

    Source: Davison and Hinkley, "Bootstrap methods and their application" (1997), section 3.8, percentile interval.
    """

    def __init__(self, groups: Sequence[str], *, draws: int = DRAWS, seed: int = 0) -> None:
        if not groups:
            raise ValueError("no clips")
        places = {group: place for place, group in enumerate(dict.fromkeys(groups))}
        self.count = len(places)
        self._of = np.array([places[group] for group in groups], np.int64)
        self._draws, self._seed = draws, seed

    def totals(self, values: NDArray[np.number] | NDArray[np.bool_]) -> Floats:
        """Return the sum of a value over the clips of every draw.

        Args:
            values: (N,), or several of every clip (N, K).

        Returns:
            float64 (draws,) or (draws, K).
        """
        sums = np.zeros((self.count, *values.shape[1:]))
        np.add.at(sums, self._of, values)
        return np.concatenate([times @ sums for times in self._chunks(self.count)])

    def share(self, hits: NDArray[np.bool_], of: NDArray[np.bool_]) -> Interval | None:
        """Return the interval of the share of some clips that are hits.

        Args:
            hits: (N,).
            of: which clips count (N,).
        """
        counts = self.totals(of)
        with np.errstate(invalid="ignore"):
            return percentiles(self.totals(hits & of) / counts)

    def figure(self, figure: Callable[[Floats], Floats]) -> Interval | None:
        """Return the interval of any figure.

        Args:
            figure: of draws: takes how often each clip was drawn, float64 (D, N), and returns the figures (D,); NaN where it
                has none, for instance without a clip of the class.
        """
        return percentiles(np.concatenate([figure(times[:, self._of]) for times in self._chunks(len(self._of))]))

    @cached_property
    def _times(self) -> NDArray[np.uint16]:
        """How often every group was drawn (draws, groups)."""
        rng = np.random.default_rng(self._seed)
        times: NDArray[np.uint16] = np.empty((self._draws, self.count), np.uint16)
        for row in times:
            row[:] = np.bincount(rng.integers(self.count, size=self.count), minlength=self.count)
        return times

    def _chunks(self, width: int) -> Iterator[Floats]:
        """Yield the draws as float64, some at a time."""
        at_once = max(1, CELLS // max(width, self.count))
        for first in range(0, self._draws, at_once):
            yield self._times[first : first + at_once].astype(np.float64)


def percentiles(figures: Floats) -> Interval | None:
    """Return where the middle 95 % of figures lie; NaN are left out, and None is returned if nothing else is there."""
    there = figures[~np.isnan(figures)]
    if not len(there):
        return None
    low, high = np.percentile(there, [2.5, 97.5])
    return float(low), float(high)


def _last(is_near: Callable[[float], bool], near: float, far: float) -> float:
    """Return the last value on the way from `near` to `far` that is near, by bisection."""
    if is_near(far):
        return far
    for _ in range(60):
        middle = (near + far) / 2
        near, far = (middle, far) if is_near(middle) else (near, middle)
    return near
