"""How far a graph's logits differ from those of FP32: what is recorded, and what exceeds the bounds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mar_edge.counting import counted_of
from mar_edge.manifest import Parity
from mar_edge.runtime.measurement.bounds import BOUNDS, clear_clips, divergence, largest_error, misses


class Verdict(NamedTuple):
    """What a comparison found.

    Attributes:
        parity: for the manifest.
        missed: the bounds of the precision that the graph misses, one phrase each.
        near_ties: clips that get another class, but whose first two classes are close in FP32.
        noun: what was compared: clips, or answers of a streaming model.
    """

    parity: Parity
    missed: tuple[str, ...]
    near_ties: int
    noun: str = "clip"

    @property
    def remark(self) -> str | None:
        """Notice about labels that changed within the bounds; None if none did."""
        if not self.near_ties:
            return None
        clips = counted_of(self.near_ties, self.parity.clips, self.noun, "gets", "get")
        return f"{clips} another class than in fp32, where the two classes nearly tie"


def compare(
    reference: NDArray[np.float32],
    logits: NDArray[np.float32],
    precision: str,
    *,
    source: str,
    reference_name: str,
    targets: NDArray[np.int64] | None = None,
    noun: str = "clip",
) -> Verdict:
    """Compare finite logits, and check them against the bounds of their precision.

    Args:
        reference: FP32 logits (N, classes).
        logits: the graph's (N, classes).
        precision: of the graph, whose bound is recorded.
        source: which clips they are.
        reference_name: what the reference is, see `manifest.Parity`.
        targets: class of each clip (N,); -1 for one without.
        noun: see `Verdict`.
    """
    expected, got = reference.astype(np.float64), logits.astype(np.float64)
    lengths = np.linalg.norm(expected, axis=1) * np.linalg.norm(got, axis=1)
    cosine = (expected * got).sum(axis=1) / np.maximum(lengths, 1e-12)
    first, second = expected.argmax(axis=1), got.argmax(axis=1)
    known = targets >= 0 if targets is not None else np.zeros(0, np.bool_)
    labelled = targets is not None and bool(known.any())
    parity = Parity(
        max_abs_error=float(np.abs(got - expected).max()),
        bound=largest_error(expected, BOUNDS[precision]),
        clips=len(expected),
        source=source,
        reference=reference_name,
        cosine=float(np.clip(cosine.min(), -1, 1)),
        kl=divergence(expected, got),
        top1_agreement=float((first == second).mean()),
        top1=float((second == targets)[known].mean()) if labelled else None,
        reference_top1=float((first == targets)[known].mean()) if labelled else None,
    )
    bounds = BOUNDS[precision]
    near_ties = int(((first != second) & ~clear_clips(expected, bounds)).sum())
    return Verdict(parity, tuple(misses(reference, logits, bounds, targets=targets)), near_ties, noun)
