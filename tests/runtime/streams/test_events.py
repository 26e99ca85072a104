"""Smoothing and events."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mar_edge.errors import OptionError
from mar_edge.runtime.streams.events import EventDetector, EventRule
from mar_edge.runtime.results import Event
from mar_edge.runtime.streams.smoothing import Smoother, softmax

RULE = EventRule(onset=0.6, offset=0.4, min_duration_s=0.5, idle_label="idle")


def run(scores: list[float], rule: EventRule = RULE) -> list[Event]:
    """Feed the score of `wave`, five times a second, then end the stream."""
    detector = EventDetector("test", rule)
    events: list[Event] = []
    for index, score in enumerate(scores):
        events += detector.update({"wave": score, "idle": 1 - score}, index * 0.2)
    return events + list(detector.finish())


def test_an_event_begins_at_onset_and_ends_below_offset() -> None:
    (event,) = run([0.1, 0.7, 0.9, 0.5, 0.45, 0.3, 0.1])
    assert (event.label, event.score) == ("wave", 0.9)
    assert (event.start_s, event.end_s) == pytest.approx((0.2, 1.0))


def test_a_score_between_offset_and_onset_begins_nothing() -> None:
    assert run([0.5, 0.55, 0.59, 0.5]) == []


def test_a_short_event_is_not_told() -> None:
    assert run([0.1, 0.9, 0.1, 0.1]) == []


def test_the_idle_class_is_no_event() -> None:
    assert run([0.0] * 20) == []


def test_the_end_of_the_stream_ends_an_event() -> None:
    (event,) = run([0.9] * 6)
    assert event.end_s == pytest.approx(1.0)


@given(st.lists(st.floats(0, 1), max_size=80))
def test_events_follow_one_another(scores: list[float]) -> None:
    events = run(scores)
    for event in events:
        assert event.end_s - event.start_s >= RULE.min_duration_s
        assert event.score >= RULE.onset
    for before, after in pairwise(events):
        assert before.end_s <= after.start_s


def test_thresholds_must_make_sense() -> None:
    with pytest.raises(OptionError, match="offset"):
        EventRule(onset=0.3, offset=0.5)
    with pytest.raises(OptionError, match="min_duration_s"):
        EventRule(min_duration_s=float("nan"))


def test_softmax_is_safe_for_large_logits() -> None:
    probabilities = softmax(np.array([1e4, 1e4, -1e4], np.float32))
    assert probabilities.tolist() == [0.5, 0.5, 0.0]


@given(st.integers(1, 10))
def test_smoothing_does_not_depend_on_the_hop(hop: int) -> None:
    smoother = Smoother(0.5)
    smoother.update(np.array([1.0, 0.0]), 0.0)
    for step in range(1, 11):
        if step % hop == 0 or step == 10:
            smoothed = smoother.update(np.array([0.0, 1.0]), step / 10)
    assert smoothed[0] == pytest.approx(np.exp(-1 / 0.5))


def test_no_smoothing() -> None:
    smoother = Smoother(0.0)
    smoother.update(np.array([1.0, 0.0]), 0.0)
    assert smoother.update(np.array([0.2, 0.8]), 0.1).tolist() == [0.2, 0.8]
