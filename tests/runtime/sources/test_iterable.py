"""Frames that a program provides, and recordings that are played as if they were live."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mar_edge.errors import SourceError, SourceTimeoutError
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.sources.demo.demo import DemoSource
from mar_edge.runtime.sources.iterable import IterableSource
from mar_edge.runtime.sources.open import open_source
from mar_edge.runtime.sources.realtime import RealtimeSource
from mar_edge.runtime.sources.source import Connection, Reading

PICTURE = np.zeros((4, 6, 3), np.uint8)


def pairs(count: int, step_s: float = 0.1) -> list[tuple[Any, float]]:
    return [(PICTURE + index, index * step_s) for index in range(count)]


def close_soon(connection: Connection) -> float:
    """Close a connection while it is read; return how long the read took."""
    timer = threading.Timer(0.1, connection.close)
    timer.start()
    began_s = time.monotonic()
    assert connection.read(30) is None
    timer.join()
    return time.monotonic() - began_s


def test_a_list_of_pairs_is_read_as_often_as_asked() -> None:
    source = open_source(pairs(3))
    assert isinstance(source, IterableSource)
    assert (source.name, source.live) == ("frames", False)
    for _ in range(2):
        frames = list(Reading(source))
        assert [frame.time_s for frame in frames] == pytest.approx([0, 0.1, 0.2])
        assert [frame.picture.max() for frame in frames] == [0, 1, 2]
        assert {(frame.color, frame.size_px, frame.arrived_s) for frame in frames} == {("bgr", (6, 4), None)}


def test_frames_pass_through_and_pairs_have_the_color_asked_for() -> None:
    given = [Frame(picture=PICTURE, time_s=1.0, color="rgb", held=True, truth="pan"), (PICTURE, 2)]
    first, second = Reading(IterableSource(given, color="rgb"))  # type: ignore[arg-type]
    assert first is given[0]
    assert (second.color, second.time_s, second.held) == ("rgb", 2.0, False)
    with pytest.raises(SourceError, match="color must be 'bgr' or 'rgb', not 'hsv'"):
        IterableSource([], color="hsv")  # type: ignore[arg-type]


def test_a_generator_is_read_once() -> None:
    source = IterableSource((pair for pair in pairs(2)), name="robot")
    assert len(list(Reading(source))) == 2
    with pytest.raises(SourceError, match="robot is an iterator, which can be read once") as error:
        source.connect()
    assert (error.value.code, error.value.retry) == ("ended", False)


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize(
    ("item", "says"),
    [
        (PICTURE, r"expected a Frame or a pair \(picture, time in seconds\), not ndarray"),
        ("a.mp4", "not str"),
        ((PICTURE, "now"), "its time is 'now'; give seconds"),
        ((PICTURE, float("nan")), "its time is nan"),
        ((PICTURE[..., 0], 0.0), r"must have shape \(H, W, 3\), not \(4, 6\)"),
        ((PICTURE.astype(float), 0.0), "must have dtype uint8"),
    ],
)
def test_what_is_no_frame_is_told_with_its_place(item: object, says: str, live: bool) -> None:
    source = IterableSource([*pairs(1), item], name="robot", live=live)  # type: ignore[list-item]
    with Reading(source) as frames:
        next(frames)
        with pytest.raises(SourceError, match=f"robot, item 1: .*{says}") as error:
            next(frames)
    assert not error.value.retry


class Robot:
    """An iterable that begins again, and fails after its frames."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __iter__(self) -> Iterator[tuple[Any, float]]:
        yield from pairs(2)
        raise self.error


@pytest.mark.parametrize("live", [False, True])
def test_an_error_of_the_program_is_one_of_the_source(live: bool) -> None:
    source = IterableSource(Robot(OSError("gone")), live=live)
    for _ in range(2):  # it may be connected to again
        with Reading(source) as frames, pytest.raises(SourceError, match="frames failed: OSError: gone") as error:
            list(frames)
        assert error.value.retry is live
    own = SourceError("camera on fire", code="busy")
    with Reading(IterableSource(Robot(own), live=live)) as frames, pytest.raises(SourceError) as error:
        list(frames)
    assert error.value is own


