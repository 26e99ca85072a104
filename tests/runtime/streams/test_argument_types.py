"""What is no option, state, model or output at all is refused in a sentence that says what to pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mar_edge
from mar_edge.errors import FrameError, OptionError, OutputError
from mar_edge.runtime.model import Model
from mar_edge.runtime.streams.runner import Runner
from mar_edge.runtime.streams.session import Session
from mar_edge.runtime.streams.session_state import SessionState
from mar_edge.testing import ScriptedSource
from tests.fakes.stateful_engine import StatefulEngine

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"dial": 5}, r"dial is 5; give a DialOptions, such as mar_edge.DialOptions\(budget_ms=50\)"),
    ({"dial": {"budget_ms": 5}}, "dial is {'budget_ms': 5}; give a DialOptions"),
    ({"rule": 0.5}, r"rule is 0.5; give an EventRule, such as mar_edge.EventRule\(onset=0.6\)"),
    ({"rule": {}}, "rule is {}; give an EventRule"),
    ({"smoothing_s": "0.3"}, "smoothing_s is '0.3'; use 0 seconds or more"),
    ({"hop": "2"}, "hop '2' is invalid"),
    ({"skip_still": [2]}, r"skip_still is \[2\]; use grey levels"),
]


@pytest.mark.parametrize(("options", "says"), WRONG)
def test_of_a_session_and_of_a_stream(options: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        Session(StatefulEngine(), **options)
    runner = Runner()
    with pytest.raises(OptionError, match=says):
        runner.add(ScriptedSource([]), Model(StatefulEngine()), **options)
    assert runner.status() == []
    runner.stop()


@pytest.mark.parametrize("name", [5, b"door", ["door"]])
def test_a_name_is_text(name: Any) -> None:
    with pytest.raises(OptionError, match="the name of a stream is .*give it as text, such as 'door'"):
        Session(StatefulEngine(), stream=name)
    runner = Runner()
    with pytest.raises(OptionError, match="the name of a stream is .*give it as text, such as 'door'"):
        runner.add(ScriptedSource([]), Model(StatefulEngine()), name=name)
    runner.stop()
    with pytest.raises(OptionError, match="is empty"):
        Session(StatefulEngine(), stream=" ")
    assert Session(StatefulEngine(), stream="\x1b[2J rtsp://me:secret@door").stream == "\\x1b[2J rtsp://***@door"


def test_an_engine_is_one() -> None:
    for wrong in ("egomotion", None, Model(StatefulEngine())):
        with pytest.raises(OptionError, match=r"is not an engine. .*model = mar_edge.load\(NAME\).* model.session\(\)"):
            Session(wrong)  # type: ignore[arg-type]


def test_of_a_runner() -> None:
    class NoEngine:
        engine: Any = "egomotion"

    runner = Runner()
    with pytest.raises(OptionError, match="'egomotion' is not an engine"):
        runner.add(ScriptedSource([]), NoEngine())
    with pytest.raises(OptionError, match="max_age_s is '1'; use more than 0 seconds"):
        runner.add(ScriptedSource([]), Model(StatefulEngine()), max_age_s="1")  # type: ignore[arg-type]
    with pytest.raises(
        OptionError, match="None is not a sink: it has no name, no wants, no write, no close. See mar_edge.Sink"
    ):
        runner.add_sink(None)  # type: ignore[arg-type]
    runner.stop()


@pytest.mark.parametrize("state", ["door.npz", Path("door.npz"), None, {}])
def test_a_state_is_not_a_path(state: Any) -> None:
    session = Session(StatefulEngine())
    with pytest.raises(
        OptionError, match=r"give what Session.state returned, or for a file SessionState.load\('door.npz'\)"
    ):
        session.restore(state)
    assert session.inferences == 0


@pytest.mark.parametrize("path", [5, None, b"door.npz", ""])
def test_a_path_is_one(path: Any) -> None:
    for use in (SessionState.load, Session(StatefulEngine()).state().save):
        with pytest.raises(
            OptionError, match="the path of a session state is .*give the path of a file, such as 'door.npz'"
        ):
            use(path)


def test_what_replaces_a_file_is_said_as_it_is_typed(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.npz"
    foreign.write_bytes(b"mine")
    state = Session(StatefulEngine()).state()
    with pytest.raises(OutputError, match="Choose another name, or replace it with force=True$"):
        state.save(foreign)
    assert foreign.read_bytes() == b"mine"
    state.save(foreign, force=True)
    assert SessionState.load(foreign).model == state.model
    foreign.write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"replace it with --force \(in Python: force=True\)$"):
        mar_edge.JsonLinesSink(str(foreign))
    with pytest.raises(OutputError, match=r"replace it with --force \(in Python: force=True\)$"):
        mar_edge.Recording(foreign.rename(tmp_path / "foreign.mp4"))  # also as a Path


@pytest.mark.parametrize("arrived_s", ["0", float("nan"), float("inf")])
def test_a_time_of_arrival_is_one(arrived_s: Any) -> None:
    session = Session(StatefulEngine())
    with pytest.raises(FrameError, match=r"arrived_s is .*; give time.monotonic\(\) at the frame's capture"):
        session.push(np.zeros((48, 64, 3), np.uint8), 0.0, arrived_s=arrived_s)
    assert session.frames == 0
