"""A runner whose streams, sources, sinks and threads do what they should not, or all at once: it goes on, says why, and ends."""

from __future__ import annotations

import gc
import math
import random
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from mar_edge.errors import OptionError, SourceError
from mar_edge.reporting import Warnings
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.model import Model
from mar_edge.runtime.results import EventEnded, EventStarted, Notice, Prediction, Record, StreamStatus
from mar_edge.runtime.streams.result_queue import LARGEST, ResultQueue
from mar_edge.runtime.streams.runner import Runner
from mar_edge.testing import Act, FakeEngine, Hang, ListSink, Lost, Play, ScriptedSource, Silence


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    until(lambda: not [one for one in set(threading.enumerate()) - before if "mar-edge" in one.name], 4)


def until(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.005)


def model(**options: object) -> Model:
    return Model(FakeEngine(rate_fps=60, frames=8, keep=False, **options))  # type: ignore[arg-type]


def codes(sink: ListSink) -> list[str]:
    return [notice.code for notice in sink.of(Notice)]


class Source:
    """A user's own source, whose frames a test makes."""

    name = "own"

    def __init__(self, make: Callable[[int], object], *, live: bool = True) -> None:
        self.live = live
        self.dropped = 0
        self.warnings = Warnings()
        self.number = 0
        self._make = make
        self.closed = threading.Event()

    def connect(self) -> Source:
        return self

    def read(self, timeout_s: float) -> Frame | None:
        if self.closed.wait(1 / 120) or self.number >= 36:
            return None
        self.number += 1
        return self._make(self.number)  # type: ignore[return-value]

    def close(self) -> None:
        self.closed.set()


def frame(number: int, *, time_s: object = None, arrived_s: float | None = None) -> Frame:
    picture = np.full((48, 64, 3), number, np.uint8)
    return Frame(picture=picture, time_s=number / 60 if time_s is None else time_s, arrived_s=arrived_s)  # type: ignore[arg-type]


def broken() -> NDArray[np.uint8]:
    raise ValueError("a broken picture")


class HangingSink(ListSink):
    """A sink whose first write lasts until the test ends it."""

    def __init__(self) -> None:
        super().__init__(name="hanging")
        self.free = threading.Event()

    def write(self, record: Record) -> None:
        self.free.wait(20)
        super().write(record)


def test_threads_that_add_remove_look_and_iterate_at_once_disturb_nobody() -> None:
    sink, shared, end_s = ListSink(), model(labels=("dark", "bright")), time.monotonic() + 2
    runner = Runner(sinks=[sink])
    runner.add(ScriptedSource([Play(60)], name="keeper"), shared, hop=1)
    runner.start()
    failures: list[Exception] = []

    def disturb(seed: int) -> None:
        rng = random.Random(seed)
        while time.monotonic() < end_s:
            chance = rng.random()
            time.sleep(0.02 * chance)
            try:
                if chance < 0.4:
                    script: list[Act] = [Play(2 * rng.random(), brightness=250), Lost(), Play(0.2)]
                    source = ScriptedSource(script, live=rng.random() < 0.3, fps=60, name=f"s{rng.randrange(6)}")
                    runner.add(source, shared, hop=rng.choice((1, 4, 8)), smoothing_s=0)
                elif chance < 0.7:
                    names = [status.stream for status in runner.status() if status.stream != "keeper"]
                    runner.remove(rng.choice([*names, "nobody"]))
                elif chance < 0.9:
                    next(iter(runner))
                else:
                    runner.outputs(), runner.errors()
            except OptionError:  # another thread was faster
                pass
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=disturb, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert runner.stop()
    assert failures == []
    assert sum(record.stream == "keeper" for record in sink.of(Prediction)) > 30
    began, ended = Counter(one.id for one in sink.of(EventStarted)), Counter(one.id for one in sink.of(EventEnded))
    assert began == ended and len(began) > 5 and max(began.values()) == 1


def test_a_quiet_stream_ends_its_event_although_the_engine_is_never_idle() -> None:
    sink, shared = ListSink(), model(delay_s=0.03, labels=("dark", "bright"))
    with Runner(sinks=[sink]) as runner:
        runner.add(ScriptedSource([Play(60)], fps=60, name="busy"), shared, hop=1)
        runner.add(ScriptedSource([Play(1, brightness=250), Silence(60)], fps=60, name="quiet"), shared, smoothing_s=0)
        until(lambda: bool(sink.of(EventEnded)), 3)
    assert sink.of(EventEnded)[0].stream == "quiet"


def test_a_stream_that_is_added_while_its_engine_fails_is_recognised() -> None:
    class Failing(FakeEngine):
        works = False

        def _infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
            if not self.works:
                raise RuntimeError("the device is gone")
            return super()._infer(frames)

    engine = Failing(rate_fps=60, frames=8)

    class Again(ListSink):
        def write(self, record: Record) -> None:
            super().write(record)
            if record.kind == "summary" and not engine.works:
                engine.works = True
                runner.add(ScriptedSource([Play(0.5)], name="again"), Model(engine))

    class Slow(Runner):
        def _has_ended(self, stream) -> None:  # type: ignore[no-untyped-def]
            time.sleep(0.1)  # as where another thread is faster
            super()._has_ended(stream)

    sink = Again()
    with Slow(sinks=[sink]) as runner:
        for name in "abc":
            runner.add(ScriptedSource([Play(60)], name=name), Model(engine))
        assert runner.wait(10)
        assert set(runner.errors()) == {"a", "b", "c"}
    assert {record.stream for record in sink.of(Prediction)} == {"again"}


