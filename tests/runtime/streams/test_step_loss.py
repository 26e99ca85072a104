"""A live stream that loses many of its time steps is told so once; one that loses few, or does so for a moment, is not."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from mar_edge.runtime.model import Model
from mar_edge.runtime.results import Notice, StreamStatus
from mar_edge.runtime.streams.runner import Runner
from mar_edge.runtime.streams.step_loss import StepLoss
from mar_edge.testing import FakeEngine, ListSink, Lost, Play, ScriptedSource
from tests.fakes.stateful_engine import StatefulEngine

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


def told(steps: Iterable[int], loss: StepLoss | None = None) -> list[tuple[int, int]]:
    """Return at which steps it was told how many are missing."""
    loss = loss or StepLoss()
    return [(step, missing) for step in steps if (missing := loss.known(step))]


def test_more_than_a_fifth_of_fifty_steps_is_told_once() -> None:
    assert told(range(500)) == []
    assert told(step for step in range(500) if step % 5) == []  # a fifth
    assert told(range(0, 500, 2)) == [(50, 25)]
    assert told([*range(100), *range(112, 500)]) == [(112, 12)]
    assert told([*range(100), *range(110, 500)]) == []
    assert told([7, 400, 401]) == [(400, 49)]


def test_a_break_begins_anew() -> None:
    loss = StepLoss()
    for _ in range(5):
        assert told(range(0, 46, 3), loss) == []
        loss.clear()
    assert told(range(0, 100, 3), loss) == [(51, 33)]
    loss.clear()
    assert told(range(0, 100, 3), loss) == []


@pytest.mark.parametrize("streaming", [True, False])
def test_a_live_stream_is_told_what_to_do_about_a_slow_engine(streaming: bool) -> None:
    """Also across a loss of the source; a windowed model misses nothing: its windows are whole."""
    engine = (StatefulEngine if streaming else FakeEngine)(rate_fps=100, delay_s=0.05)
    sink = ListSink()
    with Runner(sinks=[sink]) as runner:
        runner.add(ScriptedSource([Play(1.4), Lost("ended"), Play(1.4)], fps=100), Model(engine), name="gate")
        assert runner.wait(60)
        assert runner.stop(None)
    (summary,) = sink.of(StreamStatus)
    assert summary.dropped["newer"] > 50
    notices = [one.message for one in sink.of(Notice) if one.code == "missing-steps"]
    if not streaming:
        assert notices == []
        return
    (message,) = notices
    assert message.startswith("gate: ") and "of the last 50 time steps are missing" in message
    assert all(part in message for part in ("comes every 20 ms", "--mask", "--budget-ms 20", "streaming.skipped"))


def test_a_recording_waits_and_misses_nothing() -> None:
    sink = ListSink()
    with Runner(sinks=[sink]) as runner:
        source = ScriptedSource([Play(1.4)], fps=100, live=False)
        runner.add(source, Model(StatefulEngine(rate_fps=100, delay_s=0.01)))
        assert runner.wait(60)
    assert [one for one in sink.of(Notice) if one.code == "missing-steps"] == []
