"""RandAugment on clips: a few random operations of one strength, the same for all frames."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pydantic import Field

from mar_edge.files.yaml_part import Part, Probability, Share
from mar_edge.training.augmentation import clip_ops
from mar_edge.training.augmentation.clip_ops import LEVELS, Clip

STRONGEST = 10


class RandAugmentPart(Part):
    """RandAugment (Cubuk et al. 2019, arXiv 1909.13719); off by default.

    The 14 operations of the paper (identity, autocontrast, equalise, rotate, solarise, colour, posterise, contrast,
    brightness, sharpness, shear and translate along x and y) with the ranges of AutoAugment (arXiv 1805.09501,
    table 6), all of which grow with the magnitude. Recipes of vision transformers call this `rand-m7-n4-mstd0.5`:
    ops 4, magnitude 7, magnitude_std 0.5, probability 0.5.

    Attributes:
        ops: number of operations per clip, drawn with replacement; 0 is off.
        magnitude: their strength, 0 to 10.
        magnitude_std: standard deviation of the strength, drawn for each operation; clipped to 0 to 10.
        probability: of applying each drawn operation.
    """

    ops: int = Field(default=0, ge=0, le=100)
    magnitude: float = Field(default=7.0, ge=0, le=STRONGEST)
    magnitude_std: Share = 0.5
    probability: Probability = 0.5


def rand_augment(clip: Clip, part: RandAugmentPart, rng: np.random.Generator) -> Clip:
    """Return a clip (T, H, W, 3) after the operations that `rng` draws."""
    for _ in range(part.ops):
        operation = OPERATIONS[int(rng.integers(len(OPERATIONS)))]
        strength = float(np.clip(rng.normal(part.magnitude, part.magnitude_std), 0, STRONGEST)) / STRONGEST
        sign = 1 if rng.random() < 0.5 else -1
        if rng.random() < part.probability:
            clip = operation(clip, strength, sign)
    return clip


def _identity(clip: Clip, strength: float, sign: int) -> Clip:
    return clip


def _autocontrast(clip: Clip, strength: float, sign: int) -> Clip:
    seen = clip_ops.histogram(clip) > 0
    low, high = LEVELS[seen.argmax(axis=0)], LEVELS[255 - seen[::-1].argmax(axis=0)]
    span = high - low
    curve = (LEVELS[:, None] - low) / np.where(span > 0, span, 1)
    return clip_ops.tone(clip, np.where(span > 0, curve, LEVELS[:, None]))


def _equalise(clip: Clip, strength: float, sign: int) -> Clip:
    below = clip_ops.histogram(clip).cumsum(axis=0)
    first = np.take_along_axis(below, (below > 0).argmax(axis=0)[None], axis=0)
    rest = below[-1] - first
    return clip_ops.tone(clip, np.where(rest > 0, (below - first) / np.maximum(rest, 1), LEVELS[:, None]))


def _rotate(clip: Clip, strength: float, sign: int) -> Clip:
    return clip_ops.affine(clip, rotation_deg=sign * 30 * strength)


def _solarise(clip: Clip, strength: float, sign: int) -> Clip:
    return clip_ops.tone(clip, np.where(256 * (1 - strength) <= LEVELS * 255, 1 - LEVELS, LEVELS))


def _posterise(clip: Clip, strength: float, sign: int) -> Clip:
    step = 2 ** round(4 * strength)
    return clip_ops.tone(clip, np.arange(256) // step * step / 255)


def _colour(clip: Clip, strength: float, sign: int) -> Clip:
    return clip_ops.colour(clip, saturation=_factor(strength, sign))


def _contrast(clip: Clip, strength: float, sign: int) -> Clip:
    return clip_ops.light(clip, contrast=_factor(strength, sign))


def _brightness(clip: Clip, strength: float, sign: int) -> Clip:
    return clip_ops.light(clip, brightness=_factor(strength, sign))


def _sharpness(clip: Clip, strength: float, sign: int) -> Clip:
    return clip_ops.sharpen(clip, _factor(strength, sign))


def _shear_x(clip: Clip, strength: float, sign: int) -> Clip:
    return clip_ops.affine(clip, shear=(sign * 0.3 * strength, 0))


def _shear_y(clip: Clip, strength: float, sign: int) -> Clip:
    return clip_ops.affine(clip, shear=(0, sign * 0.3 * strength))


def _translate_x(clip: Clip, strength: float, sign: int) -> Clip:
    return clip_ops.affine(clip, shift=(sign * 0.45 * strength, 0))


def _translate_y(clip: Clip, strength: float, sign: int) -> Clip:
    return clip_ops.affine(clip, shift=(0, sign * 0.45 * strength))


def _factor(strength: float, sign: int) -> float:
    return 1 + sign * 0.9 * strength


OPERATIONS: tuple[Callable[[Clip, float, int], Clip], ...] = (
    _identity, _autocontrast, _equalise, _rotate, _solarise, _colour, _posterise,
    _contrast, _brightness, _sharpness, _shear_x, _shear_y, _translate_x, _translate_y,
)  # fmt: skip
"""Each takes a clip, its strength from 0 to 1, and a sign if it has two directions."""