def test_a_recording_that_waits_for_an_output_is_removed_and_stopped_at_once() -> None:
    hanging, notices, shared = HangingSink(), ListSink(("notice",)), model()
    runner = Runner(sinks=[hanging, notices])
    for name in "ab":
        runner.add(ScriptedSource([Play(600)], live=False, name=name), shared, hop=1)
    runner.start()
    until(lambda: runner.outputs()["hanging"]["queued"] >= 256)
    began_s = time.monotonic()
    assert runner.remove("a").state == "ended"
    assert time.monotonic() - began_s < 1
    began_s = time.monotonic()
    assert not runner.stop(1)  # because of the output
    assert time.monotonic() - began_s < 1.3
    hanging.free.set()
    assert "abandoned" not in codes(notices)


def test_a_sink_and_a_source_may_stop_their_runner() -> None:
    stopped: list[bool] = []

    class Stopping(ListSink):
        def write(self, record: Record) -> None:
            super().write(record)
            if record.kind == "prediction" and not stopped:
                stopped.append(runner.stop())

    sink = Stopping()
    runner = Runner(sinks=[sink])
    runner.add(ScriptedSource([Play(60)]), model())
    runner.start()
    until(lambda: sink.closed)
    assert stopped == [True] and sink.records[-1].kind == "summary"

    def stop_at(number: int) -> Frame:
        if number == 5:
            stopped.append(runner.stop())
        return frame(number)

    runner = Runner()
    runner.add(Source(stop_at), model())
    runner.start()
    until(lambda: stopped == [True, True])


def test_a_sink_that_exits_is_disabled_and_nobody_waits_for_it() -> None:
    class Exiting(ListSink):
        def write(self, record: Record) -> None:
            sys.exit(1)

    sink, notices = Exiting(), ListSink(("notice",), name="notices")
    with Runner(sinks=[sink, notices]) as runner:
        runner.add(ScriptedSource([Play(20)], live=False, fps=60), model(), hop=1)
        assert runner.wait(10)
    assert sink.closed
    assert [notice.message for notice in notices.of(Notice)] == ["list failed and is disabled: SystemExit: 1"]


def test_a_stream_is_removed_before_its_runner_starts() -> None:
    sink = ListSink()
    with_one = Runner(sinks=[sink])
    with_one.add(ScriptedSource([Play(1)]), model(), name="a")
    began_s = time.monotonic()
    assert with_one.remove("a").state == "ended"
    assert time.monotonic() - began_s < 1
    assert with_one.wait(0) and with_one.stop()
    assert codes(sink) == ["nothing"] and len(sink.of(StreamStatus)) == 1


def test_what_hangs_is_waited_for_and_told_once() -> None:
    source, sink = ScriptedSource([Play(0.2), Hang(2)]), ListSink()
    runner = Runner(sinks=[sink])
    runner.add(source, model())
    runner.start()
    time.sleep(0.3)
    assert not runner.stop(1)
    began_s = time.monotonic()
    assert not runner.stop()
    assert time.monotonic() - began_s < 0.5
    assert codes(sink).count("abandoned") == 1


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda number: 42, "must deliver a Frame, not int"),
        (lambda number: frame(number, time_s=math.inf), "time_s is inf"),
        (lambda number: frame(number, time_s=math.nan), "time_s is nan"),
        (lambda number: frame(number, time_s="now"), "time_s is 'now'"),
        (lambda number: frame(number, arrived_s=math.nan), "arrived_s is nan"),
        (lambda number: frame(number, arrived_s=time.time()), "give time.monotonic() at its arrival"),
        (lambda number: Frame(picture=broken, size_px=(64, 48), time_s=number / 60), "ValueError: a broken picture"),
    ],
    ids=["type", "inf", "nan", "text", "arrival", "wall-clock", "picture"],
)
def test_one_junk_frame_of_a_live_source_is_left_out_and_of_a_recording_is_an_error(
    make: Callable[[int], object], said: str
) -> None:
    live, sink = Source(lambda number: make(number) if number == 6 else frame(number)), ListSink()
    recording = Source(lambda number: make(number) if number == 6 else frame(number), live=False)
    recording.name = "recording"
    with Runner(sinks=[sink]) as runner:
        runner.add(live, model(), hop=1)
        runner.add(recording, model(), hop=1)
        assert runner.wait(10)
        errors = runner.errors()
    (summary,) = [record for record in sink.of(StreamStatus) if record.stream == "own"]
    assert summary.dropped["invalid"] == 1 and summary.inferences >= 20 and math.isfinite(summary.source_s)
    assert any(said in notice.message for notice in sink.of(Notice) if notice.code == "frame")
    if said.startswith(("arrived", "give")):
        assert errors == {}  # a recording has no arrival
    else:
        assert set(errors) == {"recording"} and said in str(errors["recording"])


