"""Outputs that are slow, broken or away never hold recognition up, and nothing is lost without a word."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from mar_edge.errors import OutputError
from mar_edge.runtime.backoff import Backoff
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.results import EventEnded, Notice, Prediction, Record, ShownFrame
from mar_edge.runtime.sinks.outlet import Outlet
from mar_edge.testing import ListSink


def prediction(number: int) -> Prediction:
    return Prediction(
        stream="a",
        time_s=number,
        frame=number,
        label="x",
        score=1,
        top=(("x", 1),),
        latency_ms=1,
        mask=50,
        engine="fake",
    )


def event(number: int) -> EventEnded:
    return EventEnded(id=str(number), stream="a", label="x", start_s=number, end_s=number + 1, score=1)


def frame(number: int) -> ShownFrame:
    picture = np.zeros((8, 8, 3), np.uint8)
    return ShownFrame(stream="a", frame=Frame(picture=picture, time_s=number), time_s=number)


class Gate(ListSink):
    """A sink that waits at each record until the test lets it go on, or raises what the test says."""

    def __init__(self) -> None:
        super().__init__(("prediction", "event", "notice", "frame"), name="gate")
        self.free = threading.Event()
        self.entered = threading.Event()
        self.failure: Exception | None = None
        self.attempts = 0

    def write(self, record: Record) -> None:
        self.attempts += 1
        self.entered.set()
        self.free.wait(10)
        if self.failure is not None:
            raise self.failure
        super().write(record)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.free.set()


def fast() -> Backoff:
    return Backoff(first_s=0.01, longest_s=0.05)


def until(condition: Callable[[], bool], timeout_s: float = 5) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.005)


def test_a_slow_sink_loses_old_predictions_but_no_event(gate: Gate) -> None:
    notices: list[Notice] = []
    outlet = Outlet(gate, notify=notices.append, depth=4)
    outlet.put(prediction(0))
    gate.entered.wait(5)
    for number in range(1, 6):
        outlet.put(event(number) if number == 2 else prediction(number))
    assert outlet.counts() == {"queued": 4, "written": 0, "retries": 0, "dropped_prediction": 1}
    gate.free.set()
    assert outlet.close(5)
    assert [record for record in gate.records if isinstance(record, EventEnded)] == [event(2)]
    assert [record.frame for record in gate.of(Prediction)] == [0, 3, 4, 5]
    assert gate.closed
    assert ["too slow" in notice.message for notice in notices] == [True]


def test_what_a_sink_dropped_itself_is_counted_too(gate: Gate) -> None:
    gate.dropped = {"prediction": 3, "refused": 1, "event": 0}  # type: ignore[attr-defined]
    gate.failure = ValueError("a bug")
    gate.free.set()
    outlet = Outlet(gate, notify=lambda _notice: None)
    outlet.put(prediction(0))
    assert outlet.close(5)
    assert outlet.counts() == {
        "queued": 0, "written": 0, "retries": 0, "dropped_prediction": 4, "dropped_refused": 1,
    }  # fmt: skip


def test_events_are_dropped_only_when_nothing_else_waits(gate: Gate) -> None:
    outlet = Outlet(gate, notify=lambda _notice: None, depth=3)
    outlet.put(prediction(0))
    gate.entered.wait(5)
    for number in range(1, 6):
        outlet.put(event(number))
    gate.free.set()
    assert outlet.close(5)
    assert gate.of(EventEnded) == [event(3), event(4), event(5)]
    assert outlet.dropped == {"event": 2}


def test_frames_have_a_bound_of_their_own(gate: Gate) -> None:
    outlet = Outlet(gate, notify=lambda _notice: None, frames=2)
    outlet.put(prediction(0))
    gate.entered.wait(5)
    for number in range(5):
        outlet.put(frame(number))
        outlet.put(prediction(number))
    gate.free.set()
    assert outlet.close(5)
    assert [shown.time_s for shown in gate.of(ShownFrame)] == [3, 4]
    assert len(gate.of(Prediction)) == 6


def test_live_records_do_not_replace_those_of_a_stream_that_waits(gate: Gate) -> None:
    outlet = Outlet(gate, notify=lambda _notice: None, depth=3)
    outlet.put(prediction(0))
    gate.entered.wait(5)
    for number in range(1, 4):
        outlet.put(prediction(number), keep=True)
        assert outlet.wait_for_room(0) == (number < 3)
    for number in range(11, 16):
        outlet.put(prediction(number) if number != 12 else event(number))
    gate.free.set()
    assert outlet.close(5)
    assert [record.frame for record in gate.of(Prediction)] == [0, 1, 2, 3, 14, 15]
    assert gate.of(EventEnded) == [event(12)]
    assert outlet.dropped == {"prediction": 2}


def test_a_stream_that_waits_loses_nothing(gate: Gate) -> None:
    outlet = Outlet(gate, notify=lambda _notice: None, depth=2)

    def write() -> None:
        for number in range(20):
            outlet.wait_for_room()
            outlet.put(prediction(number), keep=True)

    writer = threading.Thread(target=write)
    writer.start()
    gate.entered.wait(5)
    time.sleep(0.05)
    assert writer.is_alive()
    gate.free.set()
    writer.join(5)
    assert outlet.close(5)
    assert [record.frame for record in gate.of(Prediction)] == list(range(20))


def test_a_sink_that_is_away_gets_everything_in_order_when_it_is_back(gate: Gate) -> None:
    notices: list[Notice] = []
    outlet = Outlet(gate, notify=notices.append, backoff=fast())
    gate.failure = OutputError("the server is away", retry=True)
    gate.free.set()
    for number in range(3):
        outlet.put(event(number))
    until(lambda: gate.attempts > 3)
    gate.failure = None
    until(lambda: outlet.written == 3)
    assert gate.of(EventEnded) == [event(0), event(1), event(2)]
    assert outlet.retries >= 3 and not outlet.dropped
    assert [notice.message for notice in notices] == [
        "gate cannot be written: the server is away. Trying again",
        "gate works again",
    ]
    assert outlet.close(1)


def test_a_sink_that_stays_away_does_not_delay_the_end(gate: Gate) -> None:
    outlet = Outlet(gate, notify=lambda _notice: None)
    gate.failure = OutputError("the server is away", retry=True)
    gate.free.set()
    for number in range(3):
        outlet.put(event(number))
    until(lambda: gate.attempts > 0)
    began_s = time.monotonic()
    assert outlet.close(5)
    assert time.monotonic() - began_s < 2
    assert outlet.dropped == {"event": 3}


def test_a_sink_that_fails_for_good_is_disabled(gate: Gate) -> None:
    notices: list[Notice] = []
    outlet = Outlet(gate, notify=notices.append)
    gate.failure = OutputError("the disk is full")
    gate.free.set()
    outlet.put(prediction(0))
    until(lambda: bool(notices))
    outlet.put(prediction(1))
    outlet.wait_for_room()
    assert gate.attempts == 1
    assert outlet.dropped == {"prediction": 2}
    assert [notice.message for notice in notices] == ["gate failed and is disabled: the disk is full"]
    assert outlet.close(1) and gate.closed


def test_a_sink_of_the_users_that_raises_is_called_again_and_said_once(gate: Gate) -> None:
    notices: list[Notice] = []
    outlet = Outlet(gate, notify=notices.append)
    gate.failure = ValueError("a bug")
    gate.free.set()
    for number in range(3):
        outlet.put(prediction(number))
    until(lambda: outlet.dropped.total() == 3)
    gate.failure = None
    outlet.put(prediction(3))
    until(lambda: outlet.written == 1)
    assert [notice.message for notice in notices] == [
        "gate failed and lost a prediction: ValueError: a bug",
        "gate works again",
    ]
    assert outlet.close(1)


def test_a_sink_that_hangs_is_left_behind_and_counted(gate: Gate) -> None:
    outlet = Outlet(gate, notify=lambda _notice: None)
    for number in range(3):
        outlet.put(prediction(number))
    gate.entered.wait(5)
    began_s = time.monotonic()
    assert not outlet.close(0.2)
    assert time.monotonic() - began_s < 1
    assert outlet.dropped == {"prediction": 3}
    outlet.put(prediction(3))
    assert outlet.dropped == {"prediction": 4}


def test_pauses_grow_to_a_bound_and_differ() -> None:
    pauses_s = [backoff.next_s() for backoff in [Backoff()] for _ in range(12)]
    assert 0.4 <= pauses_s[0] <= 0.5
    assert all(24 <= pause_s <= 30 for pause_s in pauses_s[-3:])
    assert len(set(pauses_s[-3:])) == 3
