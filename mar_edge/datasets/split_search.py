"""Distributes groups of clips over splits so that each class has its share in each, as well as whole groups allow.

scikit-learn's StratifiedGroupKFold makes folds of equal size only, in one greedy pass, and needs SciPy; hence this search:
the same greedy pass, with any shares, and then moves of single groups while they improve the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Counts = Mapping[int, int]
"""Number of clips of a group by class."""

_ABSENT = (1e6, 1e3, 1e1)
"""Cost of a class that is absent from train, test or val: it must be learnt, then judged, and may choose a checkpoint."""

_WORK = 20_000_000
"""Numbers that the search may compute, about a second; fixed, so that the result does not depend on the machine."""

_PATIENCE = 60
"""Trials without a better result after which the search ends."""

_MOST_KICKED = 5
"""Groups that are moved at random before each trial."""


def distribute(groups: Sequence[Counts], shares: Sequence[float], seed: int) -> NDArray[np.int64]:
    """Return the split of every group: 0 train, 1 test, 2 val.

    Args:
        groups: each with the number of its clips by class, from 0.
        shares: of train, test and val; they add up to 1. One of 0 gets no group.
        seed: of the order in which groups are placed; another one gives another result of about the same quality.

    Returns:
        int64 (groups,).
    """
    rng = np.random.default_rng(seed)
    board = _Board(groups, shares)
    best = board.place_all(rng)
    step = len(shares) * len(groups) * board.classes
    if step * 20 > _WORK:
        return best  # with this many groups, single ones make no difference
    matrix = np.zeros((len(groups), board.classes))
    for row, counts in enumerate(groups):
        matrix[row, list(counts)] = list(counts.values())
    best, cost, used = _descend(board, matrix, best)
    failed = 0
    while failed < _PATIENCE and used * step < _WORK:
        kicked = best.copy()
        many = rng.integers(2, _MOST_KICKED + 1)
        kicked[rng.integers(len(groups), size=many)] = rng.choice(board.open, size=many)
        found, found_cost, steps = _descend(board, matrix, kicked)
        used += steps
        failed += 1
        if found_cost < cost - 1e-9:
            best, cost, failed = found, found_cost, 0
    return best


class _Board:
    """How good a distribution is: relative deviations from the shares, squared, of each class and of all clips."""

    def __init__(self, groups: Sequence[Counts], shares: Sequence[float]) -> None:
        self.classes = 1 + max(max(counts) for counts in groups)
        self.groups = groups
        self.shares = np.array(shares, float)
        self.open = [split for split, share in enumerate(shares) if share > 0]
        self.totals = np.zeros(self.classes)
        for counts in groups:
            for label, count in counts.items():
                self.totals[label] += count
        self.used = self.totals > 0
        self.totals = np.maximum(self.totals, 1)

    def cost(self, split: int, clips: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the cost of a split with some clips by class, (..., classes) -> (...)."""
        share = self.shares[split]
        by_class = (clips / self.totals - share) ** 2 + _ABSENT[split] * (clips < 0.5)
        in_all = (clips.sum(-1) / self.totals[self.used].sum() - share) ** 2
        cost: NDArray[np.float64] = (by_class * self.used).sum(-1) + self.used.sum() * in_all
        return cost

    def place_all(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Place the groups one by one, the largest first, where the cost falls most."""
        order = rng.permutation(len(self.groups))
        order = order[np.argsort([-sum(self.groups[place].values()) for place in order], kind="stable")]
        placed = np.zeros(len(self.groups), np.int64)
        # plain numbers: a list may have 200,000 clips, each a group of one
        totals, every = self.totals.tolist(), float(self.totals[self.used].sum())
        clips = [[0.0] * self.classes for _ in self.shares]
        in_all = [0.0] * len(self.shares)
        for place in order:
            counts = self.groups[place]
            size = sum(counts.values())

            def gain(split: int, counts: Counts = counts, size: int = size) -> float:
                share, there = float(self.shares[split]), clips[split]
                gained = (share - in_all[split] / every) * size / every
                for label, count in counts.items():
                    before, more = there[label] / totals[label] - share, count / totals[label]
                    gained += before**2 - (before + more) ** 2 + _ABSENT[split] * (there[label] < 0.5)
                return gained

            split = max(self.open, key=gain)
            placed[place] = split
            in_all[split] += size
            for label, count in counts.items():
                clips[split][label] += count
        return placed


def _descend(
    board: _Board, matrix: NDArray[np.float64], placed: NDArray[np.int64]
) -> tuple[NDArray[np.int64], float, int]:
    """Move single groups as long as the cost falls; return where they lie then, the cost, and the number of steps."""
    placed = placed.copy()
    splits = len(board.shares)
    clips = np.stack([matrix[placed == split].sum(0) for split in range(splits)])
    rows = np.arange(len(matrix))
    steps = 0
    while True:
        steps += 1
        costs = np.array([board.cost(split, clips[split]) if board.shares[split] else 0.0 for split in range(splits)])
        without, joined = np.zeros(len(matrix)), np.full((splits, len(matrix)), np.inf)
        for split in board.open:
            here = placed == split
            without[here] = board.cost(split, clips[split] - matrix[here]) - costs[split]
            joined[split] = board.cost(split, clips[split] + matrix) - costs[split]
        joined[placed, rows] = np.inf
        change = without + joined
        target, group = np.unravel_index(int(np.argmin(change)), change.shape)
        if change[target, group] > -1e-9:  # each step lowers the cost by at least this, so it ends
            return placed, float(costs.sum()), steps
        clips[placed[group]] -= matrix[group]
        clips[target] += matrix[group]
        placed[group] = target