def test_a_source_of_nothing_but_junk_says_so() -> None:
    sink = ListSink()
    with Runner(sinks=[sink]) as runner:
        runner.add(Source(lambda number: frame(number, time_s="now")), model())
        assert runner.wait(10)
    assert codes(sink) == ["frame", "nothing"]
    assert "36 frames arrived, and none could be used" in sink.of(Notice)[-1].message


def test_a_source_that_is_none_is_refused_or_ends_with_its_error() -> None:
    class Bare:
        name, live = "bare", True

        def connect(self) -> Bare:
            return self

    class Exiting(Source):
        def connect(self) -> Source:
            sys.exit(3)

    class Nothing(Source):
        def connect(self) -> Source:
            return None  # type: ignore[return-value]

    with Runner() as runner:
        with pytest.raises(SourceError, match="Bare is a source without dropped, warnings"):
            runner.add(Bare(), model())  # type: ignore[arg-type]
        runner.add(Exiting(frame), model(), name="exits")
        runner.add(Nothing(frame), model(), name="nothing", max_retries=0)
        assert runner.wait(5)
        assert {name: "SystemExit" in str(error) for name, error in runner.errors().items()} == {
            "exits": True,
            "nothing": False,
        }


def test_a_stream_that_one_of_its_own_threads_collects_ends() -> None:
    collect, collected = threading.Event(), threading.Event()

    def make(number: int) -> Frame:
        if collect.is_set():
            collect.clear()
            gc.collect()
            collected.set()
        return frame(number)

    class Robot:
        def __init__(self) -> None:
            self.stream = model().stream(source, hop=1, on_event=self.on_event)

        def on_event(self, event: object) -> None:
            """Make a circle of references, which only the collector ends."""

    source = Source(make)
    robot = Robot()
    next(robot.stream)
    gc.disable()
    try:
        del robot
        collect.set()
        assert collected.wait(5)
        assert source.number < 36
        until(source.closed.is_set, 1)
    finally:
        gc.enable()


def test_ended_streams_give_their_memory_back() -> None:
    shared = model(size_px=224)
    tracemalloc.start()
    try:
        with Runner() as runner:
            for number in range(12):
                runner.add(ScriptedSource([Play(0.5)], live=False, name=str(number)), shared)
                assert runner.wait(10)
            until(lambda: tracemalloc.get_traced_memory()[0] < 4e6)  # 2.4 MB each
            assert [status.inferences > 0 for status in runner.status()] == [True] * 12
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "options",
    [{"max_retries": -1}, {"stall_s": 0}, {"stall_s": math.nan}, {"max_s": -1.0}, {"max_age_s": 0}, {"name": " "}],
    ids=str,
)
def test_invalid_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        Runner().add(ScriptedSource([Play(1)]), model(), **options)  # type: ignore[arg-type]


def test_sinks_that_cannot_be_served_are_refused_and_the_others_closed() -> None:
    good, mistaken = ListSink(), ListSink(("events",))  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="its 'wants' must be a set of prediction, event"):
        Runner(sinks=[good, mistaken])
    assert good.closed
    with Runner(sinks=[ListSink(), ListSink()]) as runner:
        assert list(runner.outputs()) == ["list", "list (2)"]
        with pytest.raises(OptionError, match="use a list of names"):
            runner.add_sink(ListSink(), streams="left")
    with pytest.raises(OptionError, match="was stopped"):
        runner.add_sink(ListSink())


def test_a_prediction_that_nobody_takes_keeps_a_bounded_number_of_events() -> None:
    queue = ResultQueue(frozenset(("prediction",)))
    event = EventEnded(id="1", stream="a", label="x", start_s=0, end_s=1, score=1)
    for number in range(6):
        queue.put(
            Prediction(
                stream="a", time_s=number, frame=number, label="x", score=1, top=(), latency_ms=0, mask=0, engine="fake",
                events=(event,) * 2000,
            )
        )  # fmt: skip
    taken = queue.get()
    assert isinstance(taken, Prediction) and (taken.frame, len(taken.events)) == (5, LARGEST)
    assert queue.dropped == 2000


PROGRAM = """
import os, sys, mar_edge
from mar_edge.testing import Act, FakeEngine, ListSink, Play, ScriptedSource

class Sink(ListSink):
    def close(self):
        print("closed", [record.kind for record in self.records[-1:]], flush=True)

model = mar_edge.Model(FakeEngine(rate_fps=60, frames=4))
runner = mar_edge.Runner(sinks=[Sink()])
runner.add(ScriptedSource([Play(600)]), model)
stream = model.stream(ScriptedSource([Play(600)]))
for record in runner:
    next(stream)
    if not os.fork():
        sys.exit()
    assert os.wait()[1] == 0
    sys.exit(3)
"""


def test_a_program_that_ends_without_stopping_closes_its_sinks_and_its_forks_do_not() -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM]  # of os.fork beside threads
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "closed ['summary']\n", "")
