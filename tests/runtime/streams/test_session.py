"""The session: what goes into a window, when it answers, and what it refuses."""

from __future__ import annotations

import gc
import math
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mar_edge.errors import FrameError, OptionError
from mar_edge.reporting import Warnings
from mar_edge.runtime.model import Model
from mar_edge.runtime.results import Event, EventEnded, EventStarted
from mar_edge.runtime.streams.event_rule import EventRule
from mar_edge.runtime.streams.session import Session
from tests.fakes.bundle import BrightnessEngine
from tests.fakes.video_files import write_video


@pytest.fixture
def engine(tmp_path: Path) -> BrightnessEngine:
    return BrightnessEngine(tmp_path / "fake.mar")


def grey(value: int, shape: tuple[int, int] = (32, 32)) -> NDArray[np.uint8]:
    return np.full((*shape, 3), value, np.uint8)


def values(window: NDArray[np.uint8]) -> list[int]:
    """Brightness of each frame of a window (1, T, H, W, 3)."""
    return [int(frame.mean()) for frame in window[0]]


def test_the_first_prediction_comes_with_the_full_window(engine: BrightnessEngine) -> None:
    session = Session(engine, hop=1)
    results = [session.push(grey(10 * index), index / 10) for index in range(6)]
    assert [result is not None for result in results] == [False, False, False, True, True, True]
    assert [values(window) for window in engine.seen] == [[0, 10, 20, 30], [10, 20, 30, 40], [20, 30, 40, 50]]
    result = results[3]
    assert result is not None
    assert (result.time_s, result.frame, result.mask, result.engine) == (0.3, 3, 50, "fake")
    assert result.label == "dark"
    assert sum(score for _, score in result.top) == pytest.approx(1)
    assert result.latency_ms > 0


def test_hop(engine: BrightnessEngine) -> None:
    session = Session(engine, hop=3)
    frames = [index for index in range(16) if session.push(grey(0), index / 10)]
    assert frames == [3, 6, 9, 12, 15]


def test_a_fast_camera_is_sampled_at_the_models_rate(engine: BrightnessEngine) -> None:
    session = Session(engine, hop=1)
    for index in range(40):
        session.push(grey(index), index / 60)
    assert values(engine.seen[0]) == [0, 5, 11, 17]  # ticks 0.1 s apart, taken up to 25 ms early


def test_color_order(engine: BrightnessEngine) -> None:
    blue = grey(0)
    blue[..., 0] = 255
    for color, channel in (("bgr", 2), ("rgb", 0)):
        engine.seen.clear()
        session = Session(engine, hop=1)
        for index in range(4):
            session.push(blue, index / 10, color=color)  # type: ignore[arg-type]
        assert engine.seen[0][..., channel].min() == 255
        assert engine.seen[0].sum() == engine.seen[0][..., channel].sum()


def test_a_gap_empties_the_window(engine: BrightnessEngine) -> None:
    session = Session(engine, hop=1)
    for index in range(4):
        session.push(grey(1), index / 10)
    assert session.push(grey(2), 2.0) is None
    results = [session.push(grey(2), 2.0 + index / 10) for index in range(1, 4)]
    assert [result is not None for result in results] == [False, False, True]
    assert values(engine.seen[-1]) == [2, 2, 2, 2]
    assert "no frame for 1.70 s" in session.warnings.take()[0]


def test_a_size_change_empties_the_window(engine: BrightnessEngine) -> None:
    session = Session(engine, hop=1)
    for index in range(3):
        session.push(grey(1), index / 10)
    assert session.push(grey(2, (64, 48)), 0.3) is None
    assert "changed from 32x32 to 48x64" in session.warnings.take()[0]
    for index in range(4, 7):
        session.push(grey(2, (64, 48)), index / 10)
    assert [values(window) for window in engine.seen] == [[2, 2, 2, 2]]


@settings(max_examples=50, deadline=None)
@given(steps=st.lists(st.sampled_from([0.02, 0.1, 0.25, 0.4, 0.6, 3.0]), min_size=1, max_size=40))
def test_no_window_ever_mixes_before_and_after_a_gap(
    steps: list[float], tmp_path_factory: pytest.TempPathFactory
) -> None:
    engine = BrightnessEngine(tmp_path_factory.mktemp("fake"))
    session = Session(engine, hop=1)
    time_s, part, parts = 0.0, 0, [0]
    session.push(grey(0), time_s)
    for step_s in steps:
        time_s += step_s
        part += step_s > 0.5
        parts.append(part)
        session.push(grey(part), time_s)
    for window in engine.seen:
        assert len(set(values(window))) == 1


