"""Mixup and cutmix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from mar_edge.training.augmentation.mixing import MixPart, mix

BOTH = MixPart(mixup_alpha=0.8, cutmix_alpha=1.0)
MIXUP = MixPart(mixup_alpha=0.8)
CUTMIX = MixPart(cutmix_alpha=1.0)


def batch(size: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.float32], list[np.random.Generator]]:
    """Random clips, one-hot targets of a class each, and a generator each."""
    clips = np.random.default_rng(seed).integers(0, 256, (size, 4, 24, 32, 3), dtype=np.uint8)
    return clips, np.eye(size, dtype=np.float32), generators(size)


def generators(size: int) -> list[np.random.Generator]:
    return [np.random.default_rng([5, index]) for index in range(size)]


@pytest.mark.parametrize("part", [BOTH, MIXUP, CUTMIX])
def test_targets_keep_their_sum_and_only_neighbours_mix(part: MixPart) -> None:
    clips, targets, rngs = batch(17)
    kept_clips, kept_targets = clips.copy(), targets.copy()
    mixed, shares = mix(clips, targets, part, rngs)
    assert mixed.shape == clips.shape
    assert mixed.dtype == np.uint8
    assert shares.dtype == np.float32
    assert np.allclose(shares.sum(axis=1), 1, atol=1e-6)
    assert (shares >= 0).all()
    for first in range(0, 16, 2):
        own = shares[first : first + 2, first : first + 2]
        assert own.sum() == pytest.approx(2)  # nothing from outside the pair
        assert own[0, 0] == own[1, 1]  # one share a pair
    assert np.array_equal(mixed[16], clips[16])
    assert shares[16, 16] == 1
    assert np.array_equal(clips, kept_clips)
    assert np.array_equal(targets, kept_targets)


def test_a_batch_in_even_parts_gives_the_same() -> None:
    clips, targets, _ = batch(12)
    whole = mix(clips, targets, BOTH, generators(12))
    for cut in (2, 6, 10):
        parts = [mix(clips[s], targets[s], BOTH, generators(12)[s]) for s in (slice(cut), slice(cut, 12))]
        for index in (0, 1):
            assert np.array_equal(np.concatenate([part[index] for part in parts]), whole[index])


def test_mixup_pixels_and_targets_have_the_same_shares() -> None:
    _, targets, rngs = batch(40)
    clips = np.zeros((40, 2, 8, 8, 3), np.uint8)
    clips[1::2] = 250
    mixed, shares = mix(clips, targets, MIXUP, rngs)
    seen = []
    for first in range(0, 40, 2):
        assert (mixed[first] == mixed[first, 0, 0, 0]).all()
        assert mixed[first, 0, 0, 0, 0] == pytest.approx(250 * shares[first, first + 1], abs=0.6)
        assert mixed[first + 1, 0, 0, 0, 0] == pytest.approx(250 * shares[first, first], abs=0.6)
        seen.append(shares[first, first])
    assert min(seen) < 0.2
    assert max(seen) > 0.8


def test_cutmix_exchanges_one_box_of_all_frames() -> None:
    clips, targets, rngs = batch(40)
    mixed, shares = mix(clips, targets, CUTMIX, rngs)
    seen = []
    for first in range(0, 40, 2):
        a, b = clips[first], clips[first + 1]
        box = (mixed[first] != a).any(axis=(0, 3))
        assert np.array_equal(mixed[first], np.where(box[..., None], b, a))
        assert np.array_equal(mixed[first + 1], np.where(box[..., None], a, b))
        assert shares[first, first + 1] == pytest.approx(box.mean(), abs=1e-6)
        rows, columns = box.any(axis=1), box.any(axis=0)
        assert np.array_equal(box, rows[:, None] & columns)
        seen.append(box.mean())
    assert min(seen) < 0.2
    assert max(seen) > 0.6


def test_both_on_takes_one_of_them_for_each_pair() -> None:
    clips, targets, rngs = batch(80)
    mixed, _ = mix(clips, targets, BOTH, rngs)
    exchanged = (mixed == clips) | (mixed == clips.reshape(40, 2, *clips.shape[1:])[:, ::-1].reshape(clips.shape))
    cut = exchanged.all(axis=(1, 2, 3, 4))[::2]
    assert 10 < cut.sum() < 30


def test_off_and_never_leave_the_batch() -> None:
    clips, targets, rngs = batch(6)
    before = rngs[0].bit_generator.state
    for part in (MixPart(), MixPart(mixup_alpha=0.8, prob=0)):
        mixed, shares = mix(clips, targets, part, generators(6))
        assert np.array_equal(mixed, clips)
        assert np.array_equal(shares, targets)
    mix(clips, targets, MixPart(), rngs)
    assert rngs[0].bit_generator.state == before


def test_soft_targets_can_be_mixed() -> None:
    clips, _, rngs = batch(4)
    smooth = np.full((4, 10), 0.1, np.float32)
    assert np.allclose(mix(clips, smooth, BOTH, rngs)[1], smooth)


def test_one_clip_stays() -> None:
    clips, targets, rngs = batch(1)
    assert np.array_equal(mix(clips, targets, BOTH, rngs)[0], clips)


@pytest.mark.parametrize(
    ("clips", "targets", "count", "told"),
    [
        (np.zeros((2, 8, 8, 3), np.uint8), np.eye(2, dtype=np.float32), 2, r"shape \(2, 8, 8, 3\)"),
        (np.zeros((2, 4, 8, 8, 3), np.float32), np.eye(2, dtype=np.float32), 2, "not float32"),
        (np.zeros((2, 4, 8, 8, 3), np.uint8), np.eye(2), 2, "not float64"),
        (np.zeros((2, 4, 8, 8, 3), np.uint8), np.array([0, 1], np.float32), 2, r"shape \(2,\)"),
        (np.zeros((2, 4, 8, 8, 3), np.uint8), np.eye(3, dtype=np.float32), 2, "2 clips need"),
        (np.zeros((2, 4, 8, 8, 3), np.uint8), np.eye(2, dtype=np.float32), 1, "not 2 and 1"),
    ],
)
def test_shapes_and_types_that_do_not_fit_are_refused(clips: Any, targets: Any, count: int, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        mix(clips, targets, BOTH, generators(count))


@pytest.mark.parametrize("values", [{"mixup_alpha": -1}, {"prob": 2}, {"switch_prob": -0.1}, {"mixup": 0.8}])
def test_impossible_values_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MixPart.model_validate(values)
