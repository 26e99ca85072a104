"""Mixup and cutmix: mixes pairs of clips of a batch, and their targets."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mar_edge.counting import counted
from mar_edge.files.yaml_part import Part, Probability, Share


class MixPart(Part):
    """Mixup (arXiv 1710.09412) and cutmix (arXiv 1905.04899); off by default.

    Fine-tuning of vision transformers usually has mixup_alpha 0.8 and cutmix_alpha 1.

    Attributes:
        mixup_alpha: both parameters of the beta distribution of mixup's shares; 0 is off.
        cutmix_alpha: the same for cutmix; 0 is off. The box is the same in all frames.
        switch_prob: probability of cutmix for a pair, if both are on.
        prob: probability that a pair is mixed.
    """

    mixup_alpha: Share = 0.0
    cutmix_alpha: Share = 0.0
    switch_prob: Probability = Field(default=0.5)
    prob: Probability = Field(default=1.0)


def mix(
    clips: NDArray[np.uint8], targets: NDArray[np.float32], part: MixPart, rngs: Sequence[np.random.Generator]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Mix each pair of neighbours, samples 0 and 1, 2 and 3, and so on; the last of an odd batch stays unchanged.

    A batch that is split at even places, as over ranks, gives the same result. Two copies of one video, as repeated
    augmentation makes them, should not be neighbours.

    Args:
        clips: uint8 (B, T, H, W, 3); not changed.
        targets: shares of the classes, float32 (B, C); not changed.
        part: how to mix.
        rngs: one generator per sample; that of a pair's first sample is used.

    Returns:
        Mixed clips and targets of the same shapes and types. Rows of targets that summed to 1 still do.

    Raises:
        ValueError: if shapes or types do not fit.
    """
    if clips.ndim != 5 or clips.dtype != np.uint8:
        raise ValueError(f"clips must be uint8 of shape (B, T, H, W, 3), not {clips.dtype} of shape {clips.shape}")
    if targets.ndim != 2 or targets.dtype != np.float32:
        raise ValueError(f"targets must be float32 of shape (B, C), not {targets.dtype} of shape {targets.shape}")
    if not len(clips) == len(targets) == len(rngs):
        raise ValueError(
            f"{counted(len(clips), 'clip', 'needs', 'need')} {len(clips)} targets and generators, not {len(targets)} and {len(rngs)}"
        )
    if not (part.mixup_alpha or part.cutmix_alpha):
        return clips, targets
    clips, targets = clips.copy(), targets.copy()
    for first in range(0, len(clips) - 1, 2):
        if rngs[first].random() < part.prob:
            pair = slice(first, first + 2)
            kept = _mix_pair(clips[pair], part, rngs[first])
            targets[pair] = kept * targets[pair] + (1 - kept) * targets[pair][::-1]
    return clips, targets


def _mix_pair(pair: NDArray[np.uint8], part: MixPart, rng: np.random.Generator) -> np.float32:
    """Mix two clips (2, T, H, W, 3) in place; return the share that each clip keeps."""
    cut = part.cutmix_alpha > 0 and (part.mixup_alpha == 0 or rng.random() < part.switch_prob)
    alpha = part.cutmix_alpha if cut else part.mixup_alpha
    kept = float(rng.beta(alpha, alpha))
    if not cut:
        a, b = pair.reshape(2, -1, pair.shape[-1])
        mixed = cv2.addWeighted(a, kept, b, 1 - kept, 0), cv2.addWeighted(b, kept, a, 1 - kept, 0)
        pair[:] = np.asarray(mixed, dtype=np.uint8).reshape(pair.shape)
        return np.float32(kept)
    height, width = pair.shape[2:4]
    rows, columns = (_stretch(size, (1 - kept) ** 0.5, rng) for size in (height, width))
    box = (slice(None), slice(None), rows, columns)
    pair[box] = pair[::-1][box].copy()
    inside = (rows.stop - rows.start) * (columns.stop - columns.start)
    return np.float32(1 - inside / (height * width))


def _stretch(size: int, share: float, rng: np.random.Generator) -> slice:
    """Draw an interval of about this share of a side, around a random place, clipped at the borders."""
    middle, half = float(rng.uniform(0, size)), share * size / 2
    return slice(max(0, round(middle - half)), min(size, round(middle + half)))
