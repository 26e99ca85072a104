"""How far a graph's logits lie from those of FP32, and how far they may."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mar_edge.bundle import Parity


@dataclass(frozen=True)
class Bounds:
    """What a graph of a precision must keep.

    Attributes:
        max_abs_error: largest difference of a logit, relative to the largest logit where that exceeds 1.
        cosine: smallest cosine between the logits of a clip.
        kl: largest mean divergence, in nats.
        top1_agreement: smallest share of clips with the same class; judged from `AGREEMENT_CLIPS` on.
        top1_drop: largest loss of top-1, as a share; judged from `AGREEMENT_CLIPS` on, where there are labels.
    """

    max_abs_error: float
    cosine: float
    kl: float
    top1_agreement: float = 0.98
    top1_drop: float = 0.005


AGREEMENT_CLIPS = 50
"""Of fewer clips a single one would be more than the 2 % that may differ."""

BOUNDS = {
    "fp32": Bounds(max_abs_error=1e-4, cosine=0.999999, kl=1e-6, top1_agreement=1.0, top1_drop=0.0),
    "fp16": Bounds(max_abs_error=0.02, cosine=0.9999, kl=1e-3),
    "bf16": Bounds(max_abs_error=0.1, cosine=0.999, kl=1e-2),
    "int8": Bounds(max_abs_error=0.35, cosine=0.99, kl=3e-2),
}


def compare(
    reference: NDArray[np.float32],
    logits: NDArray[np.float32],
    precision: str,
    *,
    source: str,
    reference_name: str,
    targets: NDArray[np.int64] | None = None,
) -> Parity:
    """Compare logits.

    Args:
        reference: FP32 logits (N, classes).
        logits: the graph's (N, classes).
        precision: of the graph, whose bound is told.
        source: which clips they are.
        reference_name: what the reference is, see `bundle.Parity`.
        targets: class of each clip (N,); -1 for one without.
    """
    expected, got = reference.astype(np.float64), logits.astype(np.float64)
    lengths = np.linalg.norm(expected, axis=1) * np.linalg.norm(got, axis=1)
    cosine = (expected * got).sum(axis=1) / np.maximum(lengths, 1e-12)
    log_p, log_q = _log_softmax(expected), _log_softmax(got)
    kl = (np.exp(log_p) * (log_p - log_q)).sum(axis=1)
    first, second = expected.argmax(axis=1), got.argmax(axis=1)
    known = targets >= 0 if targets is not None else np.zeros(0, np.bool_)
    labelled = targets is not None and bool(known.any())
    return Parity(
        max_abs_error=float(np.abs(got - expected).max()),
        bound=BOUNDS[precision].max_abs_error * max(1.0, float(np.abs(expected).max())),
        clips=len(expected),
        source=source,
        reference=reference_name,
        cosine=float(np.clip(cosine.min(), -1, 1)),
        kl=max(0.0, float(kl.mean())),
        top1_agreement=float((first == second).mean()),
        top1=float((second == targets)[known].mean()) if labelled else None,
        reference_top1=float((first == targets)[known].mean()) if labelled else None,
    )


def misses(parity: Parity, precision: str) -> list[str]:
    """Say which bounds of its precision a graph misses; empty if none."""
    bounds = BOUNDS[precision]
    found = []
    if not parity.max_abs_error <= parity.bound:
        found.append(f"largest error of a logit {parity.max_abs_error:.2e}, more than {parity.bound:.2e}")
    if parity.cosine is not None and not parity.cosine >= bounds.cosine:
        found.append(f"smallest cosine {parity.cosine:.6f}, less than {bounds.cosine}")
    if parity.kl is not None and not parity.kl <= bounds.kl:
        found.append(f"divergence {parity.kl:.2e} nats, more than {bounds.kl:.0e}")
    if parity.clips < AGREEMENT_CLIPS:
        return found
    if parity.top1_agreement is not None and parity.top1_agreement < bounds.top1_agreement:
        found.append(
            f"top-1 agreement {100 * parity.top1_agreement:.1f} %, less than {100 * bounds.top1_agreement:g} %"
        )
    if parity.top1 is not None and parity.reference_top1 is not None:
        drop = parity.reference_top1 - parity.top1
        if drop > bounds.top1_drop + 1e-9:
            found.append(f"top-1 {100 * drop:.1f} points below fp32, more than {100 * bounds.top1_drop:g}")
    return found


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
