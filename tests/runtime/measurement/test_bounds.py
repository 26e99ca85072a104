"""What a graph of a precision must keep: what is sound passes however small its logits are, and what is broken does not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from mar_edge.runtime.measurement.bounds import BOUNDS, misses
from mar_edge.runtime.measurement.parity import compare

Logits = NDArray[np.float32]

CLIPS = 64

NOISE = {"fp32": 1e-6, "fp16": 5e-4, "bf16": 5e-3, "int8-bf16": 0.016, "int8": 0.015}
"""What rounding does to a logit of a small model, as deviation; measured on two-class models for INT8."""


def two_classes(spread: float, mean: float = 0.0, clips: int = CLIPS) -> Logits:
    """Logits whose difference has this deviation and mean."""
    margins = mean + spread * np.random.default_rng(1).standard_normal(clips)
    return np.stack([margins / 2, -margins / 2], axis=1).astype(np.float32)


def rounded(logits: Logits, deviation: float, bias: float = 0.0) -> Logits:
    """Return logits as a graph of lower precision gives them."""
    noise = deviation * np.random.default_rng(2).standard_normal(logits.shape)
    noise[:, 0] += bias
    return (logits + noise).astype(np.float32)


@pytest.mark.parametrize("precision", list(BOUNDS))
@pytest.mark.parametrize(
    ("spread", "mean"), [(0.02, 0.02), (0.08, 0.04), (0.2, -0.1), (0.08, 0.5), (1.0, 0.0), (8.0, 0.0), (0.5, 12.0)]
)
def test_a_sound_two_class_graph_passes_whatever_the_size_of_its_logits(
    precision: str, spread: float, mean: float
) -> None:
    reference = two_classes(spread, mean)
    got = rounded(reference, NOISE[precision] * max(1.0, spread / 4), bias=NOISE[precision])
    assert misses(reference, got, BOUNDS[precision]) == []
    for clips in (1, 2, 4, 6, 8):  # fewer clips are judged by the same rule
        assert misses(reference[:clips], got[:clips], BOUNDS[precision]) == []


def test_small_cosines_and_labels_near_a_tie_are_no_reason() -> None:
    reference = two_classes(0.02)
    verdict = compare(reference, rounded(reference, 0.02), "int8", source="made", reference_name="made")
    assert verdict.parity.cosine is not None and verdict.parity.cosine < 0.5
    assert verdict.parity.top1_agreement is not None and verdict.parity.top1_agreement < 0.9
    assert verdict.parity.kl is not None and verdict.parity.kl < 3e-4
    assert verdict.missed == ()
    assert verdict.remark is not None and verdict.remark.endswith("than in fp32, where the two classes nearly tie")


def constant(reference: Logits) -> Logits:
    return np.broadcast_to(reference.mean(axis=0), reference.shape).astype(np.float32)


def zero(reference: Logits) -> Logits:
    return np.zeros_like(reference)


def permuted(reference: Logits) -> Logits:
    return reference[:, ::-1].copy()


def of_other_clips(reference: Logits) -> Logits:
    return reference[np.random.default_rng(3).permutation(len(reference))]


def biased(reference: Logits) -> Logits:
    shifted: Logits = reference + np.array([0.4, *[0.0] * (reference.shape[1] - 1)], np.float32)
    return shifted


def noisy(reference: Logits) -> Logits:
    return rounded(reference, 0.2 * max(1.0, float(np.abs(reference).max())))


def nan_once(reference: Logits) -> Logits:
    got = reference.copy()
    got[-1, 0] = np.nan
    return got


@pytest.mark.parametrize("precision", list(BOUNDS))
@pytest.mark.parametrize("damage", [constant, zero, permuted, of_other_clips, biased, noisy, nan_once])
@pytest.mark.parametrize("spread", [0.03, 0.1, 0.5])
@pytest.mark.parametrize("classes", [2, 3, 8])
def test_a_broken_graph_is_refused_also_with_small_logits(
    precision: str, damage: Callable[[Logits], Logits], spread: float, classes: int
) -> None:
    generator = np.random.default_rng(1)
    reference = (spread * generator.standard_normal((CLIPS, classes))).astype(np.float32)
    assert misses(reference, damage(reference), BOUNDS[precision])


@pytest.mark.parametrize("damage", [constant, of_other_clips, permuted, nan_once])
def test_a_model_that_always_names_one_class_hides_no_broken_graph(damage: Callable[[Logits], Logits]) -> None:
    for mean in (0.5, 3.0, 20.0):
        reference = two_classes(0.3, mean)
        got = damage(reference)
        assert misses(reference, got, BOUNDS["int8"])
        if damage is not permuted:
            assert np.isnan(got).any() or (got.argmax(axis=1) == reference.argmax(axis=1)).mean() > 0.9


@pytest.mark.parametrize("damage", [constant, zero, of_other_clips, nan_once])
def test_a_single_class_is_judged_by_its_logit(damage: Callable[[Logits], Logits]) -> None:
    reference = np.random.default_rng(1).standard_normal((CLIPS, 1)).astype(np.float32)
    assert misses(reference, rounded(reference, 0.02), BOUNDS["int8"]) == []
    assert misses(reference, damage(reference), BOUNDS["int8"])


def test_a_constant_model_refuses_no_constant_graph() -> None:
    reference = np.full((CLIPS, 2), 0.3, np.float32)
    assert misses(reference, reference.copy(), BOUNDS["int8"]) == []
    assert misses(reference, rounded(reference, 0.01), BOUNDS["int8"]) == []
    assert misses(reference, reference + np.array([0.4, 0], np.float32), BOUNDS["int8"])


def test_what_is_said() -> None:
    reference = two_classes(0.1)
    told = "the logits do not follow fp32 from clip to clip: where fp32 changes by 1, they change by -1.00 (+- 0.00)"
    assert told in misses(reference, permuted(reference), BOUNDS["int8"])
    assert misses(reference, nan_once(reference), BOUNDS["int8"]) == ["1 of 64 clips has NaN or infinite logits"]
    assert misses(reference, reference[:, :1], BOUNDS["int8"]) == ["logits of shape (64, 1) instead of (64, 2)"]
    large = two_classes(8.0)
    assert any("largest error of a logit" in reason for reason in misses(large, zero(large), BOUNDS["int8"]))


def test_clear_labels_must_agree_and_one_of_few_clips_may_not() -> None:
    reference = two_classes(0.0, 0.6)
    rest = two_classes(3.0)
    reference[32:] = rest[32:]  # so that the errors are small in all
    got = reference.copy()
    got[0] = got[0, ::-1] * 0.2
    assert misses(reference, got, BOUNDS["int8"]) == []
    got[1:4] = got[1:4, ::-1] * 0.2
    (reason,) = [reason for reason in misses(reference, got, BOUNDS["int8"]) if "class" in reason]
    assert reason.startswith("4 of ") and reason.endswith(" clips with a clear class get another class, more than 2 %")


def test_top1_may_not_fall_beyond_chance() -> None:
    reference = two_classes(0.02)
    targets = reference.argmax(axis=1).astype(np.int64)

    def with_flips(lost: int, won: int) -> list[str]:
        got, truth = reference.copy(), targets.copy()
        got[: lost + won] = got[: lost + won, ::-1]
        truth[lost : lost + won] = 1 - truth[lost : lost + won]
        return [reason for reason in misses(reference, got, BOUNDS["int8"], targets=truth) if "top-1" in reason]

    assert with_flips(2, 0) == []  # as likely as two heads
    assert with_flips(6, 5) == []
    assert with_flips(8, 0) == ["top-1 12.5 points below fp32, more than 0.5"]
    assert with_flips(0, 8) == []
    unlabelled = np.full(CLIPS, -1)
    assert misses(reference, reference, BOUNDS["int8"], targets=unlabelled) == []


def test_bounds_tighten_in_what_is_measured() -> None:
    reference = two_classes(1.0)
    got = rounded(reference, 0.012)
    assert misses(reference, got, BOUNDS["fp16"].tightened(1.0)) == misses(reference, got, BOUNDS["fp16"])
    near = rounded(reference, 0.009)
    assert misses(reference, near, BOUNDS["bf16"].tightened(0.5)) == []
    assert misses(reference, near, BOUNDS["bf16"].tightened(0.05))
