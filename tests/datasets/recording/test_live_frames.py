"""The frames of a source that is lost, frozen, hangs, or whose clock jumps."""

from __future__ import annotations

import time

import pytest

from mar_edge.datasets.recording import live_frames
from mar_edge.datasets.recording.live_frames import LiveFrames
from mar_edge.errors import SourceError, SourceTimeoutError
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.sources.camera import CameraSource
from mar_edge.testing import Act, Hang, Lost, Play, Refused, ScriptedConnection, ScriptedSource, Silence
from tests.fakes.cameras import MovingCamera


def take(frames: LiveFrames) -> list[Frame]:
    """Take frames until the end; what ends it is raised."""
    taken: list[Frame] = []
    frames.start()
    try:
        while True:
            try:
                frame = frames.next(0.02)
            except TimeoutError:
                continue
            if frame is None:
                return taken
            taken.append(frame)
    finally:
        frames.close()


def test_a_source_that_ends() -> None:
    source = ScriptedSource([Play(1)], live=False)
    taken = take(LiveFrames(source))
    assert [frame.time_s for frame in taken] == [pytest.approx(number / 30) for number in range(len(taken))]
    assert len(taken) >= 30
    assert source.open == 0


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ([Play(0.1), Lost("not-found"), Play(1)], "scripted was lost"),
        ([Play(0.1), Silence(60)], "scripted: no frame for 0.2 s"),
        ([Refused("busy")], "scripted cannot be opened"),
    ],
)
def test_a_lost_source_is_not_connected_again(script: list[Act], says: str) -> None:
    source = ScriptedSource(script)
    with pytest.raises(SourceError, match=says):
        take(LiveFrames(source, stall_s=0.2))
    assert (source.connections, source.open) == (1, 0)


def test_a_driver_that_hangs_is_told_and_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_frames, "HANGS_S", 0.1)
    monkeypatch.setattr(live_frames, "_JOIN_S", 0.05)
    began_s = time.monotonic()
    with pytest.raises(SourceTimeoutError, match="its driver does not respond; reconnect it"):
        take(LiveFrames(ScriptedSource([Play(0.1), Hang(1.5)]), stall_s=0.1))
    assert time.monotonic() - began_s < 1.5


def test_a_clock_that_jumps_cuts() -> None:
    taken = take(LiveFrames(ScriptedSource([Play(0.2), Play(0.2, clock_s=3600)])))
    assert [frame.cut for frame in taken if frame.cut] == ["the clock of its source jumped"]
    assert taken[-1].time_s < 60


def test_a_camera() -> None:
    frames = LiveFrames(CameraSource(0, open_capture=lambda _index: MovingCamera(reads=5)), stall_s=0.3)
    with pytest.raises(SourceError, match="camera 0 stopped delivering frames"):
        take(frames)


def test_an_error_of_a_driver_is_one_of_the_source() -> None:
    class Broken(ScriptedSource):
        def connect(self) -> ScriptedConnection:
            raise RuntimeError("no such ioctl")

    with pytest.raises(SourceError, match="scripted: RuntimeError: no such ioctl"):
        take(LiveFrames(Broken([])))
