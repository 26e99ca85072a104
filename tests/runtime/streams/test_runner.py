"""Many streams at once: none holds up another, and no window mixes what lies before and after a break."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from mar_edge.errors import EngineError, OptionError, SourceError
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.model import Model
from mar_edge.runtime.results import (
    EventEnded,
    EventStarted,
    Kind,
    Notice,
    Prediction,
    Record,
    ShownFrame,
    StreamStatus,
)
from mar_edge.runtime.sources.demo.demo import DemoSource
from mar_edge.runtime.sources.iterable import IterableSource
from mar_edge.runtime.streams.runner import Runner
from mar_edge.testing import (
    Act,
    FakeEngine,
    Hang,
    ListSink,
    Lost,
    Play,
    Refused,
    ScriptedSource,
    Silence,
    frame_number,
)

EVERY_RECORD: tuple[Kind, ...] = ("prediction", "event", "notice", "summary")


pytestmark = pytest.mark.usefixtures("no_thread_is_left")


def numbers_of(clip: NDArray[np.uint8]) -> list[int]:
    return [frame_number(picture) for picture in clip]


def until(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.005)


def codes(sink: ListSink) -> list[str]:
    return [notice.code for notice in sink.of(Notice)]


def recognise(source: ScriptedSource, engine: FakeEngine, **options: object) -> ListSink:
    sink = ListSink()
    with Runner(sinks=[sink]) as runner:
        runner.add(source, Model(engine), **options)  # type: ignore[arg-type]
        assert runner.wait(60)
        assert runner.stop(None)
    return sink


@pytest.mark.parametrize("delay_s", [0.1, 0.5])
def test_a_slow_engine_skips_windows_and_never_thins_them_out(delay_s: float) -> None:
    engine = FakeEngine(delay_s=delay_s, rate_fps=20)
    source = ScriptedSource([Play(3)], fps=40)
    sink = recognise(source, engine, hop=1, max_age_s=None)
    assert len(engine.clips) >= 3
    for clip in engine.clips:
        steps = np.diff(numbers_of(clip))
        assert len(set(numbers_of(clip))) == 16
        assert set(steps) <= {1, 2, 3} and abs(steps.mean() - 2) < 0.15  # every other frame of 40 a second
    assert codes(sink) == []
    (summary,) = sink.of(StreamStatus)
    assert summary.dropped["newer"] > 10
    assert summary.inferences == len(engine.clips) == len(sink.of(Prediction))


def test_a_file_waits_for_a_slow_engine_and_for_a_slow_output() -> None:
    class Slow(ListSink):
        def write(self, record: Record) -> None:
            time.sleep(0.001)
            super().write(record)

    engine = FakeEngine(rate_fps=30)
    sink = Slow()
    with Runner(sinks=[sink]) as runner:
        runner.add(ScriptedSource([Play(20)], live=False), Model(engine), hop=1)
        runner.wait(60)
        runner.stop(None)
    assert [record.frame for record in sink.of(Prediction)] == list(range(15, 600))
    (summary,) = sink.of(StreamStatus)
    assert summary.dropped == {}


def test_a_lost_source_comes_back_and_no_window_spans_the_loss() -> None:
    engine = FakeEngine(rate_fps=30)
    script: list[Act] = [Play(0.79), Lost("ended"), Refused("refused"), Play(0.79), Lost("timeout"), Play(0.79)]
    source = ScriptedSource(script, fps=30)
    sink = recognise(source, engine, hop=4)
    assert source.connections == 4 and source.open == 0
    lives = [{number // 24 for number in numbers_of(clip)} for clip in engine.clips]
    assert lives and all(len(life) == 1 for life in lives)
    times_s = [record.time_s for record in sink.of(Prediction)]
    assert times_s == sorted(times_s)
    assert times_s[-1] > 0.79 * 3 + 0.5  # the pauses count
    told = [code for code in codes(sink) if code != "window"]
    assert told == ["ended", "refused", "live", "timeout", "live"]
    (summary,) = sink.of(StreamStatus)
    assert (summary.reconnects, summary.state, summary.code) == (2, "ended", None)
    moments = [record.captured_at for record in sink.of(Prediction)]
    assert all(moment is not None and moment.utcoffset() is not None for moment in moments)


def test_a_source_that_freezes_is_connected_again() -> None:
    source = ScriptedSource([Play(1), Silence(60)], fps=30)
    sink = ListSink()
    with Runner(sinks=[sink]) as runner:
        runner.add(source, Model(FakeEngine(rate_fps=30)), stall_s=0.3)
        until(lambda: source.connections >= 2)
        assert codes(sink)[-1] == "stalled"
        (status,) = runner.status()
        assert (status.state, status.code) == ("lost", "stalled")


def test_a_silence_lasts_over_several_connections_and_then_frames_come_again() -> None:
    source = ScriptedSource([Play(0.5), Silence(1.2), Play(0.5)], fps=30)
    sink = recognise(source, FakeEngine(rate_fps=30, frames=4), stall_s=0.3)
    assert source.connections >= 2
    assert codes(sink)[-1] == "live"
    (summary,) = sink.of(StreamStatus)
    assert summary.frames == pytest.approx(30, abs=2)
    assert 1.6 < summary.source_s < 6  # the pauses between attempts grow


def test_an_event_is_told_at_once_when_its_stream_goes_quiet() -> None:
    told_s: dict[str, float] = {}

    class Timed(ListSink):
        def write(self, record: Record) -> None:
            if isinstance(record, (EventStarted, EventEnded)):
                told_s[type(record).__name__] = time.monotonic()
            super().write(record)

    sink = Timed()
    source = ScriptedSource([Play(2, brightness=250), Silence(30)], fps=30)
    began_s = time.monotonic()
    with Runner(sinks=[sink]) as runner:
        runner.add(source, Model(FakeEngine(rate_fps=30, labels=("dark", "bright"))), smoothing_s=0)
        until(lambda: len(told_s) == 2)
    started, ended = sink.of(EventStarted)[0], sink.of(EventEnded)[0]
    assert started.id == ended.id and started.start_s == ended.start_s
    assert told_s["EventStarted"] - began_s < 1.6
    assert 1.5 < ended.end_s < 2.1
    assert told_s["EventEnded"] - began_s < 3.2  # half a second after the last frame, not at the end of the silence


def test_a_clock_that_jumps_and_a_size_that_changes_break_the_window() -> None:
    engine = FakeEngine(rate_fps=30)
    script = [Play(0.79), Play(0.79, clock_s=3600), Play(0.79, clock_s=-5), Play(0.79, clock_s=-5, size_px=(80, 48))]
    sink = recognise(ScriptedSource([*script]), engine, hop=2)
    numbers = [numbers_of(clip) for clip in engine.clips]
    for border in (24, 48, 72):
        assert not any(clip[0] < border <= clip[-1] for clip in numbers)
    messages = " ".join(notice.message for notice in sink.of(Notice))
    assert "clock" in messages and "size changed from 64x48 to 80x48" in messages
    times_s = [record.time_s for record in sink.of(Prediction)]
    assert times_s == sorted(times_s) and times_s[-1] < 5


def test_streams_share_an_engine_fairly_and_a_dead_one_costs_the_others_nothing() -> None:
    engine = FakeEngine(delay_s=0.01, rate_fps=30, keep=False)
    sink = ListSink()
    with Runner(sinks=[sink]) as runner:
        for number in range(8):
            script = [Play(60)] if number < 6 else [Refused() for _ in range(1000)]
            runner.add(ScriptedSource(script, name=f"s{number}"), Model(engine), hop=1, max_retries=None)
        until(lambda: len(sink.of(Prediction)) > 30)
        sink.records.clear()
        time.sleep(2)
        shares = Counter(record.stream for record in sink.of(Prediction))
        waits_ms = [status.waited_ms for status in runner.status()]
    assert set(shares) == {f"s{number}" for number in range(6)}
    assert max(shares.values()) - min(shares.values()) <= 0.1 * max(shares.values()) + 1
    assert max(waits_ms) < 1000


def test_streams_are_added_and_removed_while_others_run() -> None:
    engine = FakeEngine(rate_fps=30)
    sink = ListSink()
    with Runner(sinks=[sink]) as runner:
        runner.add(ScriptedSource([Play(60)], name="a"), Model(engine))
        name = runner.add(ScriptedSource([Play(60)], name="a"), Model(engine))
        assert name == "a (2)"
        until(lambda: {record.stream for record in sink.of(Prediction)} == {"a", "a (2)"})
        summary = runner.remove("a (2)")
        assert summary.state == "ended" and summary.inferences > 0
        sink.records.clear()
        until(lambda: len(sink.of(Prediction)) > 5)
        assert {record.stream for record in sink.of(Prediction)} == {"a"}
        assert runner.add(ScriptedSource([Play(60)], name="b"), Model(engine), name="a (2)") == "a (2)"
        with pytest.raises(OptionError, match="there is no stream 'c'; the streams are a, a"):
            runner.remove("c")
        with pytest.raises(OptionError, match="there is a stream 'a' already"):
            runner.add(ScriptedSource([Play(1)]), Model(engine), name="a")


def test_several_models_run_in_one_process_and_one_that_fails_ends_only_its_streams() -> None:
    class Broken(FakeEngine):
        def _infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
            raise RuntimeError("the device is gone")

    good, broken = FakeEngine(rate_fps=30), Broken(rate_fps=30)
    sink = ListSink()
    with Runner(sinks=[sink]) as runner:
        runner.add(ScriptedSource([Play(1.5)], name="good"), Model(good))
        runner.add(ScriptedSource([Play(60)], name="bad"), Model(broken))
        assert runner.wait(20)
        errors = runner.errors()
    assert set(errors) == {"bad"}
    assert isinstance(errors["bad"], EngineError) and "fake failed: RuntimeError: the device is gone" in str(
        errors["bad"]
    )
    assert {record.stream for record in sink.of(Prediction)} == {"good"}
    assert {summary.stream: summary.code for summary in sink.of(StreamStatus)} == {"good": None, "bad": "engine"}


def test_retries_are_limited_if_asked_and_a_mistake_is_not_repeated() -> None:
    source = ScriptedSource([Refused()] * 9)
    sink = recognise(source, FakeEngine(), max_retries=1)
    assert source.connections == 2
    assert codes(sink) == ["refused", "given-up"]
    mistaken = ScriptedSource([Refused("not-found", retry=False), Play(1)])
    with Runner() as runner:
        runner.add(mistaken, Model(FakeEngine()))
        assert runner.wait(5)
        assert isinstance(runner.errors()["scripted"], SourceError)
    assert mistaken.connections == 1


def test_everything_ends_within_two_seconds_even_if_a_source_hangs() -> None:
    sink = ListSink()
    runner = Runner(sinks=[sink])
    runner.add(ScriptedSource([Play(1), Hang(4)], name="hangs"), Model(FakeEngine(rate_fps=30)))
    runner.add(ScriptedSource([Play(60, brightness=250)], name="well"), Model(FakeEngine(rate_fps=30)))
    runner.start()
    time.sleep(1.5)
    began_s = time.monotonic()
    assert not runner.stop()
    assert time.monotonic() - began_s < 2.2
    assert sink.closed
    assert [notice.stream for notice in sink.of(Notice) if notice.code == "abandoned"] == ["hangs"]
    assert [event.stream for event in sink.of(EventEnded)] == ["well"]
    assert sorted(summary.stream for summary in sink.of(StreamStatus)) == ["hangs", "well"]


def test_a_sink_that_hangs_or_raises_does_not_slow_recognition() -> None:
    class Hanging(ListSink):
        free = threading.Event()

        def write(self, record: Record) -> None:
            self.free.wait(60)

    class Raising(ListSink):
        def write(self, record: Record) -> None:
            raise ValueError("always")

    good = ListSink()
    runner = Runner(sinks=[Hanging(EVERY_RECORD, "hangs"), Raising(EVERY_RECORD, "raises"), good])
    runner.add(ScriptedSource([Play(3)], fps=60), Model(FakeEngine(rate_fps=60)), hop=1)
    assert runner.wait(20)
    outputs = runner.outputs()
    runner.stop(0.5)
    Hanging.free.set()
    assert len(good.of(Prediction)) >= 0.95 * (3 * 60 - 15)
    assert outputs["raises"]["dropped_prediction"] > 100
    assert any("raises failed and lost a" in notice.message for notice in good.of(Notice))


def test_whoever_iterates_slowly_gets_fresh_results_and_every_event() -> None:
    source = ScriptedSource([Play(1.2, brightness=250), Play(1.2, brightness=10), Play(1.2, brightness=250)], fps=30)
    latencies_s, events = [], []
    with Runner() as runner:
        runner.add(source, Model(FakeEngine(rate_fps=30, labels=("dark", "bright"))), hop=1, smoothing_s=0)
        for record in runner:
            if isinstance(record, Prediction) and record.captured_at is not None:
                latencies_s.append(time.time() - record.captured_at.timestamp())
                time.sleep(0.3)
            elif isinstance(record, (EventStarted, EventEnded)):
                events.append(record)
    assert max(latencies_s) < 0.6
    assert [type(event) for event in events] == [EventStarted, EventEnded] * 2
    assert [first.id == second.id for first, second in pairwise(events)] == [True, False, True]


def test_a_recording_in_real_time_takes_the_live_path() -> None:
    source = DemoSource(size_px=(64, 48), script=[("pan_left", 2, 0.4)], realtime=False)
    began_s = time.monotonic()
    sink = ListSink(("prediction", "frame", "summary"))
    with Runner(sinks=[sink]) as runner:
        runner.add(source, Model(FakeEngine(rate_fps=30)), realtime=True)
        assert runner.wait(20)
    assert 1.9 < time.monotonic() - began_s < 4
    shown = sink.of(ShownFrame)
    assert shown[-1].captured_at is not None and shown[0].captured_at is not None
    assert 1.8 < (shown[-1].captured_at - shown[0].captured_at).total_seconds() < 2.2


def test_an_empty_runner_has_nothing_to_wait_for() -> None:
    with Runner() as runner:
        assert runner.wait(1)
        assert list(runner) == []
        assert runner.status() == []
    with pytest.raises(OptionError, match="was stopped"):
        runner.add(ScriptedSource([Play(1)]), Model(FakeEngine()))


def test_a_live_frame_that_cannot_be_used_is_left_out_and_counted() -> None:
    def frames() -> Iterator[Frame]:
        for index in range(60):
            time.sleep(1 / 60)
            shape = (48, 64, 3) if index % 10 else (48, 64)
            yield Frame(picture=lambda shape=shape: np.zeros(shape, np.uint8), size_px=(64, 48), time_s=index / 60)  # type: ignore[misc]

    sink = ListSink()
    with Runner(sinks=[sink]) as runner:
        runner.add(IterableSource(frames(), live=True), Model(FakeEngine(frames=4, rate_fps=60)), hop=1)
        assert runner.wait(20)
    (summary,) = sink.of(StreamStatus)
    assert summary.dropped["invalid"] >= 4 and summary.inferences > 20 and summary.code is None
    assert codes(sink).count("frame") == 1


def test_a_source_that_hangs_in_its_driver_is_lost_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mar_edge.runtime.streams.reader.HANGS_S", 0.2)
    sink = ListSink()
    with Runner(sinks=[sink]) as runner:
        runner.add(ScriptedSource([Play(0.5), Hang(1.5), Play(0.5)]), Model(FakeEngine(rate_fps=30)), stall_s=0.3)
        until(lambda: "stalled" in codes(sink))
        (status,) = runner.status()
        assert (status.state, status.code) == ("lost", "stalled")
        assert runner.wait(10)
    assert [code for code in codes(sink) if code != "window"] == ["stalled", "live"]
    assert sink.of(StreamStatus)[0].reconnects == 1
