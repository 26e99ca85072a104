"""Bounds of a graph's precision against FP32, on what users see: probabilities, labels, and logits of some size.

The cosine of a clip's logits and the agreement of all labels are not checked: if the logits are small or two classes
tie, rounding changes both, although the probabilities stay the same. `docs/how-to/int8.md` explains each number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mar_edge.counting import counted_of, form

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bounds:
    """The bounds that a graph of a precision must keep.

    Attributes:
        max_abs_error: largest difference of a logit, relative to the largest logit where that exceeds 1.
        relative_error: largest root mean square of the differences, relative to that of the logits, both without what
            all classes of a clip have in common, as softmax ignores it.
        unseen_error: root mean square of the differences that is allowed even if the logits are small.
        kl: largest mean divergence, in nats.
        margin: how far the first class of FP32 must lead the second, in logits, for its label to be clear.
        top1_agreement: smallest share of the clear clips that get the same label; one other clip is always allowed,
            unless it is 1.
        top1_drop: largest loss of top-1, as a share, where there are labels and chance does not explain more.
    """

    max_abs_error: float
    relative_error: float
    unseen_error: float
    kl: float
    margin: float
    top1_agreement: float = 0.98
    top1_drop: float = 0.005

    def tightened(self, share: float) -> Bounds:
        """Return bounds whose errors and divergence are only a share of these."""
        return Bounds(
            max_abs_error=share * self.max_abs_error,
            relative_error=share * self.relative_error,
            unseen_error=share * self.unseen_error,
            kl=share * self.kl,
            margin=self.margin,
            top1_agreement=self.top1_agreement,
            top1_drop=self.top1_drop,
        )


BOUNDS = {
    "fp32": Bounds(5e-4, relative_error=2e-3, unseen_error=5e-4, kl=1e-6, margin=1e-3, top1_agreement=1, top1_drop=0),
    "fp16": Bounds(0.02, relative_error=0.02, unseen_error=0.005, kl=1e-3, margin=0.02),
    "bf16": Bounds(0.1, relative_error=0.06, unseen_error=0.02, kl=1e-2, margin=0.1),
    # the errors of INT8 and BF16 are independent, so both together are hardly more than INT8 alone
    "int8-bf16": Bounds(0.35, relative_error=0.2, unseen_error=0.03, kl=3e-2, margin=0.2),
    "int8": Bounds(0.35, relative_error=0.2, unseen_error=0.03, kl=3e-2, margin=0.2),
}

AGREEMENT_CLIPS = 50
"""With fewer clips, a single one would exceed the 2 % that may differ."""

FOLLOW_CLIPS = 6
"""Fewer clips do not show whether the logits follow those of FP32 from clip to clip."""

FOLLOWS = 0.5
"""The slope of the logits over those of FP32 may be this far from 1, and three standard errors more."""

VISIBLE_CHANGE = 0.05
"""Logits that change from clip to clip by less than this share of `unseen_error` count as constant."""


def largest_error(reference: NDArray[np.floating], bounds: Bounds) -> float:
    """Return the largest difference of a logit that bounds allow, for these FP32 logits (N, classes)."""
    return bounds.max_abs_error * max(1.0, float(np.abs(reference).max()))


def misses(
    reference: NDArray[np.float32],
    logits: NDArray[np.float32],
    bounds: Bounds,
    *,
    targets: NDArray[np.int64] | None = None,
) -> list[str]:
    """Report which bounds a graph misses; empty if none.

    Args:
        reference: FP32 logits (N, classes).
        logits: the graph's (N, classes).
        bounds: of its precision, see `BOUNDS`.
        targets: class of each clip (N,); -1 for one without.
    """
    if logits.shape != reference.shape:
        return [f"logits of shape {logits.shape} instead of {reference.shape}"]
    if not np.isfinite(logits).all():
        return [
            f"{counted_of(int((~np.isfinite(logits)).any(axis=1).sum()), len(logits), 'clip', 'has', 'have')} NaN or infinite logits"
        ]
    expected, got = reference.astype(np.float64), logits.astype(np.float64)
    return [
        *_errors(expected, got, bounds),
        *_following(expected, got, bounds),
        *_labels(expected, got, bounds),
        *_accuracy(expected, got, bounds, targets),
    ]


def clear_clips(expected: Floats, bounds: Bounds) -> NDArray[np.bool_]:
    """Return which clips (N,) have a clear class in FP32, of logits (N, classes)."""
    if expected.shape[1] < 2:
        return np.ones(len(expected), np.bool_)
    second, first = np.partition(expected, -2, axis=1)[:, -2:].T
    return np.asarray(first - second > bounds.margin)


def log_softmax(logits: Floats) -> Floats:
    """Return the logarithms of the probabilities (N, classes)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def divergence(expected: Floats, got: Floats) -> float:
    """Return the mean Kullback-Leibler divergence of the probabilities of `got` from those of `expected`, in nats."""
    log_p, log_q = log_softmax(expected), log_softmax(got)
    return max(0.0, float((np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean()))


def _errors(expected: Floats, got: Floats, bounds: Bounds) -> Iterator[str]:
    largest, allowed = float(np.abs(got - expected).max()), largest_error(expected, bounds)
    if largest > allowed:
        yield f"largest error of a logit {largest:.2e}, more than {allowed:.2e}"
    size, error = _rms(_seen(expected)), _rms(_seen(got) - _seen(expected))
    allowed = max(bounds.relative_error * size, bounds.unseen_error)
    if error > allowed:
        yield f"mean error of the logits {error:.2e}, more than {allowed:.2e} (the logits have a size of {size:.2g})"
    if (kl := divergence(expected, got)) > bounds.kl:
        yield f"divergence {kl:.2e} nats, more than {bounds.kl:.0e}"


def _following(expected: Floats, got: Floats, bounds: Bounds) -> Iterator[str]:
    """Check that changes from clip to clip are alike, even if they are small.

    Rounding is about the same in all clips or differs by chance, so it moves the slope of a line through the points
    (logit of FP32, logit of the graph) little. A graph with the same logits for every clip has slope 0.
    """
    if len(expected) < FOLLOW_CLIPS:
        return
    wanted, found = (_seen(logits) - _seen(logits).mean(axis=0) for logits in (expected, got))
    if _rms(wanted) <= VISIBLE_CHANGE * bounds.unseen_error * max(1.0, float(np.abs(expected).max())):
        return
    energy = float((wanted**2).sum())
    slope = float((wanted * found).sum()) / energy
    rest = float(((found - slope * wanted) ** 2).sum())
    doubt = 3 * (rest / (len(expected) - 2) / energy) ** 0.5  # as if all classes were one: on the safe side
    if abs(slope - 1) > FOLLOWS + doubt:
        yield (
            f"the logits do not follow fp32 from clip to clip: where fp32 changes by 1, they change by {slope:.2f} "
            f"(+- {doubt:.2f})"
        )


def _labels(expected: Floats, got: Floats, bounds: Bounds) -> Iterator[str]:
    clear = clear_clips(expected, bounds)
    other = int((expected.argmax(axis=1) != got.argmax(axis=1))[clear].sum())
    allowed = (1 - bounds.top1_agreement) * clear.sum()
    if other > (max(1.0, allowed) if bounds.top1_agreement < 1 else 0):
        yield (
            f"{counted_of(other, int(clear.sum()), 'clip')} with a clear class {form(other, 'gets', 'get')} another class, more than "
            f"{100 * (1 - bounds.top1_agreement):.2g} %"
        )


def _accuracy(expected: Floats, got: Floats, bounds: Bounds, targets: NDArray[np.int64] | None) -> Iterator[str]:
    if targets is None or not (known := targets >= 0).any():
        return
    before, after = ((logits.argmax(axis=1) == targets)[known] for logits in (expected, got))
    lost, won = int((before & ~after).sum()), int((after & ~before).sum())
    drop = (lost - won) / int(known.sum())
    # clips near a tie are lost and won by chance, both equally likely: two standard deviations of that
    if drop > bounds.top1_drop and lost - won > 2 * (lost + won) ** 0.5:
        yield f"top-1 {100 * drop:.1f} points below fp32, more than {100 * bounds.top1_drop:g}"


def _seen(logits: Floats) -> Floats:
    """Return logits without what all classes of a clip have in common; a single class stays unchanged."""
    return logits - logits.mean(axis=1, keepdims=True) if logits.shape[1] > 1 else logits


def _rms(values: Floats) -> float:
    return float(np.sqrt((values**2).mean()))
