"""A regularised linear classifier, whose strength is chosen by leaving out whole groups.

Ridge regression on one-hot targets: it has a closed form, so that every strength and every group left out together take
a second or less. Its answers, times a factor that makes them probabilities, are logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

FOLDS = 5
"""Parts that the groups are divided into; each is left out once."""

STRENGTHS = tuple(10.0 ** (power / 2) for power in range(-6, 7))
"""Penalties on squared weights, relative to the variance of a standardised feature."""

SCALES = tuple(2.0 ** (power / 2) for power in range(13))
"""Factors between the regression's answers and logits."""

LEAST_SPREAD = 1e-3
"""A feature that spreads less, relative to the widest one, counts as constant: dividing by it would only amplify noise."""

_Array: TypeAlias = NDArray[np.float64]


class Regression(NamedTuple):
    """A linear classifier of features as they are.

    Attributes:
        weight: float64 (classes, features).
        bias: float64 (classes,).
        strength: the chosen penalty.
        loss: mean -ln(probability of the true class) of training clips whose group was left out.
        top1: share of these clips that were recognised.
        held_out: their scores, float64 (clips, classes).
    """

    weight: _Array
    bias: _Array
    strength: float
    loss: float
    top1: float
    held_out: _Array

    def logits(self, features: NDArray[np.floating]) -> _Array:
        """Map features (answers, features) to logits (answers, classes)."""
        return features @ self.weight.T + self.bias

    def scores(self, features: NDArray[np.floating]) -> _Array:
        """Map the features of one clip's answers (answers, features) to its scores (classes,), the mean over the answers."""
        mean: _Array = _softmax(self.logits(features)).mean(axis=0)
        return mean


def fold_groups(groups: Sequence[str], classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Divide clips into at most `FOLDS` parts, whole groups each, so that every class is spread as evenly as possible.

    Args:
        groups: of every clip. The clips of a class that lies in one group alone are divided one by one: without that group
            nothing would know the class, and no strength could be told from another.
        classes: of every clip (N,).

    Returns:
        The part of every clip, int64 (N,).
    """
    names, group = np.unique(groups, return_inverse=True)
    for label in np.unique(classes):
        if len(set(group[classes == label])) == 1:
            group[classes == label] = len(names) + np.flatnonzero(classes == label)
    group = np.unique(group, return_inverse=True)[1]
    counts = np.zeros((group.max() + 1, classes.max() + 1))  # (groups, classes)
    np.add.at(counts, (group, classes), 1)
    filled = np.zeros((min(FOLDS, len(counts)), counts.shape[1]))
    part = np.zeros(len(counts), np.int64)
    for place in np.argsort(-counts.sum(axis=1), kind="stable"):
        cost = ((filled + counts[place]) ** 2 - filled**2).sum(axis=1)
        part[place] = cost.argmin()
        filled[part[place]] += counts[place]
    found: NDArray[np.int64] = part[group]
    return found


def fit(
    features: Sequence[NDArray[np.floating]], classes: NDArray[np.int64], count: int, groups: Sequence[str]
) -> Regression:
    """Fit a regression, with the strength and the scale that are best for groups that are left out.

    Args:
        features: of every clip, (answers, features); a clip counts once, however many answers it has.
        classes: of every clip (N,).
        count: number of classes.
        groups: of every clip, see `fold_groups`.
    """
    clip = np.repeat(np.arange(len(features)), [len(one) for one in features])
    stacked = np.concatenate(features).astype(np.float64)
    weights = 1 / np.bincount(clip)[clip]
    mean = np.average(stacked, axis=0, weights=weights)
    spread = np.sqrt(np.average((stacked - mean) ** 2, axis=0, weights=weights))
    spread = np.maximum(spread, max(LEAST_SPREAD * spread.max(), 1e-12))
    samples = _Samples(
        (stacked - mean) / spread, np.eye(count)[classes[clip]], weights, np.bincount(classes, minlength=count)
    )
    fold = fold_groups(groups, classes)[clip]
    answers = np.zeros((len(STRENGTHS), len(clip), count))
    for held in np.unique(fold):
        here = fold == held
        solved = samples.solve(~here, STRENGTHS) if not here.all() else []
        for place, (slope, offset) in enumerate(solved):
            answers[place, here] = samples.features[here] @ slope + offset
    strength, scale, held_out = _best(answers, clip, classes)
    slope, offset = samples.solve(np.ones(len(clip), np.bool_), [strength])[0]
    weight = scale * (slope / spread[:, None]).T
    return Regression(
        weight=weight,
        bias=scale * offset - weight @ mean,
        strength=strength,
        loss=_loss(held_out, classes),
        top1=float((held_out.argmax(axis=1) == classes).mean()),
        held_out=held_out,
    )


class _Samples(NamedTuple):
    """Standardised features (S, F), one-hot targets (S, C), weights (S,), and the clips of every class (C,)."""

    features: _Array
    targets: _Array
    weights: _Array
    counts: NDArray[np.int64]

    def solve(self, used: NDArray[np.bool_], strengths: Sequence[float]) -> list[tuple[_Array, _Array]]:
        """Return slope (F, C) and offset (C,) for every strength, from some of the samples.

        Every class weighs as much as among all clips: a class whose largest group is left out would otherwise be rarer than
        in the group that is then judged.
        """
        features, targets = self.features[used], self.targets[used]
        there = self.weights[used] @ targets
        balance = np.divide(self.counts, there, out=np.zeros(len(there)), where=there > 0)
        weights = self.weights[used] * (targets @ balance)
        weights = weights / weights.sum()
        mean, share = weights @ features, weights @ targets
        weighted = features * weights[:, None]
        values, vectors = np.linalg.eigh(weighted.T @ features - np.outer(mean, mean))
        turned = vectors.T @ (weighted.T @ targets - np.outer(mean, share))
        slopes = [vectors @ (turned / (np.maximum(values, 0) + strength)[:, None]) for strength in strengths]
        return [(slope, share - mean @ slope) for slope in slopes]


def _best(answers: _Array, clip: NDArray[np.int64], classes: NDArray[np.int64]) -> tuple[float, float, _Array]:
    """Return the strength and the scale with the least loss of clips left out, and the scores (clips, classes) of these clips.

    Args:
        answers: (strengths, S, classes), of samples left out.
        clip: of every sample (S,).
        classes: of every clip (N,).
    """

    def scores_at(place: int, scale: float) -> _Array:
        scores = np.zeros((len(classes), answers.shape[2]))
        np.add.at(scores, clip, _softmax(scale * answers[place]))
        normed: _Array = scores / scores.sum(axis=1, keepdims=True)
        return normed

    places = range(len(STRENGTHS))
    found = [(_loss(scores_at(one, scale), classes), -STRENGTHS[one], scale, one) for one in places for scale in SCALES]
    _, strength, scale, place = min(found)  # of equal ones the strongest
    return -strength, scale, scores_at(place, scale)


def _loss(scores: _Array, classes: NDArray[np.int64]) -> float:
    true = scores[np.arange(len(classes)), classes]
    return -float(np.log(np.maximum(true, 1e-12)).mean())


def _softmax(logits: _Array) -> _Array:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: _Array = powers / powers.sum(axis=1, keepdims=True)
    return shares
