"""Metrics against values computed by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mar_edge.evaluation.intervals import wilson
from mar_edge.evaluation.metrics import Evaluation, confused_pairs, ranks, reliability


def evaluation(scores: list[list[float]], targets: list[int], labels: str = "abc") -> Evaluation:
    return Evaluation(
        labels=tuple(labels),
        scores=np.array(scores, np.float32),
        targets=np.array(targets, np.int64),
        names=tuple(f"{index}.mp4" for index in range(len(targets))),
    )


FOUR = evaluation(
    [[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.5, 0.4], [0.2, 0.7, 0.1]],
    [0, 0, 2, 1],
)
"""a right, a right, c taken for b, b right."""


def test_four_clips_by_hand() -> None:
    assert FOUR.predicted.tolist() == [0, 0, 1, 1]
    assert FOUR.top1 == 0.75
    assert FOUR.top5 is None  # three classes
    assert FOUR.mean_class_accuracy == pytest.approx(2 / 3)
    assert FOUR.confusion.tolist() == [[2, 0, 0], [0, 1, 0], [0, 1, 0]]
    assert [(part.label, part.clips, part.right, part.accuracy) for part in FOUR.per_class] == [
        ("a", 2, 2, 1.0), ("b", 1, 1, 1.0), ("c", 1, 0, 0.0),
    ]  # fmt: skip
    assert FOUR.loss == pytest.approx(-math.log(0.7 * 0.6 * 0.4 * 0.7) / 4)
    assert FOUR.absent == ()


def test_calibration_error_by_hand() -> None:
    # bins of 1/15: 0.7 and 0.7 lie in (10/15, 11/15], 0.6 in (8/15, 9/15], 0.5 in (7/15, 8/15]
    assert FOUR.ece == pytest.approx((2 * abs(1 - 0.7) + abs(1 - 0.6) + abs(0 - 0.5)) / 4)
    sure = evaluation([[1, 0, 0], [0, 1, 0]], [0, 1])
    assert sure.ece == 0
    wrong = evaluation([[1, 0, 0], [0, 1, 0]], [1, 0])
    assert wrong.ece == 1


def test_the_ends_of_the_bins() -> None:
    bins = reliability(np.array([0.0, 0.5, 0.5000001, 1.0]), np.array([True, False, True, True]), bins=2)
    assert [part.clips for part in bins] == [2, 2]  # (0, 0.5] and (0.5, 1], and 0 goes to the first
    assert [part.accuracy for part in bins] == [0.5, 1.0]
    assert math.isnan(reliability(np.array([0.9]), np.array([True]), bins=2)[0].accuracy)


def test_wilson_by_hand() -> None:
    # Brown, Cai, DasGupta 2001: the interval is the set of p with |share - p| <= z sqrt(p (1 - p) / n)
    for right, count in ((0, 10), (1, 1), (3, 7), (50, 96), (999, 1000)):
        low, high = wilson(right, count)
        share = right / count
        for end in (low, high):
            assert (share - end) ** 2 * count == pytest.approx(1.959964**2 * end * (1 - end), rel=1e-4, abs=1e-9)
    assert wilson(0, 10)[0] == 0
    assert wilson(10, 10)[1] == 1
    assert wilson(40, 96) == pytest.approx((0.32312, 0.51663), abs=1e-5)
    for right, count in ((0, 0), (3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="is not a share"):
            wilson(right, count)


@given(st.integers(1, 2000).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))))
def test_an_interval_holds_its_share(drawn: tuple[int, int]) -> None:
    right, count = drawn
    low, high = wilson(right, count)
    assert 0 <= low <= right / count <= high <= 1


def test_one_clip() -> None:
    one = evaluation([[0.2, 0.5, 0.3]], [1])
    assert (one.top1, one.mean_class_accuracy) == (1.0, 1.0)
    low, high = one.interval95
    assert low == pytest.approx(0.2065, abs=1e-4)
    assert high == 1
    assert one.ece == pytest.approx(0.5)
    assert one.absent == ("a", "c")


def test_a_class_without_clips_counts_nowhere() -> None:
    some = evaluation([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1]], [0, 1])
    assert some.mean_class_accuracy == 0.5  # over a and b
    assert some.per_class[2].accuracy is None
    assert some.per_class[2].interval95 is None
    assert some.to_json()["per_class"][2] == {
        "label": "c", "clips": 0, "right": 0, "accuracy": None, "interval95": None,
    }  # fmt: skip


def test_of_equal_scores_the_first_class_counts() -> None:
    tied = evaluation([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]], [0, 1])
    assert tied.predicted.tolist() == [0, 0]
    assert tied.top1 == 0.5
    flat = evaluation([[1 / 7] * 7] * 7, list(range(7)), "abcdefg")
    assert flat.top5 == pytest.approx(5 / 7)


def test_top5_among_seven() -> None:
    scores = [[0.3, 0.25, 0.2, 0.1, 0.08, 0.05, 0.02]] * 4
    assert evaluation(scores, [0, 4, 5, 6], "abcdefg").top5 == 0.5
    assert ranks(np.array(scores[:1], np.float32), np.array([4])).tolist() == [4]


def test_a_score_of_zero_has_a_finite_loss() -> None:
    assert evaluation([[1, 0, 0]], [1]).loss == pytest.approx(-math.log(np.finfo(np.float32).tiny))


def test_confused_pairs_come_by_number() -> None:
    confusion = np.array([[5, 2, 0], [0, 9, 4], [2, 0, 1]])
    assert confused_pairs(confusion, 2) == [(1, 2, 4), (0, 1, 2)]
    assert confused_pairs(np.diag([3, 4]), 5) == []


def test_json_is_plain_and_named() -> None:
    record = json.loads(json.dumps(FOUR.to_json()))
    assert next(iter(record)) == "type"
    assert (record["type"], record["clips"], record["top1"], record["top5"]) == ("evaluation", 4, 0.75, None)
    assert record["confusion"] == FOUR.confusion.tolist()
    third = FOUR.clips_json()[2]
    assert third == {
        "type": "prediction", "stream": "2.mp4", "label": "b", "score": 0.5, "truth": "c", "truth_score": 0.4,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("scores", "targets"),
    [([], []), ([[0.5, 0.5]], [0]), ([[1, 0, 0]], [3]), ([[1, 0, 0]], [-1]), ([[1, 0, 0]], [0, 1])],
)
def test_what_does_not_fit_is_refused(scores: list[list[float]], targets: list[int]) -> None:
    with pytest.raises(ValueError, match="do not fit|targets range"):
        evaluation(scores, targets)
