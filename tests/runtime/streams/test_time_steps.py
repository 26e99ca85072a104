"""A streaming model live: every time step once and with its number, breaks that clear its state, and steps that are left out."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mar_edge.errors import EngineError, OptionError
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.model import Model
from mar_edge.runtime.results import EventStarted, Notice, Prediction, StreamStatus
from mar_edge.runtime.streams.feed import Feed, ModelInput
from mar_edge.runtime.streams.recogniser import Recogniser, infer
from mar_edge.runtime.streams.runner import Runner
from mar_edge.runtime.streams.saving.dial import DialOptions
from mar_edge.runtime.streams.session import Session
from mar_edge.runtime.streams.slot import Slot
from mar_edge.testing import Act, FakeEngine, ListSink, Lost, Play, ScriptedSource, Silence, numbered
from tests.fakes.stateful_engine import StatefulEngine, engines

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


def picture(number: int, brightness: int = 128, size_px: tuple[int, int] = (64, 48)) -> NDArray[np.uint8]:
    return numbered(number, size_px, brightness)[..., ::-1].copy()


def push(session: Session, numbers: range, fps: float = 10.0, brightness: int = 128) -> list[Prediction]:
    """Push frames of a camera; return the predictions."""
    found = [session.push(picture(number, brightness), number / fps) for number in numbers]
    return [one for one in found if one is not None]


def told(predictions: list[Prediction]) -> list[object]:
    """Return what must not depend on how a stream is run."""
    return [
        (one.time_s, one.frame, one.label, one.score, one.top, one.warm, one.doubt, one.reused) for one in predictions
    ]


def recognise(source: ScriptedSource, model: Model, **options: object) -> ListSink:
    sink = ListSink()
    with Runner(sinks=[sink]) as runner:
        runner.add(source, model, **options)  # type: ignore[arg-type]
        assert runner.wait(60)
        assert runner.stop(None)
    return sink


def test_every_step_is_two_new_frames_and_sees_the_seven_before() -> None:
    engine = StatefulEngine()
    predictions = push(Session(engine), range(40))
    assert [ran.frames for ran in engine.ran] == [(2 * step, 2 * step + 1) for step in range(20)]
    assert [ran.step for ran in engine.ran] == list(range(20))
    for step, ran in enumerate(engine.ran):
        assert ran.seen == tuple(2 * before for before in range(max(0, step - 7), step))
    assert [one.frame for one in predictions] == list(range(1, 40, 2))
    assert [one.warm for one in predictions[:9]] == [*(step / 8 for step in range(1, 9)), 1.0]
    assert predictions[0].to_json()["warm"] == 0.125
    assert "reused" not in predictions[0].to_json()


def test_a_windowed_model_is_warm_and_says_nothing_of_it() -> None:
    (prediction,) = push(Session(FakeEngine(), hop=16), range(16))
    assert (prediction.warm, prediction.streaming, prediction.reused) == (1.0, False, False)
    assert not {"warm", "reused"} & set(prediction.to_json())


def test_events_begin_once_half_of_the_band_is_seen() -> None:
    session = Session(FakeEngine(streaming=True, rate_fps=30), smoothing_s=0)
    predictions = push(session, range(60), fps=30, brightness=255)
    assert [one.doubt for one in predictions[:3]] == [f"only {steps} of 8 time steps seen" for steps in (1, 2, 3)]
    assert not predictions[0].reliable
    assert all(one.label == "bright" for one in predictions)
    (start,) = [event for one in predictions for event in one.events]
    assert isinstance(start, EventStarted)
    assert start.start_s == pytest.approx(predictions[3].time_s)


def test_a_break_clears_the_state_and_steps_begin_anew() -> None:
    engine = StatefulEngine()
    session = Session(engine)
    push(session, range(9))  # the ninth frame is half a step, which the break takes with it
    push(session, range(30, 36))
    session.push(picture(36, size_px=(32, 32)), 3.6)  # another size
    for number in range(37, 40):
        session.push(picture(number, size_px=(32, 32)), number / 10)
    session.reset()
    push(session, range(4))
    assert [ran.frames for ran in engine.ran[4:]] == [(30, 31), (32, 33), (34, 35), (36, 37), (38, 39), (0, 1), (2, 3)]
    assert [ran.step for ran in engine.ran[4:]] == [0, 1, 2, 0, 1, 0, 1]
    assert [len(ran.seen) for ran in engine.ran[4:]] == [0, 1, 2, 0, 1, 0, 1]


@settings(max_examples=60, deadline=None)
@given(gaps=st.lists(st.sampled_from([1, 1, 1, 2, 3, 4, 9]), min_size=1, max_size=40))
def test_repeated_frames_make_steps_with_the_right_numbers(gaps: list[int]) -> None:
    """A slow source fills several places; every two places are a step, whoever filled them."""
    engine = StatefulEngine()
    session = Session(engine)
    places: list[tuple[int, int]] = []  # (stretch, frame)
    tick, stretch = 0, 0
    for number, gap in enumerate([1, *gaps]):
        tick += gap
        if gap > 5:
            stretch += 1
        places += [(stretch, number)] * (1 if gap > 5 else gap)
        found = session.push(picture(number), tick / 10)
        assert found is None or found.frame == number
    expected = []
    for part in range(stretch + 1):
        own = [number for where, number in places if where == part]
        expected += [(step, tuple(own[2 * step : 2 * step + 2])) for step in range(len(own) // 2)]
    assert [(ran.step, ran.frames) for ran in engine.ran] == expected


def test_a_frame_that_fills_more_than_a_window_leaves_the_oldest_steps_out() -> None:
    engine = StatefulEngine(rate_fps=100)
    session = Session(engine)
    session.push(picture(1), 0.0)
    session.push(picture(2), 0.4)  # 40 places
    session.push(picture(3), 0.41)
    assert [ran.step for ran in engine.ran] == [*range(13, 20), 20]
    assert engine.ran[-1].frames == (2, 3) and engine.ran[-1].seen == (2,)


def test_hop_is_in_whole_steps_and_every_step_runs() -> None:
    engine = StatefulEngine()
    predictions = push(Session(engine, hop=6), range(40))
    assert [one.frame for one in predictions] == list(range(5, 40, 6))
    assert len(engine.ran) == 20
    assert Feed(engine.spec).hop == 2
    for hop, says in ((3, "streaming model.*use a multiple of 2"), (0, "use an integer from 1"), (18, "from 1 to")):
        with pytest.raises(OptionError, match=says):
            Session(engine, hop=hop)


@pytest.mark.parametrize("fps", [30.0, 10.0, 3.0])
@pytest.mark.parametrize("hop", [None, 4])
def test_a_session_and_the_runner_say_the_same_of_a_recording(fps: float, hop: int | None) -> None:
    engine, other = StatefulEngine(), StatefulEngine()
    sink = recognise(ScriptedSource([Play(6), Silence(1), Play(3)], live=False, fps=fps), Model(engine), hop=hop)
    session, source = Session(other, hop=hop), ScriptedSource([Play(6), Silence(1), Play(3)], live=False, fps=fps)
    connection = source.connect()
    predictions = []
    while (frame := connection.read(1.0)) is not None:
        predictions.append(session.push(frame.picture, frame.time_s, color=frame.color))
    assert engine.ran == other.ran and len(engine.ran) > 30
    assert told(sink.of(Prediction)) == told([one for one in predictions if one is not None])
    (summary,) = sink.of(StreamStatus)
    assert summary.inferences == len(engine.ran) and summary.dropped == {}


def test_a_slow_engine_drops_steps_whose_numbers_its_state_knows() -> None:
    """One that is free for every third step; every other one would predict, and what was dropped hands that on."""
    engine = StatefulEngine()
    feed, slot = Feed(engine.spec, hop=4), Slot(live=True)
    recogniser = Recogniser(engine, stream="s")
    predicts = []
    for number in range(120):
        shown = Frame(picture=numbered(number, (64, 48)), size_px=(64, 48), time_s=number / 10)
        fed = feed.add(shown)
        assert not fed.inputs or slot.put([one.kept() for one in fed.inputs])
        if number % 6 == 5:
            with slot.changed:
                taken = slot.take(None)
            assert isinstance(taken, ModelInput)
            infer(engine, [(recogniser, taken)])
            predicts.append(taken.predicts)
    assert [ran.step for ran in engine.ran] == list(range(2, 60, 3))
    assert slot.dropped["newer"] == 40
    assert engine.ran[-1].seen == (2 * 53, 2 * 56)  # what ran among the seven steps before
    assert recogniser.warm == 3 / 8
    assert all(predicts)


def test_a_lost_source_clears_the_state() -> None:
    engine = StatefulEngine(rate_fps=30)
    script: list[Act] = [Play(0.79), Lost("ended"), Play(0.79)]
    recognise(ScriptedSource(script, fps=30), Model(engine))
    first = [ran for ran in engine.ran if ran.frames[0] < 24]
    second = [ran for ran in engine.ran if ran.frames[0] >= 24]
    assert first and second and second[0].step < 3
    assert all(before >= 24 for ran in second for before in ran.seen)


def test_streams_share_an_engine_and_never_a_state() -> None:
    """Also where several steps run at once, which is tried where they wait."""
    engine = StatefulEngine(delay_s=0.001)
    engine.max_batch = 4
    sink = ListSink()
    with Runner(sinks=[sink]) as runner:
        model = Model(engine)
        for offset in range(5):
            source = ScriptedSource([Play(8)], live=False, fps=10)
            source._number = 1000 * offset
            runner.add(source, model, name=f"{offset}")
        assert runner.wait(60)
    assert max(engine.batches) > 1
    for offset in range(5):
        ran = [one for one in engine.ran if one.frames[0] // 1000 == offset]
        assert [one.step for one in ran] == list(range(40))
        assert all(before // 1000 == offset for one in ran for before in one.seen)
        assert all(len(one.seen) == min(7, one.step) for one in ran)


def test_two_sessions_on_one_engine_do_not_mix() -> None:
    engine = StatefulEngine()
    left, right = Session(engine), Session(engine)
    for number in range(20):
        left.push(picture(number), number / 10)
        right.push(picture(500 + number), number / 10)
    for ran in engine.ran:
        assert len({before // 500 for before in (*ran.seen, *ran.frames)}) == 1


def test_sessions_of_one_model_run_in_threads_of_their_own() -> None:
    def own(offset: int) -> None:
        # an engine runs one inference at a time, which its users see to; the states are apart
        session = Session(mine := StatefulEngine())
        push(session, range(offset, offset + 60))
        results[offset] = all(before >= offset for ran in mine.ran for before in ran.seen)

    results: dict[int, bool] = {}
    threads = [threading.Thread(target=own, args=(1000 * index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == dict.fromkeys(range(0, 4000, 1000), True)


def test_a_failed_step_is_missing_and_the_session_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = StatefulEngine()
    session = Session(engine)
    push(session, range(8))
    with monkeypatch.context() as patched:
        patched.setattr(engine, "_infer", lambda frames: np.full((1, 3), np.nan, np.float32))
        with pytest.raises(EngineError, match="finite"):
            push(session, range(8, 10))
    push(session, range(10, 12))
    assert engine.ran[-1].step == 5 and engine.ran[-1].seen == (0, 2, 4, 6)


def test_the_mask_changes_and_the_state_stays() -> None:
    model = Model(StatefulEngine(50), others=engines(50, 0, 75)._others)
    assert model.masks == (0, 50, 75)
    model.load_masks(75)
    session = model.session()
    push(session, range(20))
    session.set_mask(75)
    assert session.mask == 75
    predictions = push(session, range(20, 40))
    assert {one.mask for one in predictions} == {75}
    ran = model.engines.at(75).ran  # type: ignore[attr-defined]
    assert [one.step for one in ran] == list(range(10, 20))
    assert ran[0].seen == tuple(range(6, 20, 2)) and predictions[0].warm == 1.0
    assert model.engine.ran[-1].step == 9  # type: ignore[attr-defined]
    session.set_mask(75)
    session.set_mask(0)
    assert push(session, range(40, 42))[0].mask == 0
    with pytest.raises(OptionError, match="no fp32 graph at mask 25 for fake; it has 0, 50, 75"):
        session.set_mask(25)
    assert model.session(mask=75).mask == 75
    with pytest.raises(OptionError, match="it has 0, 50, 75"):
        model.session(mask=25)


def test_a_windowed_session_swaps_its_engine() -> None:
    high = FakeEngine()
    high.variant = high.variant.model_copy(update={"mask": 75})
    model = Model(FakeEngine(), others={75: engines(50, 75)._others[75]._replace(load=lambda: high)})
    session = model.session()
    before = push(session, range(20))
    session.set_mask(75)
    after = push(session, range(20, 30))
    assert ({one.mask for one in before}, {one.mask for one in after}) == ({50}, {75})
    assert len(high.clips) == len(after) == 5


def test_still_steps_repeat_the_last_answer() -> None:
    engine = StatefulEngine()
    session = Session(engine, skip_still=True, smoothing_s=0)
    still = [session.push(picture(7), index / 10) for index in range(60)]
    predictions = [one for one in still if one is not None]
    assert len(predictions) == 30 and not any(one.reused for one in predictions[:8])
    reused = [one for one in predictions if one.reused]
    assert 15 <= len(reused) == 30 - len(engine.ran)
    first = predictions.index(reused[0])
    assert reused[0].top == predictions[first - 1].top
    assert reused[0].inference_ms == 0 and reused[0].to_json()["reused"] is True
    assert all(one.warm == 1.0 and one.reliable == (one.doubt is None) for one in predictions[8:])
    session.push(picture(200_000), 6.0)
    moved = session.push(picture(900_000), 6.1)
    assert moved is not None and not moved.reused
    assert engine.ran[-1].step == 30 and session.inferences == len(engine.ran)


def test_another_mask_does_not_repeat_the_answer_of_the_mask_before() -> None:
    session = Session(engines(50, 75), skip_still=True)
    before = [one for index in range(40) if (one := session.push(picture(7), index / 10))]
    assert before[-1].reused
    session.set_mask(75)
    after = [one for index in range(40, 60) if (one := session.push(picture(7), index / 10))]
    assert {one.mask for one in after} == {75}
    assert [one.reused for one in after] == 8 * [False] + 2 * [True]


def test_the_runner_skips_still_steps_too() -> None:
    engine = StatefulEngine()
    script = ScriptedSource([Play(6)], live=False, fps=10)
    sink = recognise(script, Model(engine), skip_still=255.0)  # whatever moves, it is still
    (summary,) = sink.of(StreamStatus)
    assert summary.reused == sum(one.reused for one in sink.of(Prediction)) > 10
    assert summary.inferences + summary.reused == 30
    assert summary.to_json()["reused"] == summary.reused


def test_a_dial_changes_the_mask_and_says_so() -> None:
    """One that may spend nothing goes to the highest mask at once."""
    model = Model(StatefulEngine(50, delay_s=0.002), others=engines(50, 75, delay_s=0.002)._others)
    sink = recognise(ScriptedSource([Play(20)], live=False, fps=10), model, dial=DialOptions(budget_ms=0.001))
    masks = [one.mask for one in sink.of(Prediction)]
    assert masks[0] == 50 and masks[-1] == 75
    (notice, *_) = [one for one in sink.of(Notice) if one.code == "mask"]
    assert "scripted: mask 75 % instead of 50 %" in notice.message
    session = model.session(dial=DialOptions(budget_ms=0.001))
    push(session, range(200))
    assert session.mask == 75
    assert any("mask 75 % instead of 50 %" in message for message in session.warnings.take())
    with pytest.raises(OptionError, match="the dial chooses"):
        session.set_mask(50)


def test_streams_of_one_model_share_a_dial() -> None:
    model = Model(StatefulEngine(50), others=engines(50, 75)._others)
    with Runner() as runner:
        runner.add(ScriptedSource([Play(5)]), model, dial=DialOptions(budget_ms=5), name="a")
        runner.add(ScriptedSource([Play(5)]), model, dial=DialOptions(budget_ms=5), name="b")
        with pytest.raises(OptionError, match="stream 'a' has the same model with another dial"):
            runner.add(ScriptedSource([Play(5)]), model, name="c")
    with pytest.raises(OptionError, match="mask 50 only"):
        Session(StatefulEngine(), dial=DialOptions(budget_ms=5))


@pytest.mark.parametrize(
    ("engine", "options", "says"),
    [
        (StatefulEngine(), {"skip_still": 0}, "threshold is 0"),
        (StatefulEngine(), {"skip_still": 300}, "threshold is 300"),
        (StatefulEngine(), {"skip_still": "much"}, "use grey levels"),
        (FakeEngine(), {"skip_still": True}, "only steps of a streaming model can be skipped; fake sees whole windows"),
        (StatefulEngine(), {"mask": 33}, "no fp32 graph at mask 33"),
    ],
)
def test_bad_options_are_refused(engine: FakeEngine, options: dict[str, object], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        Session(engine, **options)  # type: ignore[arg-type]


def test_an_ended_stream_gives_its_state_back() -> None:
    model = Model(StatefulEngine())
    with Runner() as runner:
        name = runner.add(ScriptedSource([Play(2)], live=False), model)
        assert runner.wait(20)
        stream = runner._ended[name]
        end_s = time.monotonic() + 5
        while stream._recogniser.state is not None:  # released just after the summary
            assert time.monotonic() < end_s
            time.sleep(0.01)
