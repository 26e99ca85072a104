"""A stream that is left, stopped or closed, from wherever: the source is closed and nothing runs on."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mar_edge.errors import SourceError
from mar_edge.reporting import Warnings
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.model import Model
from mar_edge.runtime.results import EventEnded, EventStarted
from mar_edge.runtime.sources.camera import CameraSource
from mar_edge.runtime.sources.demo.demo import DemoSource
from mar_edge.runtime.sources.open import open_source
from mar_edge.runtime.sources.source import Source
from mar_edge.runtime.streams.recogniser import Recogniser
from mar_edge.runtime.streams.runner import Runner
from mar_edge.runtime.streams.stream import Stream
from tests.fakes.bundle import BrightnessEngine
from tests.fakes.cameras import MovingCamera, PictureCamera

Start = Callable[..., Stream]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a stream; afterwards no thread may be left."""
    before = threading.active_count()
    engine = BrightnessEngine(tmp_path / "fake.mar")

    def stream(source: Source, *, stall_s: float = 5.0, **options: Any) -> Stream:
        runner = Runner()
        runner.add(source, Model(engine), hop=1, stall_s=stall_s, max_retries=0)
        return Stream(runner, **options)

    yield stream
    gc.collect()
    end_s = time.monotonic() + 2
    while threading.active_count() > before:
        assert time.monotonic() < end_s, "a thread is left"
        time.sleep(0.01)


def camera(capture: Any, **options: Any) -> CameraSource:
    return CameraSource(0, open_capture=lambda _index: capture, **options)


def stop_later(stream: Stream, after_s: float = 0.3) -> threading.Timer:
    timer = threading.Timer(after_s, stream.stop)
    timer.start()
    return timer


def test_a_stream_that_has_ended_leaves_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as one that still gives memory back to torch, which aborts a program that ends meanwhile."""
    release = Recogniser.release

    def slowly(recogniser: Recogniser) -> None:
        time.sleep(0.3)
        release(recogniser)

    monkeypatch.setattr(Recogniser, "release", slowly)
    before = set(threading.enumerate())
    engine = BrightnessEngine(tmp_path / "fake.mar")
    frames = [(np.zeros((48, 64, 3), np.uint8), index / 10) for index in range(40)]
    assert list(Model(engine).stream(open_source(frames)))
    assert set(threading.enumerate()) == before


def test_leaving_the_loop_gives_the_camera_back(start: Start) -> None:
    capture = MovingCamera(reads=10_000)
    for _ in start(camera(capture)):
        break
    assert capture.released


def test_a_with_block_gives_the_camera_back(start: Start) -> None:
    capture = MovingCamera(reads=10_000)
    with start(camera(capture)) as stream:
        next(stream)
        held = not capture.released
    assert held and capture.released
    with pytest.raises(StopIteration):
        next(stream)


def test_a_running_stream_is_stopped_from_another_thread(start: Start) -> None:
    capture = MovingCamera(reads=10_000)
    stream = start(camera(capture))
    timer = stop_later(stream, 0.8)
    began_s = time.monotonic()
    results = list(stream)
    assert 0.7 < time.monotonic() - began_s < 1.8
    assert results
    assert capture.released
    timer.join()


def test_a_stream_that_waits_for_a_camera_is_stopped(start: Start) -> None:
    capture = PictureCamera([])
    stream = start(camera(capture), stall_s=30)
    timer = stop_later(stream)
    began_s = time.monotonic()
    assert list(stream) == []
    assert time.monotonic() - began_s < 1.3
    capture.may_read.release()
    timer.join()


def test_a_stream_that_opens_a_camera_is_stopped(start: Start) -> None:
    may_open = threading.Event()
    capture = MovingCamera()

    def hang(_index: int) -> MovingCamera:
        may_open.wait(10)
        return capture

    stream = start(CameraSource(0, open_capture=hang))
    timer = stop_later(stream)
    began_s = time.monotonic()
    assert list(stream) == []
    assert time.monotonic() - began_s < 2.3
    may_open.set()
    timer.join()


def test_a_stream_is_closed_at_once_while_nobody_waits(start: Start) -> None:
    capture = MovingCamera(reads=10_000)
    stream = start(camera(capture))
    next(stream)
    thread = threading.Thread(target=stream.close)
    thread.start()
    thread.join(2)
    assert capture.released
    assert list(stream) == []


def test_a_stream_is_stopped_before_it_began_and_twice(start: Start) -> None:
    capture = MovingCamera()
    stream = start(camera(capture))
    stream.stop()
    stream.stop()
    assert list(stream) == []
    assert capture.index == 0


def test_a_callback_may_stop_its_stream(start: Start) -> None:
    capture = MovingCamera({3: (False, None)}, reads=10_000)
    streams: list[Stream] = []
    warned: list[str] = []

    def stop(message: str) -> None:
        warned.append(message)
        streams[0].stop()

    streams.append(start(camera(capture), on_warning=stop))
    assert len(list(streams[0])) < 10
    assert "1 failed read" in warned[0]
    assert capture.released
    streams.clear()


class PlainSource:
    """A user's own source and connection, which knows nothing of waking."""

    def __init__(self) -> None:
        self.name = "plain"
        self.live = False
        self.dropped = 0
        self.warnings = Warnings()
        self.closed = False
        self.index = 0

    def connect(self) -> PlainSource:
        return self

    def read(self, timeout_s: float) -> Frame | None:
        time.sleep(0.01)
        self.index += 1
        return Frame(picture=np.full((32, 32, 3), 255, np.uint8), time_s=self.index / 10)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    "source", [PlainSource(), DemoSource(size_px=(64, 48), loops=None), DemoSource(size_px=(64, 48), fps=0.01)]
)
def test_any_source_is_stopped_between_two_frames(start: Start, source: Source) -> None:
    stream = start(source)
    timer = stop_later(stream)
    began_s = time.monotonic()
    for _ in stream:
        pass
    assert time.monotonic() - began_s < 2
    assert getattr(source, "closed", True)
    timer.join()


def test_what_is_left_is_told_when_it_is_stopped(start: Start) -> None:
    events: list[Any] = []
    stream = start(PlainSource(), on_event=events.append)
    for index, _ in enumerate(stream):
        if index == 20:
            stream.stop()
    assert [(type(event), event.label) for event in events] == [(EventStarted, "bright"), (EventEnded, "bright")]


def test_a_camera_that_hangs_ends_the_stream_within_its_timeout(start: Start) -> None:
    capture = PictureCamera([])
    stream = start(camera(capture), stall_s=1)
    began_s = time.monotonic()
    with pytest.raises(SourceError, match="for 1 s"):
        next(stream)
    assert time.monotonic() - began_s < 1.5
    capture.may_read.release()


def test_a_change_of_size_starts_a_new_window(start: Start) -> None:
    capture = MovingCamera(reads=120)
    capture.change = lambda picture: picture if capture.index < 60 else picture[:40]
    warned: list[str] = []
    times_s = []
    with pytest.raises(SourceError):
        for result in start(camera(capture), stall_s=0.3, on_warning=warned.append):
            times_s.append(result.time_s)
    assert any("frame size changed from 64x48 to 64x40" in message for message in warned)
    assert times_s[-1] > 1.4
    assert max(np.diff(times_s)) > 0.25  # the window of 0.4 s fills anew
