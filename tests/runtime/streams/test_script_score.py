"""How a stream's results are compared with the script of its source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from mar_edge.cli.main import app
from mar_edge.cli.views.terminal import Terminal
from mar_edge.runtime.model import Model
from mar_edge.runtime.results import ScriptScore, StreamStatus
from mar_edge.runtime.sources.demo.demo import DemoSource
from mar_edge.runtime.sources.realtime import RealtimeSource
from mar_edge.runtime.streams.event_rule import EventRule
from mar_edge.runtime.streams.runner import Runner
from mar_edge.runtime.streams.script_follower import ScriptFollower
from mar_edge.testing import FakeEngine, ListSink, ScriptedSource

LABELS = ("none", "circle", "tick")
SCRIPT = (
    ("none", 2.0),
    ("circle", 1.0),
    ("none", 2.0),
    ("tick", 1.0),
    ("none", 3.0),
)  # circle ends at 3 s, tick at 6 s


def followed(events: Iterable[tuple[str, float]], *, until_s: float = 9.0, late_s: float = 0.5) -> ScriptScore:
    """Return the score of events, each reported some time after its begin, in a stream that ends at a time."""
    follower = ScriptFollower(window_s=1.0, labels=LABELS, idle="none")
    waiting = list(events)
    for time_s in np.arange(0, until_s + 1e-6, 0.1):
        start_s, truth = 0.0, "none"
        for label, seconds in SCRIPT:
            truth = label
            if time_s < start_s + seconds - 1e-6:
                break
            start_s += seconds
        follower.add(float(time_s), truth, start_s, "none")
        while waiting and waiting[0][1] + late_s <= time_s + 1e-6:
            follower.begin(*waiting.pop(0))
    follower.finish()
    score = follower.score()
    assert score is not None
    return score


@pytest.mark.parametrize(
    ("events", "counts"),
    [
        ([("circle", 2.5), ("tick", 6.0)], (2, 2, 0)),
        ([("circle", 4.0), ("tick", 7.0)], (2, 2, 0)),  # a second after the end is in time
        ([("circle", 4.1), ("tick", 6.0)], (1, 2, 1)),  # and later is not
        ([("circle", 1.9), ("tick", 6.0)], (1, 2, 1)),  # nor is an event before its gesture
        ([("tick", 3.1), ("tick", 6.0)], (1, 2, 1)),  # a wrong one is false, and its gesture was missed
        ([("tick", 2.8), ("circle", 3.1), ("tick", 6.0)], (2, 2, 1)),
        ([("circle", 2.5), ("circle", 3.5), ("tick", 6.0)], (2, 2, 1)),  # one event a gesture
        ([], (0, 2, 0)),
        ([("circle", 0.5), ("tick", 8.3)], (0, 2, 2)),
    ],
)
def test_each_gesture_asks_for_one_event_in_time(events: list[tuple[str, float]], counts: tuple[int, int, int]) -> None:
    score = followed(events)
    assert (score.right, score.total, score.false) == counts
    assert score.events == dict(zip(("right", "of", "false"), counts, strict=True))
    assert score.agreement is None
    assert [part.label for part in score.parts] == ["circle", "tick"]
    assert [part.end_s for part in score.parts] == pytest.approx([3.0, 6.0])


def test_the_right_event_is_shown_for_its_gesture_or_else_the_first() -> None:
    assert followed([("tick", 2.8), ("circle", 3.1)]).parts[0].event == ("circle", 3.1)
    assert followed([("tick", 2.8), ("tick", 3.1)]).parts[0].event == ("tick", 2.8)
    assert followed([]).parts[0].event is None


@pytest.mark.parametrize(("until_s", "total"), [(2.5, 0), (3.5, 0), (4.0, 1), (6.5, 1), (7.0, 2)])
def test_a_gesture_counts_only_if_its_event_had_time(until_s: float, total: int) -> None:
    score = followed([("circle", 2.4)], until_s=until_s, late_s=0.0)
    assert (score.right, score.total, score.false) == (min(1, total), total, 0)
    assert (score.events is None) == (total == 0)


def test_states_are_judged_by_predictions_of_whole_windows() -> None:
    follower = ScriptFollower(window_s=1.0, labels=("still", "pan"), idle=None)
    assert follower.score() is None
    for tenth in range(40):
        since_s = 0.0 if tenth < 20 else 2.0
        follower.add(tenth / 10, "pan" if since_s else "still", since_s, "still" if tenth < 35 else "pan")
    follower.begin("pan", 2.0)
    follower.finish()
    score = follower.score()
    assert score is not None
    assert (score.right, score.total, score.false) == (15, 20, 0)  # 1.0 to 1.9 s, and 3.0 to 3.9 s
    assert score.agreement == 0.75
    assert score.events is None
    assert [dict(part.seen) for part in score.parts] == [{"still": 10}, {"still": 5, "pan": 5}]


def test_an_endless_script_takes_no_more_memory() -> None:
    follower = ScriptFollower(window_s=1.0, labels=LABELS, idle="none")
    for number in range(700):
        follower.add(10.0 * number, "circle", 10.0 * number, "none")
        follower.add(10.0 * number + 5, "none", 10.0 * number + 5, "none")
        follower.begin("circle", 10.0 * number + 5)
        follower.begin("tick", 10.0 * number + 8)
    follower.finish()
    score = follower.score()
    assert score is not None
    assert len(score.parts) == 500
    assert (score.right, score.total, score.false) == (699, 699, 700)


def runs(script: Iterable[tuple[str, float]], rate_fps: float, frames: int) -> Iterator[str]:
    """Yield what a model says that recognises a script, one prediction after another."""
    labels = [label for label, seconds in script for _ in range(round(seconds * rate_fps))]
    yield from labels[frames - 1 :]
    while True:
        yield "none"


def test_a_stream_of_gestures_ends_with_its_score(capsys: pytest.CaptureFixture[str]) -> None:
    said = runs(
        [("none", 1.7), ("circle", 0.6), ("none", 0.9), ("circle", 0.4), ("none", 0.4), ("circle", 0.4)], 10, frames=4
    )

    def answer(_clip: NDArray[np.uint8]) -> str:
        return next(said)

    script = (("none", 1.5), ("circle", 0.6), ("none", 1.5), ("tick", 0.6), ("none", 2.0))
    source = DemoSource(show="gestures", size_px=(64, 48), fps=10, realtime=False, script=script)
    sink = ListSink(("summary",))
    terminal = Terminal("", "", events=True)
    with terminal, Runner(sinks=[sink, terminal]) as runner:
        model = Model(FakeEngine(labels=LABELS, answer=answer, frames=4))
        runner.add(source, model, hop=1, smoothing_s=0, rule=EventRule(min_duration_s=0.2))
        assert runner.wait(30)
    (summary,) = sink.of(StreamStatus)
    # the circle is right; another one comes in the pause, and one instead of the tick
    assert summary.to_json()["scripted_events"] == {"right": 1, "of": 2, "false": 2}
    assert "agreement" not in summary.to_json()
    written = capsys.readouterr().err
    assert "Right: 1 of 2, which began by 1 s after the end; 2 false events." in written
    assert "-0.40 s" in written


def test_a_recording_in_real_time_keeps_its_script() -> None:
    demo = DemoSource(show="gestures", realtime=False)
    assert RealtimeSource(demo).idle_truth == "none"
    assert RealtimeSource(ScriptedSource([], live=False)).idle_truth is None


def test_a_model_that_does_not_know_the_script_gets_no_score() -> None:
    arguments = "run --source demo:show=gestures,realtime=no,size=64x48,fps=10 --max-seconds 4 --json -"
    done = CliRunner().invoke(app, arguments.split())
    assert done.exit_code == 0, done.output
    assert "No score: the script shows what egomotion has no classes for (none, swipe_right)." in done.stderr
    assert "Right" not in done.stderr and "Agreed" not in done.stderr
    assert '"agreement"' not in done.stdout and '"scripted_events"' not in done.stdout
