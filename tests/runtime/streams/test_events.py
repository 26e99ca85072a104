"""Events: when they begin and end, when that is reported, and what is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from itertools import count, pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mar_edge.runtime.results import Event, EventEnded, EventStarted
from mar_edge.runtime.streams.event_rule import AppliedRule, ClassRule
from mar_edge.runtime.streams.events import EventDetector, new_event_id

RULE = AppliedRule(onset=0.6, offset=0.4, min_duration_s=0.5, idle_label="idle")
STEP_S = 0.2


def numbered() -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"id-{next(numbers)}"


def timed(scores: list[float], rule: AppliedRule = RULE, *, cut: bool = True) -> list[tuple[float, Event]]:
    """Feed the score of `wave`, five times a second, then cut; return every event with the time it was reported at."""
    detector = EventDetector("test", rule, new_id=numbered())
    told: list[tuple[float, Event]] = []
    for index, score in enumerate(scores):
        time_s = index * STEP_S
        told += [(time_s, event) for event in detector.update({"wave": score, "idle": 1 - score}, time_s)]
    return told + [(len(scores) * STEP_S, event) for event in (detector.cut() if cut else ())]


def ended(scores: list[float], rule: AppliedRule = RULE) -> list[EventEnded]:
    return [event for _, event in timed(scores, rule) if isinstance(event, EventEnded)]


def test_an_event_begins_at_onset_and_ends_below_offset() -> None:
    (start_told_s, start), (end_told_s, end) = timed([0.1, 0.7, 0.65, 0.5, 0.9, 0.45, 0.3, 0.1])
    assert isinstance(start, EventStarted) and isinstance(end, EventEnded)
    assert (start.id, end.id, start.label, end.label) == ("id-1", "id-1", "wave", "wave")
    assert (start.start_s, start.score, start_told_s) == pytest.approx((0.2, 0.9, 0.8))  # once it has lasted 0.5 s
    assert (end.start_s, end.end_s, end.score, end_told_s) == pytest.approx((0.2, 1.2, 0.9, 1.2))


def test_a_start_is_reported_while_the_event_lasts() -> None:
    assert [type(event) for _, event in timed([0.9] * 20, cut=False)] == [EventStarted]


def test_without_a_minimum_the_start_is_reported_at_once() -> None:
    (told_s, start), _ = timed([0.1, 0.9, 0.1], replace(RULE, min_duration_s=0))
    assert (told_s, start.start_s) == pytest.approx((0.2, 0.2))


def test_a_score_between_offset_and_onset_begins_nothing() -> None:
    assert timed([0.5, 0.55, 0.59, 0.5]) == []


def test_a_short_event_is_not_reported() -> None:
    assert timed([0.1, 0.9, 0.1, 0.1]) == []


def test_the_idle_class_is_no_event() -> None:
    assert timed([0.0] * 20) == []


def test_a_cut_ends_an_event_at_the_time_it_was_last_seen() -> None:
    detector = EventDetector("test", RULE)
    for index in range(6):
        detector.update({"wave": 0.9, "idle": 0.1}, index * STEP_S)
    detector.update({"wave": 0.1, "idle": 0.9}, 7.0, begins=False, ends=False)  # a window that shows too little
    (end,) = detector.cut()
    assert isinstance(end, EventEnded)
    assert end.end_s == pytest.approx(1.0)
    assert detector.cut() == ()


def test_a_cut_drops_an_event_that_was_not_reported_yet() -> None:
    assert timed([0.1, 0.9, 0.9]) == []


def test_an_event_that_begins_again_within_the_gap_goes_on() -> None:
    rule = replace(RULE, merge_gap_s=0.5)
    pause = [0.9] * 4 + [0.1] * 2 + [0.8] * 4 + [0.1] * 6
    (_, start), (end_told_s, end) = timed(pause, rule)
    assert (start.id, end.id) == ("id-1", "id-1")
    assert isinstance(end, EventEnded)
    assert (end.start_s, end.end_s, end.score) == pytest.approx((0.0, 2.0, 0.9))
    assert end_told_s == pytest.approx(2.6)  # the gap has passed, with the true end
    assert len(ended([0.9] * 4 + [0.1] * 5 + [0.8] * 4, rule)) == 2


def test_a_cut_within_the_gap_ends_it_at_its_true_end() -> None:
    (end,) = ended([0.9] * 4 + [0.1], replace(RULE, merge_gap_s=60))
    assert end.end_s == pytest.approx(0.8)


def test_another_event_within_the_gap_ends_the_first_and_a_shorter_one_does_not() -> None:
    def labels(other_places: int) -> list[tuple[str, str]]:
        detector = EventDetector("test", replace(RULE, merge_gap_s=5))
        shown = ["wave"] * 4 + ["clap"] * other_places + ["wave"] * 4
        told: list[Event] = []
        for index, label in enumerate(shown):
            told += detector.update({"wave": 0.1, "clap": 0.1, label: 0.9}, index * STEP_S)
        return [(event.label, event.to_json()["phase"]) for event in (*told, *detector.cut())]

    assert labels(2) == [("wave", "start"), ("wave", "end")]
    assert labels(4) == [(label, phase) for label in ("wave", "clap", "wave") for phase in ("start", "end")]


def test_the_cool_down_holds_back_events_of_that_class_alone() -> None:
    rule = replace(RULE, min_duration_s=0, cooldown_s=0.9)
    detector = EventDetector("test", rule)
    shown = ["wave", "idle", "wave", "clap", "wave", "wave", "wave", "wave", "wave"]
    told: list[Event] = []
    for index, label in enumerate(shown):
        told += detector.update({"wave": 0.05, "clap": 0.05, "idle": 0.05, label: 0.9}, index * STEP_S)
    starts = [(event.label, round(event.start_s, 1)) for event in told if isinstance(event, EventStarted)]
    assert starts == [("wave", 0.0), ("clap", 0.6), ("wave", 1.2)]  # it ended at 0.2, and may begin from 1.1


def test_each_class_has_its_own_thresholds() -> None:
    rule = AppliedRule(onset=0.6, offset=0.4, min_duration_s=0, classes={"wave": ClassRule(onset=0.9, offset=0.8)})
    detector = EventDetector("test", rule)
    assert detector.update({"wave": 0.85, "clap": 0.1}, 0.0) == ()
    assert detector.update({"wave": 0.9, "clap": 0.1}, 0.2)[0].label == "wave"
    (end,) = detector.update({"wave": 0.79, "clap": 0.1}, 0.4)
    assert isinstance(end, EventEnded)
    assert detector.update({"wave": 0.1, "clap": 0.6}, 0.6)[0].label == "clap"
    assert detector.update({"wave": 0.1, "clap": 0.4}, 0.8) == ()
    rule = AppliedRule(classes={"wave": ClassRule(onset=0.9)})
    assert (rule.onset_of("wave"), rule.offset_of("wave"), rule.onset_of("clap")) == (0.9, 0.4, 0.6)


def test_a_live_event_carries_the_utc_of_its_beginning_and_end() -> None:
    detector = EventDetector("gate", RULE)
    began = datetime(2026, 7, 1, 12, 0, tzinfo=timezone.utc)
    told: list[Event] = []
    for index in range(9):
        at = began + timedelta(seconds=index * STEP_S)
        if index == 6:
            at += timedelta(hours=1)  # the system's clock was set; the length stays
        told += detector.update({"wave": 0.9 if 1 <= index < 7 else 0.1}, 100 + index * STEP_S, captured_at=at)
    start, end = told
    assert isinstance(end, EventEnded)
    assert start.to_json()["started_at"] == end.to_json()["started_at"] == "2026-07-01T12:00:00.200Z"
    assert end.to_json()["ended_at"] == "2026-07-01T12:00:01.400Z"
    assert "started_at" not in timed([0.9] * 5)[0][1].to_json()


def test_ids_are_unique_uuids_in_order_of_time() -> None:
    ids = [new_event_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert [one[:13] for one in ids] == sorted(one[:13] for one in ids)  # the milliseconds
    assert {(UUID(one).version, UUID(one).variant) for one in ids} == {(7, "specified in RFC 4122")}


RULES = st.builds(
    lambda low, high, **rest: AppliedRule(offset=min(low, high), onset=max(low, high), **rest),
    st.floats(0.05, 1),
    st.floats(0.05, 1),
    min_duration_s=st.sampled_from([0, 0.1, 0.5, 2]),
    merge_gap_s=st.sampled_from([0, 0.1, 0.5, 3]),
    cooldown_s=st.sampled_from([0, 0.3, 4]),
    idle_label=st.sampled_from([None, "idle"]),
    classes=st.sampled_from([{}, {"wave": ClassRule(onset=1.0)}, {"wave": ClassRule(offset=0.01)}]),
)


@dataclass(frozen=True)
class Run:
    """What a detector was given and reported: (time, scores or None for a cut, events)."""

    rule: AppliedRule
    steps: list[tuple[float, dict[str, float] | None, tuple[Event, ...]]]

    def told(self) -> Iterator[tuple[float, bool, Event]]:
        for time_s, scores, events in self.steps:
            for event in events:
                yield time_s, scores is None, event


@st.composite
def runs(draw: st.DrawFn) -> Run:
    rule = draw(RULES)
    detector = EventDetector("test", rule, new_id=numbered())
    steps: list[tuple[float, dict[str, float] | None, tuple[Event, ...]]] = []
    time_s = 0.0
    for _ in range(draw(st.integers(0, 60))):
        time_s += draw(st.sampled_from([0.05, 0.2, 0.3, 1.0]))
        if draw(st.integers(0, 12)) == 0:
            steps.append((time_s, None, detector.cut()))
            continue
        label = draw(st.sampled_from(["wave", "clap", "idle"]))
        best = draw(st.sampled_from([0.02, 0.3, 0.5, 0.7, 0.95, 1.0]))
        scores = {"wave": (1 - best) / 2, "clap": (1 - best) / 2, "idle": (1 - best) / 2, label: best}
        how: dict[str, Any] = {key: draw(st.integers(0, 9)) > 0 for key in ("known", "begins", "ends")}
        steps.append((time_s, scores, detector.update(scores, time_s, **how)))
    steps.append((time_s, None, detector.cut()))
    return Run(rule, steps)


@given(runs())
def test_every_start_has_one_end_after_it_and_events_never_overlap(run: Run) -> None:
    told = [event for _, _, event in run.told()]
    assert [type(event) for event in told] == [EventStarted, EventEnded] * (len(told) // 2)
    pairs = list(zip(told[::2], told[1::2], strict=True))
    assert [(start.id, end.id) for start, end in pairs] == [(f"id-{n}", f"id-{n}") for n in range(1, len(pairs) + 1)]
    for start, end in pairs:
        assert isinstance(end, EventEnded)
        assert (start.label, start.start_s) == (end.label, end.start_s)
        assert start.start_s <= end.end_s
        assert run.rule.onset_of(start.label) <= start.score <= end.score
        assert start.label != run.rule.idle_label
    for (_, before), (after, _) in pairwise(pairs):
        assert isinstance(before, EventEnded)
        assert before.end_s <= after.start_s


@given(runs())
def test_nothing_is_reported_too_early_or_late(run: Run) -> None:
    for told_s, by_cut, event in run.told():
        if isinstance(event, EventStarted):
            assert not by_cut
            assert told_s - event.start_s >= run.rule.min_duration_s
        elif by_cut:
            assert event.end_s <= told_s
        else:  # the gap has passed, or another event has begun since
            others = [one for _, _, one in run.told() if one.start_s >= event.end_s and one.label != event.label]
            assert told_s - event.end_s >= run.rule.merge_gap_s or others


@given(runs())
def test_merge_gap_and_cool_down_hold_between_events_of_a_class(run: Run) -> None:
    ends: dict[str, tuple[float, int]] = {}
    for index, (_, scores, events) in enumerate(run.steps):
        for event in events:
            if isinstance(event, EventEnded):
                ends[event.label] = (event.end_s, index)
            elif event.label in ends:
                pause_s = event.start_s - ends[event.label][0]
                assert pause_s >= run.rule.cooldown_s
                since = run.steps[ends[event.label][1] : index]
                between = [one.label for _, _, told in since for one in told if one.label != event.label]
                was_cut = any(cut is None for _, cut, _ in since)
                assert pause_s >= run.rule.merge_gap_s or between or was_cut
        if scores is None:  # a cut leaves nothing in progress
            assert (
                sum(1 if isinstance(one, EventStarted) else -1 for _, _, told in run.steps[: index + 1] for one in told)
                == 0
            )


@given(runs())
def test_an_event_ends_when_its_score_falls_or_when_it_was_last_seen(run: Run) -> None:
    times = {0.0, *(time_s for time_s, _, _ in run.steps)}
    for _, _, event in run.told():
        assert event.start_s in times
        shown = dict((time_s, scores) for time_s, scores, _ in run.steps if scores is not None)
        assert shown[event.start_s][event.label] >= run.rule.onset_of(event.label)
        if isinstance(event, EventEnded):
            assert event.end_s in shown
