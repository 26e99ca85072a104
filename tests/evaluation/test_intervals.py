"""Intervals of figures: by hand, by simulation, and for clips that come in groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mar_edge.evaluation.intervals import GroupBootstrap, auc_interval, mean_interval, score_interval, united, wilson
from mar_edge.evaluation.ranking import Ranking

EVERY = np.ones(100, bool)


def test_clips_that_are_alike_tell_less_than_as_many_others() -> None:
    right = np.repeat([True, False, True, True], 25)
    by_four = GroupBootstrap([f"s{place // 25}" for place in range(100)])
    one_by_one = GroupBootstrap([str(place) for place in range(100)])
    together, alone = by_four.share(right, EVERY), one_by_one.share(right, EVERY)
    assert together is not None and alone is not None
    assert (by_four.count, one_by_one.count) == (4, 100)
    assert together[1] - together[0] > 3 * (alone[1] - alone[0])
    assert alone == pytest.approx(wilson(75, 100), abs=0.03)
    assert (
        GroupBootstrap([f"s{place // 25}" for place in range(100)]).share(right, EVERY) == together
    )  # of the same draws


def test_draws_of_two_groups_by_hand() -> None:
    """Two of two groups give aa, ab, ba or bb: a quarter, a half and a quarter of the draws."""
    bootstrap = GroupBootstrap(["a", "b", "b", "b"])
    counts = bootstrap.totals(np.ones(4))
    assert set(counts) == {2, 4, 6}
    assert [np.mean(counts == clips) for clips in (2, 4, 6)] == pytest.approx([0.25, 0.5, 0.25], abs=0.04)
    # of b alone: there is none of them in the draws aa, which do not count
    assert bootstrap.share(np.array([True, True, True, False]), np.array([False, True, True, True])) == pytest.approx(
        (2 / 3, 2 / 3)
    )
    assert bootstrap.share(EVERY[:4], np.zeros(4, bool)) is None
    assert bootstrap.totals(np.array([[1, 0], [0, 2], [0, 0], [0, 1]])).shape == (2000, 2)


def test_a_figure_needs_clips() -> None:
    with pytest.raises(ValueError, match="no clips"):
        GroupBootstrap([])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 3)), min_size=4, max_size=12))
def test_a_figure_of_drawn_clips_is_that_of_a_list_of_them(clips: list[tuple[int, bool, int]]) -> None:
    """A clip that is drawn twice counts as two clips."""
    clips += [(1, True, 0), (2, False, 1)]
    scores, positive = np.array([clip[0] for clip in clips], float), np.array([clip[1] for clip in clips])
    times = np.array([clip[2] for clip in clips[:-2]] + [1, 2])
    of_all, of_drawn = Ranking(scores, positive), Ranking(np.repeat(scores, times), np.repeat(positive, times))
    assert of_all._aucs(times[None].astype(float))[0] == pytest.approx(of_drawn.auc)
    assert of_all._average_precisions(times[None].astype(float))[0] == pytest.approx(of_drawn.average_precision)


@pytest.mark.parametrize(("auc", "positives", "negatives"), [(0.8, 20, 30), (1.0, 4, 4), (0.5, 1, 1), (0.0, 5, 9)])
def test_ends_of_an_auc_are_196_of_their_own_errors_away(auc: float, positives: int, negatives: int) -> None:
    low, high = auc_interval(auc, positives, negatives)
    assert 0 <= low <= auc <= high <= 1
    more = (positives + negatives) / 2 - 1
    for end in (low, high):
        if end in (0, 1):
            continue
        error = end * (1 - end) * (1 + more * (1 - end) / (2 - end) + more * end / (1 + end)) / (positives * negatives)
        assert abs(auc - end) == pytest.approx(1.959964 * error**0.5, rel=1e-4)
    assert high - low > 0.05  # also where the classes do not overlap


def test_an_auc_lies_in_its_interval_as_often_as_said() -> None:
    """Scores of two normal distributions one standard deviation apart have an AUC of 0.7602."""
    rng = np.random.default_rng(0)
    positive = np.arange(50) < 20
    inside = 0
    for _ in range(300):
        low, high = auc_interval(Ranking(rng.normal(positive.astype(float), 1), positive).auc, 20, 30)
        inside += low <= 0.7602 <= high
    assert 0.92 <= inside / 300 <= 0.985


def test_the_mean_of_shares() -> None:
    assert mean_interval([(3, 7)]) == pytest.approx(wilson(3, 7))
    # of two alike the reach is that of one, over the root of two
    low, high = mean_interval([(3, 7), (3, 7)])
    one = wilson(3, 7)
    assert (3 / 7 - low, high - 3 / 7) == pytest.approx(((3 / 7 - one[0]) / 2**0.5, (one[1] - 3 / 7) / 2**0.5))
    assert mean_interval([(5, 5), (9, 9)])[1] == 1


def test_shares_that_are_no_counts_and_intervals_that_hold_two() -> None:
    assert score_interval(0.75, 100) == wilson(75, 100)
    assert score_interval(1.0, 4) == pytest.approx((0.5101, 1), abs=1e-4)
    assert united((0.2, 0.4), (0.1, 0.3)) == (0.1, 0.4)