def test_a_live_iterable_times_out_and_is_closed_while_it_waits() -> None:
    before = threading.active_count()
    go_on = threading.Event()
    closed = threading.Event()

    def frames() -> Iterator[tuple[Any, float]]:
        try:
            yield from pairs(1)
            go_on.wait(10)
        finally:
            closed.set()

    source = IterableSource(frames(), live=True)
    connection = source.connect()
    frame = connection.read(5)
    assert frame is not None
    assert frame.arrived_s is not None
    with pytest.raises(SourceTimeoutError, match="frames: no frame for 0.05 s"):
        connection.read(0.05)
    assert close_soon(connection) < 2
    assert source.warnings.take() == ["frames does not respond; it is released when it returns"]
    go_on.set()
    assert closed.wait(5)
    connection.close()
    while threading.active_count() != before:
        time.sleep(0.001)


@pytest.mark.parametrize("live", [False, True])
def test_closing_ends_a_generator(live: bool) -> None:
    ended = threading.Event()

    def frames() -> Iterator[tuple[Any, float]]:
        try:
            yield from pairs(100)
        finally:
            ended.set()

    with Reading(IterableSource(frames(), live=live)) as reading:
        next(reading)
    assert ended.wait(1)


@pytest.mark.parametrize("thing", [b"ab", np.zeros((2, 4, 4, 3), np.uint8), {"a": 1}, object()])
def test_what_is_no_source(thing: object) -> None:
    with pytest.raises(SourceError, match=f"{type(thing).__name__} is not a source.*or an iterable of"):
        open_source(thing)  # type: ignore[arg-type]


def test_a_recording_is_played_in_real_time() -> None:
    source = RealtimeSource(IterableSource(pairs(4, step_s=0.1)))
    assert source.live
    began_s = time.monotonic()
    frames, seen_s = [], []
    for frame in Reading(source):
        frames.append(frame)
        seen_s.append(time.monotonic())
        if len(frames) == 2:
            time.sleep(0.15)  # the third is late, and its age says so
    assert [frame.time_s for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3])
    due_s = [frame.arrived_s or 0.0 for frame in frames]
    assert np.diff(due_s) == pytest.approx([0.1] * 3)
    assert 0.3 <= seen_s[3] - began_s < 2
    assert seen_s[2] - due_s[2] > 0.04
    assert all(seen >= due for seen, due in zip(seen_s, due_s, strict=True))


def test_a_frame_that_is_not_due_yet_is_asked_for_again() -> None:
    connection = RealtimeSource(IterableSource(pairs(2, step_s=0.3))).connect()
    assert connection.read(1) is not None
    with pytest.raises(SourceTimeoutError, match="frames: no frame is due for 0.05 s"):
        connection.read(0.05)
    frame = connection.read(1)
    assert frame is not None
    assert frame.time_s == pytest.approx(0.3)
    assert connection.read(1) is None


def test_playing_is_closed_from_another_thread() -> None:
    connection = RealtimeSource(IterableSource(pairs(2, step_s=1.9))).connect()
    assert connection.read(1) is not None
    assert close_soon(connection) < 1.5


def test_a_long_gap_of_a_recording_is_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mar_edge.runtime.sources.realtime.MAX_PAUSE_S", 0.2)
    source = RealtimeSource(IterableSource([(PICTURE, 0.0), (PICTURE, 1000.0), (PICTURE, 1000.1)]))
    connection = source.connect()
    assert connection.read(1) is not None
    with pytest.raises(SourceTimeoutError):
        connection.read(0.01)
    second, third = connection.read(1), connection.read(1)
    assert second is not None
    assert third is not None
    assert (second.time_s, third.time_s) == (1000.0, 1000.1)
    assert (third.arrived_s or 0) - (second.arrived_s or 0) == pytest.approx(0.1)
    assert source.warnings.take() == ["frames: gaps of more than 0.2 s are played as 0.2 s"]


def test_a_live_source_is_played_as_it_is() -> None:
    demo = DemoSource(size_px=(64, 48), fps=50, script=(("still", 0.2, 0.0),))
    source = RealtimeSource(demo)
    with Reading(source) as frames:
        next(frames)
        time.sleep(0.1)
        assert len(list(frames)) + 1 + source.dropped == 10
    assert source.dropped == demo.dropped > 0


@pytest.mark.parametrize("make", [str, Path])
def test_a_source_that_cannot_be_opened_is_not_played(make: Callable[[str], Any], tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"gone.mp4") as error:
        RealtimeSource(open_source(make(str(tmp_path / "gone.mp4")))).connect()
    assert (error.value.code, error.value.retry) == ("not-found", False)
