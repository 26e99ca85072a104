"""What the measurements of gestures make of events and scores."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_delay import Told, judge
from intervals import poisson
from judging import CLASSES, NONE, TRUTHS, Answers, check_labels, first_event, strongest
from result_tables import quantile
from watching import Begun

from mar_edge.errors import OptionError
from mar_edge.evaluation.intervals import wilson

EIGHT, ELEVEN = CLASSES[8], CLASSES[11]


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [(0, 0.0, 3.6889), (1, 0.0253, 5.5716), (2, 0.2422, 7.2247), (10, 4.7954, 18.3904), (100, 81.3639, 121.6270)],
)
def test_interval_of_rare_events_is_that_of_the_tables(count: int, low: float, high: float) -> None:
    assert poisson(count) == pytest.approx((low, high), abs=1e-3)  # chi-squared quantiles of Garwood 1936


def test_there_are_no_negative_counts() -> None:
    with pytest.raises(ValueError, match="-1 is no number of events"):
        poisson(-1)


def test_the_first_event_of_a_judged_class_is_the_answer() -> None:
    begun = [Begun("star", 1.0, 0.5), Begun("tick", 2.0, 1.5), Begun("circle", 3.0, 2.5)]
    assert first_event(begun, EIGHT) == begun[1]
    assert first_event(begun, ELEVEN) == begun[0]
    assert first_event([Begun(NONE, 1.0, 0.5)], EIGHT) is None
    assert first_event([], EIGHT) is None


def test_the_peak_is_where_a_gesture_is_strongest() -> None:
    labels = ("none", "tick", "cross", "star")
    classes = ("none", "tick", "cross")
    rows = np.array([[0.9, 0.1, 0, 0], [0.3, 0.2, 0.5, 0], [0.2, 0.45, 0.35, 0]])
    assert strongest(rows, labels, classes) == "cross"
    assert strongest(rows[:1], labels, classes) == NONE  # the strongest gesture may still be weaker than none
    assert strongest(np.array([[0.1, 0.3, 0, 0.6]]), labels, classes) == NONE  # a star is none of the classes
    assert strongest(np.zeros((0, 4)), labels, classes) == NONE


def test_what_is_not_judged_counts_as_none() -> None:
    found = Answers(
        EIGHT, ("tick", "tick", "star", "other", "circle"), ("tick", NONE, NONE, "circle", "circle"), tuple("aabbc")
    )
    assert found.right == 3
    assert found.top1 == pytest.approx(0.6)
    assert found.top1_interval95 == wilson(3, 5)
    recalls = {part.label: part.accuracy for part in found.per_class}
    assert (recalls[NONE], recalls["tick"], recalls["circle"], recalls["cross"]) == (0.5, 0.5, 1.0, None)
    assert found.macro_recall == pytest.approx((0.5 + 0.5 + 1) / 3)  # classes without clips do not count
    low, high = found.macro_interval95
    assert low <= found.macro_recall <= high
    counts = found.confusion(TRUTHS)
    assert counts.sum() == 5
    assert counts[TRUTHS.index("other"), EIGHT.index("circle")] == 1
    assert counts[TRUTHS.index("star"), EIGHT.index(NONE)] == 1


def test_with_eleven_classes_shapes_are_themselves() -> None:
    found = Answers(ELEVEN, ("star", "other"), (NONE, NONE), ("a", "b"))
    assert found.right == 1


def test_answers_must_be_one_a_clip() -> None:
    with pytest.raises(ValueError, match="2 truths, 1 answers and 2 groups"):
        Answers(EIGHT, ("tick", "tick"), ("tick",), ("a", "b"))


def test_a_model_must_know_the_classes() -> None:
    check_labels(EIGHT, EIGHT)
    with pytest.raises(OptionError, match="the model has no class square, caret, star; it knows none, swipe_left"):
        check_labels(EIGHT, ELEVEN)


def test_quantiles_count_what_is_missing_as_endless() -> None:
    assert quantile([0.4, 0.1, 0.2], 0.5) == "0.20 s"
    assert quantile([0.4, 0.1, 0.2], 0.5, 10) == "never"
    assert quantile([], 0.5) == "never"
    assert quantile([0.1], 1.0) == "0.10 s"


def judged(strokes: list[tuple[str, float, float]], *begun: tuple[str, float]) -> Told:
    told = Told()
    judge(strokes, [Begun(label, told_s, told_s) for label, told_s in begun], told, (0.8, 10.0))
    return told


def test_delay_runs_from_the_end_of_the_stroke() -> None:
    told = judged([("tick", 1.0, 2.0), ("circle", 3.0, 4.0)], ("tick", 2.3), ("circle", 3.9))
    assert told.truths == told.answers == ["tick", "circle"]
    assert told.delays_s == pytest.approx([0.3, -0.1])  # one may be told before it ends
    assert (told.strokes, told.false) == (2, 0)


def test_an_event_belongs_to_the_newest_stroke_of_which_half_is_over() -> None:
    told = judged([("tick", 1.0, 2.0), ("circle", 2.2, 3.2)], ("tick", 2.5), ("circle", 2.8))
    assert told.answers == ["tick", "circle"]


def test_a_second_event_of_a_stroke_and_one_without_are_false() -> None:
    told = judged([("tick", 2.0, 3.0)], ("cross", 1.0), ("tick", 3.2), ("tick", 3.6), ("cross", 4.51))
    assert told.answers == ["tick"]
    assert told.false == 3


def test_a_wrong_event_is_the_answer_and_a_missed_stroke_is_none() -> None:
    told = judged([("tick", 1.0, 2.0), ("circle", 4.0, 5.0)], ("cross", 2.2))
    assert told.answers == ["cross", NONE]
    assert told.delays_s == []
    assert told.false == 0


def test_strokes_that_nobody_could_tell_are_left_out() -> None:
    told = judged([("tick", 0.1, 0.7), ("circle", 5.0, 6.0), ("cross", 9.5, 10.5)], ("tick", 1.0), ("circle", 6.2))
    assert (told.truths, told.strokes, told.left_out) == (["circle"], 1, 2)
    assert told.false == 0  # the event of the first one is no mistake


def test_a_film_without_a_stroke_is_a_negative() -> None:
    assert (judged([]).truths, judged([]).answers) == ([NONE], [NONE])
    wrong = judged([], ("tick", 2.0))
    assert (wrong.answers, wrong.false) == (["tick"], 1)