def test_a_slow_source_is_told_once(engine: BrightnessEngine) -> None:
    session = Session(engine, hop=1)
    for index in range(60):
        session.push(grey(0), index / 4)
    (message,) = session.warnings.take()
    assert "fewer than the 10 frames" in message


def test_events_come_with_predictions_and_with_the_end(engine: BrightnessEngine) -> None:
    session = Session(engine, hop=1, smoothing_s=0, stream="door")
    events: list[Event] = []
    for index in range(60):
        result = session.push(grey(255 if 10 <= index < 30 or index >= 45 else 0), index / 10)
        events += result.events if result else ()
    started, ended, started_again = events
    assert isinstance(started, EventStarted) and isinstance(ended, EventEnded)
    assert isinstance(started_again, EventStarted)
    assert (ended.stream, ended.label, ended.id) == ("door", "bright", started.id)
    assert 1.0 <= ended.start_s <= 1.4
    assert 3.0 <= ended.end_s <= 3.4
    (last,) = session.finish()
    assert isinstance(last, EventEnded) and last.id == started_again.id
    assert last.end_s == pytest.approx(5.9)
    assert session.finish() == ()


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (np.zeros((32, 32), np.uint8), r"shape \(H, W, 3\), not \(32, 32\)"),
        (np.zeros((32, 32, 4), np.uint8), r"not \(32, 32, 4\)"),
        (np.zeros((0, 32, 3), np.uint8), r"not \(0, 32, 3\)"),
        (np.zeros((32, 32, 3), np.float32), "dtype uint8.*not float32"),
        ([[0]], "numpy array.*not list"),
        (None, "not NoneType"),
    ],
)
def test_a_wrong_frame_is_refused_and_nothing_is_lost(engine: BrightnessEngine, frame: object, says: str) -> None:
    session = Session(engine, hop=1)
    for index in range(3):
        session.push(grey(7), index / 10)
    with pytest.raises(FrameError, match=says):
        session.push(frame, 0.3)  # type: ignore[arg-type]
    assert session.push(grey(7), 0.3) is not None


@pytest.mark.parametrize(
    ("time_s", "says"),
    [
        (math.nan, "time_s is nan"),
        (math.inf, "time_s is inf"),
        (None, "time_s is None"),
        (0.1, "went backwards from 0.200 to 0.100"),
    ],
)
def test_a_wrong_time_is_refused_and_nothing_is_lost(engine: BrightnessEngine, time_s: float, says: str) -> None:
    session = Session(engine, hop=1)
    for index in range(3):
        session.push(grey(7), index / 10)
    with pytest.raises(FrameError, match=says):
        session.push(grey(7), time_s)
    assert session.push(grey(7), 0.3) is not None


def test_a_wrong_color_or_hop_is_refused(engine: BrightnessEngine) -> None:
    with pytest.raises(FrameError, match="'bgr' or 'rgb'"):
        Session(engine).push(grey(0), 0.0, color="hsv")  # type: ignore[arg-type]
    for hop in (0, 5, 1.5, "2"):
        with pytest.raises(OptionError, match="hop"):
            Session(engine, hop=hop)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="smoothing"):
        Session(engine, smoothing_s=-1)
    with pytest.raises(OptionError, match="'night' is not one of dark, light, bright"):
        Session(engine, rule=EventRule(idle_label="night"))


def test_a_rule_of_ones_own_keeps_the_idle_class(engine: BrightnessEngine) -> None:
    for idle, expected in (("auto", 0), (None, 1)):
        session = Session(engine, hop=1, rule=EventRule(onset=0.5, idle_label=idle))
        for index in range(20):
            session.push(grey(0), index / 10)
        assert len(session.finish()) == expected


def test_warnings_never_grow_without_end(engine: BrightnessEngine) -> None:
    session = Session(engine, hop=1)
    for index in range(500):
        session.push(grey(0), float(index))
    assert len(session.warnings) == 1  # nothing but gaps, and no result in between
    for index in range(500):
        session.push(grey(0, (32, 32 + index % 2)), 1000 + index / 10)
    assert len(session.warnings) == 1  # nor here
    kept = Warnings(limit=100)
    for index in range(500):
        kept(str(index))
    assert kept.take() == [str(index) for index in range(400, 500)]
    assert kept.take() == []


