"""A session that was saved and restored says what an uninterrupted one says; what does not fit is refused, and changes nothing."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mar_edge.errors import DataError, EngineError, MarEdgeError, OutputError
from mar_edge.runtime.results import EventEnded, EventStarted, Prediction
from mar_edge.runtime.streams.event_rule import EventRule
from mar_edge.runtime.streams.saving.dial import DialOptions
from mar_edge.runtime.streams.session import Session
from mar_edge.runtime.streams.session_state import SessionState
from mar_edge.testing import FakeEngine, numbered
from tests.fakes.stateful_engine import StatefulEngine, engines

RULE = EventRule(min_duration_s=0.3, merge_gap_s=0.4, cooldown_s=0.2)


def picture(number: int) -> NDArray[np.uint8]:
    bright = 250 if number % 40 > 20 and number % 7 else 10
    return numbered(number, (64, 48), bright)


def film(start: int, end: int) -> list[tuple[NDArray[np.uint8], float]]:
    """Frames with a gap, a slow part, and events."""
    times_s = [index / 12 + (2.0 if index >= 70 else 0.0) for index in range(160)]
    return [(picture(index), times_s[index]) for index in range(start, end) if not 100 < index < 130 or index % 4 == 0]


def push(session: Session, frames: list[tuple[NDArray[np.uint8], float]]) -> list[Prediction]:
    found = [session.push(one, time_s, color="rgb") for one, time_s in frames]
    return [one for one in found if one is not None]


def told(predictions: list[Prediction], ids: bool = False) -> list[Any]:
    """Return what must be equal; the ids of events are random."""
    events = [tuple(event if ids else replace(event, id="") for event in one.events) for one in predictions]
    same = [replace(one, latency_ms=0, inference_ms=0, events=()) for one in predictions]
    return [*zip(same, events, strict=True)]


@pytest.mark.parametrize("at", [0, 1, 2, 15, 31, 44, 70, 71, 105, 139])
@pytest.mark.parametrize("skip_still", [None, 40.0])
def test_a_restored_session_is_an_uninterrupted_one(at: int, skip_still: float | None, tmp_path: Path) -> None:
    options: dict[str, Any] = {"rule": RULE, "stream": "door", "skip_still": skip_still}
    whole = Session(StatefulEngine(), **options)
    expected = push(whole, film(0, 160))
    first = Session(StatefulEngine(), **options)
    before = push(first, film(0, at))
    first.state().save(tmp_path / "door.npz")
    engine = StatefulEngine()
    second = Session(engine, **options)
    push(second, film(0, 9))  # which is forgotten
    second.restore(SessionState.load(tmp_path / "door.npz"))
    after = push(second, film(at, 160))
    assert told(before) + told(after) == told(expected)
    assert (second.frames, second.inferences) == (whole.frames, whole.inferences)
    assert second.finish() == () or len(whole.finish()) == 1
    events = [event for one in expected for event in one.events]
    assert any(isinstance(event, EventEnded) for event in events)
    assert any(one.reused for one in expected) == (skip_still is not None)


def test_an_event_in_progress_keeps_its_id() -> None:
    first, second = Session(StatefulEngine(), rule=RULE), Session(StatefulEngine(), rule=RULE)
    started = [event for one in push(first, film(0, 36)) for event in one.events]
    assert isinstance(started[-1], EventStarted)
    second.restore(first.state())
    assert [event.id for event in second.finish()] == [started[-1].id]
    assert [event.id for event in first.finish()] == [started[-1].id]


def test_a_windowed_session_as_well(tmp_path: Path) -> None:
    whole, first, second = (Session(FakeEngine(), hop=3, rule=RULE) for _ in range(3))
    expected, before = push(whole, film(0, 160)), push(first, film(0, 59))
    first.state().save(tmp_path / "w.npz")
    second.restore(SessionState.load(tmp_path / "w.npz"))
    assert told(before) + told(push(second, film(59, 160))) == told(expected)


def test_a_state_is_a_copy() -> None:
    session = Session(StatefulEngine(), rule=RULE)
    push(session, film(0, 31))
    state = session.state()
    after = push(session, film(31, 60))
    for _ in range(2):
        session.restore(state)
        assert told(push(session, film(31, 60))) == told(after)


def test_a_state_of_another_mask_is_refused_until_the_mask_is_set() -> None:
    session, other = Session(engines(75, 50)), Session(StatefulEngine(50))
    push(other, film(0, 30))
    kept = push(session, film(0, 20))
    with pytest.raises(EngineError, match=r"mask 50, and the session's model has 75. Run: session.set_mask\(50\)"):
        session.restore(other.state())
    assert session.inferences == len(kept)
    session.set_mask(other.state().mask)
    session.restore(other.state())
    assert told(push(session, film(30, 60))) == told(push(other, film(30, 60)))


def test_a_session_with_a_dial_begins_with_the_mask_of_a_state() -> None:
    dial = DialOptions(budget_ms=1e6)
    other = Session(engines(50, 75), mask=75)
    push(other, film(0, 30))
    state = other.state()
    with pytest.raises(EngineError, match=r"or begin with it: model.session\(mask=75\)"):
        Session(engines(50, 75), dial=dial).restore(state)
    session = Session(engines(50, 75), mask=state.mask, dial=dial)
    session.restore(state)
    assert told(push(session, film(30, 40))) == told(push(other, film(30, 40)))


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        (StatefulEngine(labels=("a", "b", "c")), "labels"),
        (StatefulEngine(frames=8), "clip"),
        (StatefulEngine(rate_fps=12), "rate_fps 10.0, and the session's model has 12.0"),
        (FakeEngine(), "temporal causal, and the session's model has window"),
    ],
)
def test_a_state_of_another_model_is_refused(engine: FakeEngine, says: str) -> None:
    session, other = Session(engine), Session(StatefulEngine())
    push(other, film(0, 30))
    with pytest.raises(EngineError, match=f"{says}.*Restore it in a session of the same model"):
        session.restore(other.state())
    half = StatefulEngine()
    half.variant = half.variant.model_copy(update={"precision": "fp16"})
    with pytest.raises(EngineError, match="precision fp32, and the session's model has fp16"):
        Session(half).restore(other.state())


def saved(tmp_path: Path) -> Path:
    session = Session(StatefulEngine(), rule=RULE)
    push(session, film(0, 50))
    session.state().save(tmp_path / "s.npz")
    return tmp_path / "s.npz"


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda data: data[: len(data) // 2], "damaged"),
        (lambda data: b"", "damaged"),
        (lambda data: b"not a state at all", "damaged"),
        (lambda data: data.replace(b'"inferences":', b'"inferencez":'), "damaged"),
    ],
)
def test_a_damaged_file_is_refused(damage: Callable[[bytes], bytes], says: str, tmp_path: Path) -> None:
    path = saved(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=says):
        SessionState.load(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read"):
        SessionState.load(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(DataError, match="is not a session state"):
        SessionState.load(tmp_path / "other.npz")
    np.savez(tmp_path / "object.npz", session=np.array([{}], object))
    with pytest.raises(DataError, match="objects"):
        SessionState.load(tmp_path / "object.npz")
    np.savez_compressed(tmp_path / "small.npz", session=np.zeros(3, np.uint8))
    with pytest.raises(DataError, match="compressed"):
        SessionState.load(tmp_path / "small.npz")
    (tmp_path / "notes.txt").write_text("mine")
    session = Session(StatefulEngine())
    with pytest.raises(OutputError):
        session.state().save(tmp_path / "notes.txt")
    session.state().save(tmp_path / "notes.txt", force=True)
    session.state().save(tmp_path / "notes.txt")
    assert SessionState.load(tmp_path / "notes.txt").model == "fake"
    assert {name.filename for name in zipfile.ZipFile(tmp_path / "notes.txt").infolist()} >= {
        "session.npy",
        "frames.npy",
    }


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.pop("frames"),
        lambda arrays: arrays.update(frames=arrays["frames"][:-1]),
        lambda arrays: arrays.update(frames=arrays["frames"].astype(np.float32)),
        lambda arrays: arrays.pop("state.k0"),
        lambda arrays: arrays.update({"state.v0": arrays["state.v0"][:, :, :-1]}),
        lambda arrays: arrays.update({"state.held": arrays["state.held"] + 1000}),
        lambda arrays: arrays.update({"state.step": np.int64(10**6)}),
        lambda arrays: arrays.update(logits=np.zeros(2, np.float32)),
    ],
)
def test_a_state_that_contradicts_itself_changes_nothing(
    change: Callable[[dict[str, Any]], object], tmp_path: Path
) -> None:
    state = SessionState.load(saved(tmp_path))
    change(state.arrays)
    session, untouched = Session(StatefulEngine()), Session(StatefulEngine())
    for one in (session, untouched):
        push(one, film(0, 21))
    with pytest.raises(MarEdgeError, match="damaged|another model"):
        session.restore(state)
    assert told(push(session, film(21, 60))) == told(push(untouched, film(21, 60)))


def test_events_of_unknown_classes_are_refused(tmp_path: Path) -> None:
    state = SessionState.load(saved(tmp_path))
    wrong = replace(state.notes, decision=replace(state.notes.decision, label="elephant"))
    with pytest.raises(DataError, match="a class 'elephant'"):
        Session(StatefulEngine()).restore(SessionState(wrong, state.arrays))


def test_nothing_is_pickled(tmp_path: Path) -> None:
    content = saved(tmp_path).read_bytes()
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        assert {array.dtype.kind for array in arrays.values()} <= set("uifb")
