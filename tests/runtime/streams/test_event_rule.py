"""When events begin and end: what a user says, what the model says of its own, and what holds where nobody does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from mar_edge.errors import OptionError
from mar_edge.event_settings import EventDefaults
from mar_edge.model_spec import ModelSpec
from mar_edge.runtime.results import Event, EventEnded
from mar_edge.runtime.streams.decision import Decision
from mar_edge.runtime.streams.event_rule import AppliedRule, ClassRule, EventRule
from mar_edge.runtime.streams.session import Session
from mar_edge.testing import FakeEngine
from tests.fakes.bundle import manifest

_VALUES = manifest(labels=["idle", "wave", "clap"], idle_label="idle")
PLAIN = {key: value for key, value in _VALUES.items() if key in ModelSpec.model_fields}
SPEC = ModelSpec(**PLAIN)
GESTURES = {
    "smoothing_s": 0, "onset": 0.5, "offset": 0.3, "min_duration_s": 0, "merge_gap_s": 0.1, "cooldown_s": 1,
    "classes": {"clap": {"onset": 0.8}},
}  # fmt: skip
OWN = ModelSpec(**PLAIN, events=GESTURES)  # type: ignore[arg-type] # pydantic's own conversion


def test_where_nobody_says_anything_the_defaults_hold() -> None:
    assert EventRule().applied_to(SPEC) == AppliedRule(
        onset=0.6, offset=0.4, min_duration_s=0.5, merge_gap_s=0, cooldown_s=0, idle_label="idle"
    )
    assert SPEC.smoothing_s == 0.3


def test_what_is_not_said_is_as_the_model_says_it() -> None:
    assert EventRule().applied_to(OWN) == AppliedRule(
        onset=0.5, offset=0.3, min_duration_s=0, merge_gap_s=0.1, cooldown_s=1, idle_label="idle",
        classes={"clap": ClassRule(onset=0.8)},
    )  # fmt: skip
    assert OWN.smoothing_s == 0
    part = ModelSpec(**PLAIN, events={"cooldown_s": 2})  # type: ignore[arg-type]
    assert EventRule().applied_to(part) == AppliedRule(cooldown_s=2, idle_label="idle")


def test_what_is_said_wins_for_every_class() -> None:
    said = EventRule(onset=0.7, min_duration_s=0.5, cooldown_s=0, idle_label=None).applied_to(OWN)
    assert (said.onset_of("wave"), said.onset_of("clap"), said.offset_of("clap")) == (0.7, 0.7, 0.3)
    assert (said.min_duration_s, said.merge_gap_s, said.cooldown_s, said.idle_label) == (0.5, 0.1, 0, None)
    one = EventRule(classes={"clap": ClassRule(offset=0.2), "wave": ClassRule(onset=0.9)}).applied_to(OWN)
    assert (one.onset_of("clap"), one.offset_of("clap")) == (0.8, 0.2)
    assert (one.onset_of("wave"), one.offset_of("wave")) == (0.9, 0.3)
    assert said.applied_to(OWN) == said


def test_a_threshold_against_the_models_own_is_refused_with_what_to_do() -> None:
    with pytest.raises(OptionError) as error:
        EventRule(onset=0.25).applied_to(OWN)
    assert str(error.value) == (
        "offset: offset 0.3 is above onset 0.25; an event would end where it begins. Where nothing else is said, fake has "
        "onset 0.5 and offset 0.3; give both"
    )
    assert EventRule(onset=0.25, offset=0.2).applied_to(OWN).onset_of("clap") == 0.25


def flicker() -> list[float]:
    """Scores of `wave` every 0.2 s: named twice for one gesture, as the second answer wavers; and another one 2 s later."""
    return [0.1, 0.9, 0.2, 0.9, 0.1, *[0.1] * 8, 0.9, 0.9, 0.1, 0.1]


@pytest.mark.parametrize(("spec", "starts"), [(OWN, [0.2, 2.6]), (SPEC, [])])
def test_one_event_a_gesture_by_the_models_own_cool_down(spec: ModelSpec, starts: list[float]) -> None:
    decision = Decision(spec, stream="gate")
    told: list[Event] = []
    for index, score in enumerate(flicker()):
        logits = np.log(np.array([1 - score, score - 0.01, 0.01], np.float32))
        told += decision.update(logits, index * 0.2)[1]
    ended = [event for event in told if isinstance(event, EventEnded)]
    assert [round(event.start_s, 1) for event in ended] == starts
    if starts:  # without the cool-down it would be three
        rule = EventRule(cooldown_s=0)
        again = Decision(spec, stream="gate", rule=rule)
        assert (
            sum(
                isinstance(event, EventEnded)
                for index, score in enumerate(flicker())
                for event in again.update(np.log(np.array([1 - score, score - 0.01, 0.01], np.float32)), index * 0.2)[1]
            )
            == 3
        )


def own_engine(**events: Any) -> FakeEngine:
    """An engine of a model that has something to say about its events."""
    engine = FakeEngine(frames=4)
    engine.spec = engine.spec.model_copy(update={"events": EventDefaults(**events)})
    return engine


def test_a_session_goes_by_the_models_own_events_and_smoothing_until_told_otherwise() -> None:
    engine = own_engine(smoothing_s=0, min_duration_s=0)
    bright, dark = np.full((32, 32, 3), 250, np.uint8), np.zeros((32, 32, 3), np.uint8)

    def after_one_window(session: Session) -> tuple[float, int]:
        """Return the score of `bright` after one window of it, and the events that have begun."""
        told = []
        for index in range(8):
            picture = (bright if index >= 4 else dark).copy()
            picture[0, 0] = index  # a picture of its own, or there is too little to see
            told.append(session.push(picture, index / 10))
        last = [result for result in told if result is not None][-1]
        return dict(last.top)["bright"], sum(len(result.events) for result in told if result is not None)

    score, events = after_one_window(Session(engine, hop=4))
    assert score > 0.99 and events == 1
    score, events = after_one_window(Session(engine, hop=4, smoothing_s=1.0))
    assert score < 0.5 and not events
    score, events = after_one_window(Session(engine, hop=4, rule=EventRule(min_duration_s=0.5)))
    assert score > 0.99 and not events


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"onset": 0.3}, "offset 0.4 is above onset 0.3"),
        ({"offset": 0.7}, "offset 0.7 is above onset 0.6"),
        ({"onset": 1.5}, "less than or equal to 1"),
        ({"cooldown_s": -1}, "greater than or equal to 0"),
        ({"smoothing_s": float("nan")}, "finite"),
        ({"idle_label": "idle"}, "Extra inputs"),
        ({"classes": {"wave": {"offset": 0.9}}}, "offset 0.9 is above onset 0.6"),
        ({"classes": {"jump": {"onset": 0.9}}}, "'jump', which is not one of the labels"),
    ],
)
def test_a_model_cannot_say_what_makes_no_sense(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        ModelSpec(**PLAIN, events=values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"onset": 0.3, "offset": 0.5}, "offset: offset 0.5 is above onset 0.3"),
        ({"onset": 0}, "onset: 0 is not a score; use a number above 0, at most 1"),
        ({"offset": "low"}, "offset: 'low' is not a score"),
        ({"min_duration_s": float("nan")}, "min_duration_s: nan is no time; use a number of seconds, 0 or more"),
        ({"merge_gap_s": -1}, "merge_gap_s: -1"),
        ({"cooldown_s": float("inf")}, "cooldown_s: inf"),
        ({"idle_label": 3}, "idle_label: 3"),
        ({"unknown_score": 0.7}, "unknown_score: 0.7 is above onset 0.6"),
        ({"unknown_score": 1.5}, "unknown_score: 1.5"),
        ({"unknown_energy": float("nan")}, "unknown_energy: nan is no energy; use a finite number"),
        ({"classes": {"wave": ClassRule(onset=0.3)}}, "classes.wave.onset: offset 0.4 is above onset 0.3"),
        ({"classes": {"wave": ClassRule(offset=0.7)}}, "classes.wave.offset: offset 0.7 is above onset 0.6"),
        ({"classes": {"wave": ClassRule(onset=2)}}, "classes.wave.onset: 2 is"),
        ({"classes": {"wave": 0.7}}, r"classes.wave: 0.7 is no rule; use ClassRule\("),
        ({"classes": {"wave": ClassRule(onset=0.5)}, "unknown_score": 0.55}, "above onset 0.5"),
        ({"classes": 3}, "classes: 3 is no"),
        ({"onset": 2, "cooldown_s": -1}, "onset: 2 .*; cooldown_s: -1"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_with_everything_wrong_in_it(values: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        EventRule(**values).applied_to(SPEC)
