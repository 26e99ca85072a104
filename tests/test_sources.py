"""Cameras without hardware, and what a person types to open a source."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mar_edge.errors import SourceError
from mar_edge.runtime.sources.camera import CameraSource
from mar_edge.runtime.sources.demo.demo import DemoSource
from mar_edge.runtime.sources.file import FileSource
from mar_edge.runtime.sources.open import open_source
from tests.fakes import PictureCamera


def pictures(count: int) -> list[NDArray[np.uint8]]:
    return [np.full((4, 4, 3), index, np.uint8) for index in range(count)]


def wait_for(condition: object, timeout_s: float = 5.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end_s, "it never happened"
        time.sleep(0.001)


def test_a_camera_gives_the_newest_frame_and_counts_the_others() -> None:
    capture = PictureCamera(pictures(5))
    with CameraSource(0, open_capture=lambda _index: capture) as camera:
        frames = iter(camera)
        capture.may_read.release()
        assert next(frames).picture.max() == 0
        capture.may_read.release(3)
        wait_for(lambda: camera.dropped == 2)
        frame = next(frames)
        assert (frame.picture.max(), frame.color) == (3, "bgr")
        assert frame.time_s > 0
        capture.may_read.release()
        assert next(frames).picture.max() == 4
        capture.may_read.release()  # let the reading thread come out of its wait
    assert capture.released
    assert camera.dropped == 2


def test_a_camera_that_ends_says_so_and_leaves_no_thread() -> None:
    before = threading.active_count()
    capture = PictureCamera(pictures(1))
    capture.may_read.release(2)
    with (
        CameraSource(3, open_capture=lambda _index: capture) as camera,
        pytest.raises(SourceError, match="camera 3 stopped"),
    ):
        for _ in camera:
            pass
    assert capture.released
    assert threading.active_count() == before


def test_a_camera_that_hangs_is_told() -> None:
    capture = PictureCamera([])
    camera = CameraSource(0, open_capture=lambda _index: capture, timeout_s=0.05)
    with camera, pytest.raises(SourceError, match="gave no frame for 0.05 s"):
        next(iter(camera))
    capture.may_read.release()


def test_a_camera_whose_driver_raises_is_told_at_once() -> None:
    class Broken(PictureCamera):
        def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
            raise cv2.error("unplugged")

    capture = Broken([])
    with (
        CameraSource(0, open_capture=lambda _index: capture) as camera,
        pytest.raises(SourceError, match="stopped giving"),
    ):
        next(iter(camera))
    assert capture.released


def test_a_camera_that_does_not_open_can_be_tried_again() -> None:
    captures = [PictureCamera([], opens=False), PictureCamera(pictures(1))]
    waiting = list(captures)
    camera = CameraSource(0, open_capture=lambda _index: waiting.pop(0))
    before = threading.active_count()
    with pytest.raises(SourceError, match="no camera 0. Run: mar-edge cameras"), camera:
        pass
    assert captures[0].released
    assert threading.active_count() == before
    captures[1].may_read.release()
    with camera:
        assert next(iter(camera)).picture.max() == 0
        captures[1].may_read.release()


def test_what_a_person_types(tmp_path: Path) -> None:
    assert isinstance(open_source(0), CameraSource)
    assert isinstance(open_source("2"), CameraSource)
    assert isinstance(open_source(tmp_path / "a.mp4"), FileSource)
    assert isinstance(open_source("file:///a.mp4"), FileSource)
    demo = open_source("demo:size=320x200,fps=15,realtime=no,loops=2,seed=3")
    assert isinstance(demo, DemoSource)
    assert (demo.size_px, demo.fps, demo.realtime, demo.loops, demo.seed) == ((320, 200), 15, False, 2, 3)
    assert open_source(demo) is demo
    assert open_source("file:///a%20b.mp4").name == "/a b.mp4"
    for wrong in (-1, 99999999999, "99999999999999999999"):
        with pytest.raises(SourceError, match="no camera"):
            open_source(wrong)
    assert isinstance(open_source("²"), FileSource)
    with pytest.raises(SourceError, match="NoneType is no source"):
        open_source(None)  # type: ignore[arg-type]
    with pytest.raises(SourceError, match="network streams are not supported yet"):
        open_source("rtsp://camera/1")


@pytest.mark.parametrize(
    "spec",
    [
        "demo:size=big",
        "demo:fps=0",
        "demo:colour=red",
        "demo:realtime=maybe",
        "demo:size=1x1",
        "demo:seed=-1",
        "demo:loops=-1",
    ],
)
def test_a_demo_that_cannot_be(spec: str) -> None:
    with pytest.raises(SourceError, match="demo"):
        open_source(spec)


def test_the_demo_films_its_script() -> None:
    script = (("still", 0.5, 0.0), ("pan_right", 0.5, 1.0))
    demo = DemoSource(size_px=(64, 48), fps=20, realtime=False, script=script, loops=2)
    frames = list(demo)
    assert len(frames) == 40
    assert [frame.truth for frame in frames] == (["still"] * 10 + ["pan_right"] * 10) * 2
    assert [frame.time_s for frame in frames] == pytest.approx([index / 20 for index in range(40)])
    assert frames[0].picture.shape == (48, 64, 3)
    assert np.array_equal(frames[0].picture, frames[9].picture)
    # the view moved half a width to the right: what was in the right half is now in the left half
    moved = np.abs(frames[19].picture[:, :30].astype(int) - frames[0].picture[:, 31:61]).mean()
    assert moved < np.abs(frames[19].picture[:, :30].astype(int) - frames[0].picture[:, :30]).mean() / 2


def test_the_demo_keeps_real_time_and_skips_when_late() -> None:
    demo = DemoSource(size_px=(64, 48), fps=50, script=(("still", 0.4, 0.0),))
    began_s = time.monotonic()
    seen = []
    for frame in demo:
        seen.append(frame.time_s)
        if len(seen) == 5:
            time.sleep(0.1)
    assert time.monotonic() - began_s >= 0.38
    assert demo.dropped >= 3
    assert len(seen) + demo.dropped == 20
