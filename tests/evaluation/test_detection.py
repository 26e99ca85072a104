"""A model as a detector: every figure against values computed by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mar_edge.datasets.groups import Grouping
from mar_edge.errors import DataError, OptionError
from mar_edge.evaluation.detection import Detection, check_detection, detect
from mar_edge.evaluation.intervals import auc_interval, wilson
from mar_edge.evaluation.metrics import Evaluation
from mar_edge.evaluation.ranking import Ranking
from mar_edge.evaluation.report import write_report
from tests.evaluation.test_report import read

LABELS = ("none", "a", "b")
CLIPS = [
    ("a", [0.1, 0.8, 0.1]),
    ("a", [0.2, 0.6, 0.2]),
    ("a", [0.5, 0.4, 0.1]),  # taken for none
    ("none", [0.9, 0.05, 0.05]),
    ("none", [0.3, 0.7, 0.0]),  # taken for a
    ("none", [0.6, 0.3, 0.1]),
    ("b", [0.1, 0.1, 0.8]),
    ("b", [0.2, 0.45, 0.35]),  # taken for a
]
ONSETS = {"a": 0.6, "b": 0.6}


def evaluation(clips: Sequence[tuple[str, list[float]]] = CLIPS, groups: Sequence[str] | None = None) -> Evaluation:
    labels = LABELS[: len(clips[0][1])]
    grouping = None if groups is None else Grouping("person", "names", "Groups: by names.", tuple(groups))
    return Evaluation(
        labels=labels,
        scores=np.array([scores for _, scores in clips], np.float32),
        targets=np.array([labels.index(label) for label, _ in clips], np.int64),
        names=tuple(f"{index}.mp4" for index in range(len(clips))),
        grouping=grouping,
    )


def judged(false_alarms: float | None = None, classes: Sequence[str] = (), idle: str | None = "none") -> Detection:
    onsets = ONSETS if idle else {**ONSETS, "none": 0.6}
    return detect(evaluation(), idle_label=idle, onsets=onsets, false_alarms=false_alarms, classes=classes)


def test_a_ranking_by_hand() -> None:
    scores, positive = np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([True, False, True, True, False])
    ranking = Ranking(scores, positive)
    assert ranking.auc == pytest.approx(4 / 6)  # of 3 x 2 pairs
    assert ranking.average_precision == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert ranking.recall.tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3, 1, 1])
    assert ranking.precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3, 3 / 4, 3 / 5])
    assert ranking.thresholds.tolist() == [0.9, 0.8, 0.7, 0.6, 0.5]
    assert ranking.auc_interval95 == auc_interval(ranking.auc, 3, 2)
    recall, precision, thresholds = ranking.curve(3)  # where the recall first reaches a third, two thirds and all
    assert (recall.tolist(), thresholds.tolist()) == (pytest.approx([1 / 3, 2 / 3, 1]), [0.9, 0.7, 0.6])
    assert precision.tolist() == pytest.approx([1, 2 / 3, 3 / 4])


def test_clips_of_equal_score_pass_together() -> None:
    ranking = Ranking(np.array([0.9, 0.9, 0.1]), np.array([True, False, False]))
    assert (ranking.auc, ranking.average_precision) == (0.75, 0.5)
    reverse = Ranking(np.array([0.9, 0.9, 0.1]), np.array([False, True, False]))
    assert (reverse.auc, reverse.average_precision) == (0.75, 0.5)
    flat = Ranking(np.full(4, 0.5), np.array([True, False, False, False]))
    assert (flat.auc, flat.average_precision, flat.precision.tolist()) == (0.5, 0.25, [0.25])
    for positive in ([True, True], [False, False]):
        with pytest.raises(ValueError, match="of 2 clips (is|are) of the class"):
            Ranking(np.array([0.1, 0.2]), np.array(positive))


def test_an_onset_counts_what_a_live_stream_would_begin() -> None:
    point = judged().detectors[0].at(0.6)
    assert (point.found, point.positives, point.false, point.negatives) == (2, 3, 1, 5)
    assert (point.recall95, point.false_alarms95) == (wilson(2, 3), wilson(1, 5))
    # however low the onset: no event of a class begins where another one is better
    low = judged().detectors[0].at(0.01)
    assert (low.found, low.false) == (2, 2)


@pytest.mark.parametrize(
    ("false_alarms", "between", "found", "false"),
    [
        (0, (0.7, 0.8), 1, 0),
        (0.19, (0.7, 0.8), 1, 0),
        (0.2, (0.45, 0.6), 2, 1),
        (0.4, (0.45, 0.6), 2, 1),  # a second false alarm would find no further clip
    ],
)
def test_the_onset_for_false_alarms(false_alarms: float, between: tuple[float, float], found: int, false: int) -> None:
    detection = judged(false_alarms)
    onset = detection.chosen["a"]
    assert onset is not None and between[0] < onset < between[1]
    assert onset == pytest.approx(sum(between) / 2, abs=0.006)  # two digits
    point = detection.detectors[0].at(onset)
    assert (point.found, point.false) == (found, false)


def test_shares_of_a_hundred_clips_are_not_cut_off_by_rounding() -> None:
    clips = [("none", [1 - score, score]) for score in np.linspace(0.51, 0.9, 100)] + [("a", [0.05, 0.95])] * 9
    clips += [("a", [1 - score, score]) for score in np.linspace(0.51, 0.9, 100)]
    one = detect(evaluation(clips), idle_label="none", onsets={"a": 0.6}, false_alarms=0.29)
    onset = one.chosen["a"]
    assert onset is not None
    assert one.detectors[0].at(onset).false == 29


def test_f1_and_its_onset() -> None:
    f1, onset = judged().detectors[0].best_f1
    assert f1 == pytest.approx(2 * 2 / (2 + 1 + 3))  # at 0.6: 2 found, 1 false; at 0.8: 1 found, none false
    assert onset is not None and 0.45 < onset < 0.6
    f1, onset = judged().detectors[1].best_f1
    assert f1 == pytest.approx(2 / 3)
    assert onset == pytest.approx((1 / 3 + 0.8) / 2, abs=0.006)  # between a guess of three and 0.8


def test_events_of_any_class_of_a_model_with_an_idle_one() -> None:
    detection = judged(0.0)
    now = detection.any_event(detection.onsets)
    assert now is not None
    # 0.8 and 0.6 of a, and 0.8 of b, of five clips; 0.7 of three idle ones
    assert (now.onset, now.found, now.positives, now.false, now.negatives) == (None, 3, 5, 1, 3)
    then = detection.any_event(detection.chosen_onsets)
    assert then is not None and (then.found, then.false) == (2, 0)
    assert judged(idle=None).any_event({**ONSETS, "none": 0.6}) is None
    two = detect(evaluation([("none", [0.9, 0.1]), ("a", [0.1, 0.9])]), idle_label="none", onsets={"a": 0.6})
    assert two.any_event(two.onsets) is None  # the same as its only class


def test_only_wanted_classes_get_an_onset() -> None:
    assert set(judged(0.2).chosen) == {"a", "b"}
    assert set(judged(0.2, ["b"]).chosen) == {"b"}
    assert set(judged(0.2, idle=None).chosen) == {"none", "a", "b"}
    assert [one.label for one in judged().detectors] == ["a", "b"] and not judged().chosen


def test_a_class_that_never_scores_highest_has_no_onset() -> None:
    clips = [("a", [0.6, 0.4]), ("none", [0.3, 0.7]), ("none", [0.9, 0.1])]
    detection = detect(evaluation(clips), idle_label="none", onsets={"a": 0.6}, false_alarms=0.5)
    assert detection.detectors[0].best_f1 == (0.0, None)
    assert detection.chosen == {"a": None}
    assert detection.chosen_onsets == {"a": 0.6}
    assert detection.detectors[0].ranking.auc == 0.5


def test_sure_scores_have_an_onset_in_between() -> None:
    clips = [("a", [0, 1.0]), ("a", [0, 1.0]), ("none", [0.0001, 0.9999]), ("none", [0.9, 0.1])]
    onset = detect(evaluation(clips), idle_label="none", onsets={"a": 0.6}, false_alarms=0).chosen["a"]
    assert onset is not None and 0.9999 < onset <= 1


def test_what_few_clips_mean_is_said() -> None:
    said = judged(0.1).notes
    assert len(said) == 2
    assert said[0].startswith("a: only 3 clips of it: its recall is known to 21 to 94 % at best")
    assert "5 clips of other classes cannot show 10 %: none at all still means up to 43.4 %" in said[0]
    enough = [("a", [0.1, 0.9])] * 10 + [("none", [0.9, 0.1])] * 10
    assert detect(evaluation(enough), idle_label="none", onsets={"a": 0.6}, false_alarms=0.1).notes == []


def test_lists_that_cannot_be_judged() -> None:
    only = evaluation([("a", [0.1, 0.9, 0]), ("a", [0.2, 0.8, 0])])
    found = detect(only, idle_label="none", onsets=ONSETS)
    assert not found.detectors
    assert found.unjudged == {
        "a": "all clips are of it, so there can be no false alarm", "b": "there are no clips of it",
    }  # fmt: skip
    with pytest.raises(DataError, match=r"no onset can be chosen\. a: all clips are of it"):
        detect(only, idle_label="none", onsets=ONSETS, false_alarms=0.1)
    some = {"none": 4, "a": 3, "b": 0}
    assert check_detection(some, "none", false_alarms=0.1) == {"b": "there are no clips of it"}
    with pytest.raises(DataError, match="b: there are no clips of it"):
        check_detection(some, "none", false_alarms=0.1, classes=["b"])


@pytest.mark.parametrize(
    ("false_alarms", "classes", "says"),
    [
        (1, [], "--false-alarms 1 is no share"),
        (-0.1, [], "is no share"),
        (math.nan, [], "is no share"),
        (None, ["a"], "add --false-alarms"),
        (0.1, ["waving"], "no class 'waving'"),
        (0.1, ["none"], "idle class"),
    ],
)
def test_wishes_that_make_no_sense(false_alarms: float | None, classes: list[str], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        judged(false_alarms, classes)


def test_groups_widen_intervals_and_never_narrow_them() -> None:
    clips = CLIPS * 6
    alone, together = evaluation(clips), evaluation(clips, [f"p{place // 8}" for place in range(48)])
    by_class = evaluation(clips, [f"p{place % 4}" for place in range(48)])
    assert alone.bootstrap is None and together.bootstrap is not None
    # every group is the same here, so that only the clips count
    assert together.interval95 == alone.interval95 == wilson(30, 48)
    assert together.mean_class_interval95 == alone.mean_class_interval95
    assert [part.interval95 for part in together.per_class] == [part.interval95 for part in alone.per_class]
    assert by_class.interval95[1] - by_class.interval95[0] > 1.2 * (alone.interval95[1] - alone.interval95[0])
    wide, narrow = (detect(one, idle_label="none", onsets=ONSETS).detectors[0] for one in (by_class, alone))
    assert wide.ranking.auc == narrow.ranking.auc
    for one, other in (
        (wide.ranking.auc_interval95, narrow.ranking.auc_interval95),
        (wide.ranking.average_precision_interval95, narrow.ranking.average_precision_interval95),
        (wide.at(0.6).recall95, narrow.at(0.6).recall95),
    ):
        assert one[0] <= other[0] and one[1] >= other[1] and one != other
    assert "bootstrap over groups" in by_class.intervals_said and "10 groups or more" in by_class.intervals_said
    one_person = evaluation(clips, ["p"] * 48)
    assert one_person.bootstrap is None and "independent clips. Groups: by names." in one_person.intervals_said


def test_json_and_report_have_the_figures(tmp_path: Path) -> None:
    detection = judged(0.2)
    record = json.loads(json.dumps(detection.to_json()))
    first = record["classes"][0]
    assert (first["label"], first["clips"], first["others"]) == ("a", 3, 5)
    assert first["auc"] == pytest.approx(12 / 15, abs=1e-6)  # 0.7 beats 0.6, and 0.7 and 0.45 beat 0.4
    assert first["curve"]["recall"][-1] == 1 and len(first["curve"]["threshold"]) == len(first["curve"]["precision"])
    assert first["at_onset"]["recall"] == pytest.approx(2 / 3, abs=1e-6)
    assert first["at_chosen"]["false_alarms"] == 0.2
    assert record["any_event"]["found"] == 3 and record["false_alarms"] == 0.2
    write_report(tmp_path / "r.html", title="t", facts={}, evaluation=detection.evaluation, detection=detection)
    text = read(tmp_path / "r.html").text
    for words in ("Detector", "AUC", "0.800", "any class", "1 of 5", "chosen", "only 3 clips of it"):
        assert words in text
    nothing = detect(evaluation([("a", [0.1, 0.9])]), idle_label="none", onsets=ONSETS)
    write_report(tmp_path / "n.html", title="t", facts={}, evaluation=nothing.evaluation, detection=nothing)
    assert "the only clip is of it" in read(tmp_path / "n.html").text
