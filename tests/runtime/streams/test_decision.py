"""From logits to scores, a label and events."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mar_edge.errors import OptionError
from mar_edge.model_spec import ModelSpec
from mar_edge.runtime.results import Event, EventEnded, EventStarted
from mar_edge.runtime.streams.decision import Decision
from mar_edge.runtime.streams.event_rule import ClassRule, EventRule
from mar_edge.runtime.streams.smoothing import Smoother, energy, softmax
from tests.fakes.bundle import manifest

_VALUES = manifest(labels=["idle", "wave", "clap"], idle_label="idle")
SPEC = ModelSpec(**{key: value for key, value in _VALUES.items() if key in ModelSpec.model_fields})


def logits(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


IDLE, WAVE, NONE = logits(5, 0, 0), logits(0, 5, 0), logits(0.1, 0.2, 0)


def test_softmax_is_safe_for_large_logits() -> None:
    assert softmax(logits(1e4, 1e4, -1e4)).tolist() == [0.5, 0.5, 0.0]


def test_energy_is_safe_for_large_logits() -> None:
    assert energy(logits(0, 0)) == pytest.approx(-np.log(2))
    assert energy(logits(1e4, -1e4)) == pytest.approx(-1e4)
    assert energy(np.zeros((3, 4), np.float32)).tolist() == pytest.approx([-np.log(4)] * 3)


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


def test_start_and_end_come_in_order_and_once() -> None:
    decision = Decision(SPEC, stream="gate", smoothing_s=0, new_id=lambda: "one")
    told = [event for step in range(8) for event in decision.update(WAVE if step < 5 else IDLE, step * 0.2)[1]]
    assert [(type(event), event.id, event.stream) for event in told] == [
        (EventStarted, "one", "gate"),
        (EventEnded, "one", "gate"),
    ]
    assert decision.take_events() == ()


def test_a_cut_ends_the_event_and_forgets_the_scores() -> None:
    decision = Decision(SPEC, stream="gate", smoothing_s=10)
    for step in range(5):
        decision.update(WAVE, step * 0.2)
    decision.cut()
    scores, (end,) = decision.update(IDLE, 5.0)
    assert isinstance(end, EventEnded)
    assert end.end_s == pytest.approx(0.8)
    assert scores[0][0] == "idle" and scores[0][1] > 0.9


def test_a_window_that_shows_too_little_neither_begins_nor_ends_an_event() -> None:
    decision = Decision(SPEC, stream="gate", smoothing_s=0, rule=EventRule(min_duration_s=0))
    assert decision.update(WAVE, 0.0, begins=False, ends=False)[1] == ()
    assert len(decision.update(WAVE, 0.2)[1]) == 1
    assert decision.update(IDLE, 0.4, begins=False, ends=False)[1] == ()
    assert len(decision.update(IDLE, 0.6)[1]) == 1


@pytest.mark.parametrize("rule", [EventRule(unknown_score=0.5), EventRule(unknown_energy=-2)])
def test_an_unknown_window_is_idle(rule: EventRule) -> None:
    decision = Decision(SPEC, stream="gate", smoothing_s=0, rule=rule)
    told: list[Event] = []
    for step, shown in enumerate([WAVE] * 5 + [NONE] * 2):
        told += decision.update(shown, step * 0.2)[1]
        assert decision.known == (step < 5)
    assert [type(event) for event in told] == [EventStarted, EventEnded]
    assert isinstance(told[1], EventEnded)
    assert told[1].end_s == pytest.approx(1.0)
    assert decision.label == "idle"
    assert decision.score == pytest.approx(float(softmax(NONE)[0]))


def test_an_unknown_window_begins_no_event_however_high_its_score() -> None:
    calm = EventRule(min_duration_s=0, unknown_energy=-8)  # WAVE has an energy of -5.01
    decision = Decision(SPEC, stream="gate", smoothing_s=0, rule=calm)
    assert decision.update(WAVE, 0.0)[1] == ()
    assert decision.update(2 * WAVE, 0.2)[1] != ()


def test_energy_is_smoothed_like_the_scores() -> None:
    decision = Decision(SPEC, stream="gate", smoothing_s=1, rule=EventRule(unknown_energy=-2))
    for step in range(20):
        decision.update(WAVE, step * 0.1)
    decision.update(NONE, 2.0)
    assert decision.known  # one window alone changes little


def test_without_an_idle_class_an_unknown_window_is_unknown() -> None:
    rule = EventRule(idle_label=None, unknown_score=0.5)
    decision = Decision(SPEC, stream="gate", smoothing_s=0, rule=rule)
    scores, _ = decision.update(NONE, 0.0)
    assert (decision.label, decision.score) == ("unknown", scores[0][1])
    scores, _ = decision.update(WAVE, 0.2)
    assert (decision.label, decision.score) == scores[0]


def test_classes_that_the_model_lacks_are_named_all_at_once() -> None:
    rule = EventRule(
        idle_label="idel", classes={"wvae": ClassRule(onset=0.9), "clap": ClassRule(), "jump": ClassRule()}
    )
    with pytest.raises(OptionError) as error:
        Decision(SPEC, stream="gate", smoothing_s=0, rule=rule)
    assert str(error.value) == (
        "idle_label: 'idel' is not one of idle, wave, clap; did you mean 'idle'?; "
        "classes: 'wvae' is not one of idle, wave, clap; did you mean 'wave'?; "
        "classes: 'jump' is not one of idle, wave, clap"
    )


def test_the_time_constant_must_make_sense() -> None:
    with pytest.raises(OptionError, match="smoothing"):
        Decision(SPEC, stream="gate", smoothing_s=-1)