def test_an_answer_from_too_few_pictures_is_not_reliable_and_begins_no_event(engine: BrightnessEngine) -> None:
    session = Session(engine, hop=1, smoothing_s=0, rule=EventRule(onset=0.5, min_duration_s=0))
    results = [session.push(grey(250), index * 0.4) for index in range(20)]  # 2.5 of the 10 frames per second
    given = [result for result in results if result]
    assert given and not any(result.reliable for result in given)
    assert {result.to_json()["doubt"] for result in given} == {"only 1 distinct picture in a window of 4 frames"}
    assert session.finish() == ()
    session = Session(engine, hop=1, smoothing_s=0, rule=EventRule(onset=0.5, min_duration_s=0))
    results = [session.push(grey(250), index * 0.1) for index in range(20)]
    assert all(result.reliable for result in results if result)
    assert len(session.finish()) == 1


def test_repeats_of_a_held_picture_are_no_frames_and_end_events_but_begin_none(engine: BrightnessEngine) -> None:
    session = Session(engine, hop=1, smoothing_s=0, rule=EventRule(onset=0.5, min_duration_s=0))
    for index in range(8):
        session.push(grey(250), index / 10)
    held = [session.push(grey(0), index / 10, held=index > 8) for index in range(8, 20)]
    given = [result for result in held if result]
    assert session.frames == 9
    assert {result.frame for result in given} == {8}
    assert (given[-1].label, given[-1].doubt) == ("dark", "only 1 distinct picture in a window of 4 frames")
    (event,) = [event for result in given for event in result.events if isinstance(event, EventEnded)]
    assert event.label == "bright"
    assert event.end_s == pytest.approx(1.0)
    for index in range(20, 40):
        session.push(grey(250), index / 10, held=index > 20)
    assert session.frames == 10
    assert session.finish() == ()  # a picture that is held begins none
    fresh = Session(engine, hop=1)
    fresh.push(grey(0), 0, held=True)  # the first frame is one
    assert fresh.frames == 1


def test_a_file_whose_pictures_are_held_has_as_many_frames_as_it_has(engine: BrightnessEngine, tmp_path: Path) -> None:
    path, model = write_video(tmp_path / "held.mp4", [0, 0.033, 0.067, 0.1, 4]), Model(engine)
    warnings: list[str] = []
    found = list(model.stream(path, on_warning=warnings.append))
    assert {result.frame for result in found} <= {0, 1, 2, 3, 4}
    assert not any(result.reliable for result in found[3:])
    told = "held.mp4: 3.9 s were filled in as still: the file holds 1 picture for longer than usual"
    assert warnings == [told]
    clip = model.classify(path)
    assert not clip.reliable
    assert told in clip.warnings
    assert clip.to_json()["repeated_frames"] == 0  # five frames fill a window of four
    geometry = {"frames": 8, "height_px": 32, "width_px": 32, "tubelet_frames": 2, "patch_px": 8}
    longer = Model(BrightnessEngine(tmp_path / "longer.mar", geometry=geometry)).classify(path)
    assert (longer.views, longer.repeated_frames, longer.reliable) == (5, 3, False)


def test_reset_lets_time_begin_anew(engine: BrightnessEngine) -> None:
    session = Session(engine, hop=1)
    for index in range(4):
        session.push(grey(0), 100 + index / 10)
    session.reset()
    assert [session.push(grey(0), index / 10) is not None for index in range(4)] == [False, False, False, True]


def test_100_000_frames_leave_memory_and_threads_as_they_were(engine: BrightnessEngine) -> None:
    engine.keep = False
    session = Session(engine)
    frame = grey(100, (48, 64))
    threads = threading.active_count()
    process = psutil.Process()
    grown = 0
    for index in range(100_000):
        session.push(frame, index / 30)
        if index == 10_000:
            gc.collect()
            grown = -process.memory_info().rss
    gc.collect()
    grown += process.memory_info().rss
    assert session.inferences > 15_000
    assert grown <= 5_000_000
    assert threading.active_count() == threads
