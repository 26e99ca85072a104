"""Cameras without hardware, and what a person types to open a source."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mar_edge.errors import SourceError, SourceTimeoutError
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.sources.camera import CameraSource
from mar_edge.runtime.sources.demo.demo import DemoSource
from mar_edge.runtime.sources.file import FileSource
from mar_edge.runtime.sources.open import clip_file, open_source
from mar_edge.runtime.sources.source import Reading
from tests.fakes.cameras import MovingCamera, PictureCamera


def pictures(count: int) -> list[NDArray[np.uint8]]:
    return [np.full((4, 4, 3), index, np.uint8) for index in range(count)]


def wait_for(condition: object, timeout_s: float = 5.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end_s, "it never happened"
        time.sleep(0.001)


def test_a_camera_gives_the_newest_frame_and_counts_the_others() -> None:
    capture = PictureCamera(pictures(5))
    camera = CameraSource(0, open_capture=lambda _index: capture)
    assert camera.live
    with Reading(camera) as frames:
        capture.may_read.release()
        assert next(frames).picture.max() == 0
        capture.may_read.release(3)
        wait_for(lambda: camera.dropped == 2)
        frame = next(frames)
        assert (frame.picture.max(), frame.color) == (3, "bgr")
        assert frame.time_s > 0
        assert frame.arrived_s is not None
        assert 0 <= time.monotonic() - frame.arrived_s < 5
        capture.may_read.release()
        assert next(frames).picture.max() == 4
        capture.may_read.release(1000)  # let the reading thread come out of its wait
    assert capture.released
    assert camera.dropped == 2


def test_a_camera_that_ends_says_so_and_leaves_no_thread() -> None:
    before = threading.active_count()
    capture = PictureCamera(pictures(1))
    capture.may_read.release(1000)
    camera = CameraSource(3, open_capture=lambda _index: capture)
    with (
        Reading(camera, timeout_s=0.2) as frames,
        pytest.raises(
            SourceTimeoutError,
            match="camera 3 stopped delivering frames: none for 0.2 s, .* the last returned no picture",
        ) as error,
    ):
        list(frames)
    assert (error.value.code, error.value.retry) == ("stalled", True)
    assert capture.released
    assert threading.active_count() == before


def test_a_camera_that_pauses_is_read_on() -> None:
    capture = PictureCamera(pictures(2))
    camera = CameraSource(0, open_capture=lambda _index: capture)
    connection = camera.connect()
    for brightness in range(2):
        with pytest.raises(SourceTimeoutError, match="none for 0.05 s"):
            connection.read(0.05)
        capture.may_read.release()
        frame = connection.read(5)
        assert frame is not None
        assert frame.picture.max() == brightness
    capture.may_read.release(1000)
    connection.close()
    assert capture.released


def test_a_camera_that_hangs_is_told_within_the_timeout_and_given_back_when_it_answers() -> None:
    before = threading.active_count()
    capture = PictureCamera([])
    camera = CameraSource(0, open_capture=lambda _index: capture)
    began_s = time.monotonic()
    with (
        pytest.raises(SourceTimeoutError, match="none for 1 s, its driver does not respond"),
        Reading(camera, timeout_s=1) as frames,
    ):
        next(frames)
    assert time.monotonic() - began_s < 1.5
    held = not capture.released
    assert held
    assert camera.warnings.take() == ["camera 0 does not respond; it is released when its driver returns"]
    capture.may_read.release()
    wait_for(lambda: capture.released and threading.active_count() == before)


def test_a_camera_that_hangs_while_it_opens_is_told() -> None:
    may_open = threading.Event()
    capture = PictureCamera([])

    def hang(_index: int) -> PictureCamera:
        may_open.wait(10)
        return capture

    camera = CameraSource(0, open_capture=hang, open_timeout_s=0.1)
    with pytest.raises(SourceError, match="camera 0 has not opened within 0.1 s") as error:
        camera.connect()
    assert (error.value.code, error.value.retry) == ("timeout", False)
    may_open.set()
    wait_for(lambda: capture.released)


def test_closing_wakes_a_read() -> None:
    before = threading.active_count()
    capture = PictureCamera([])
    connection = CameraSource(0, open_capture=lambda _index: capture).connect()
    timer = threading.Timer(0.1, connection.close)
    timer.start()
    began_s = time.monotonic()
    assert connection.read(30) is None
    assert time.monotonic() - began_s < 5
    connection.close()
    assert connection.read(30) is None
    capture.may_read.release()
    wait_for(lambda: capture.released and threading.active_count() == before)


def test_a_camera_whose_opening_raises_is_told() -> None:
    def broken(_index: int) -> PictureCamera:
        raise RuntimeError("no bus")

    camera = CameraSource(0, open_capture=broken)
    with pytest.raises(SourceError, match="camera 0 cannot be opened: RuntimeError: no bus"):
        camera.connect()


def test_a_camera_that_does_not_open_can_be_tried_again() -> None:
    captures = [
        PictureCamera([], opens=False),
        PictureCamera(pictures(1)),
        PictureCamera([], opens=False),
        PictureCamera(pictures(1)),
    ]
    waiting = list(captures)
    camera = CameraSource(0, open_capture=lambda _index: waiting.pop(0))
    before = threading.active_count()
    for was_open, capture in enumerate(captures[::2]):
        with pytest.raises(
            SourceError, match="no camera 0, or another program uses it. Run: mar-edge cameras"
        ) as error:
            camera.connect()
        # a camera that was never open may have a wrong number; one that was is unplugged, or in use
        assert (error.value.code, error.value.retry) == ("not-found", bool(was_open))
        assert capture.released
        assert threading.active_count() == before
        following = captures[2 * was_open + 1]
        following.may_read.release(1000)
        with Reading(camera) as frames:
            frame = next(frames)
            assert (frame.picture.max(), frame.time_s) == (0, 0)


def frames_of(camera: CameraSource, timeout_s: float) -> list[Frame]:
    """Take frames until the camera is lost."""
    frames = []
    with pytest.raises(SourceError, match="stopped delivering frames"), Reading(camera, timeout_s) as reading:
        for frame in reading:
            frames.append(frame)
    return frames


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        ((False, None), "no picture"),
        ((True, None), "no picture"),
        ((False, np.zeros((48, 64, 3), np.uint8)), "no picture"),
        ((True, np.zeros((0, 0, 3), np.uint8)), "an empty picture"),
        ((True, np.zeros(0, np.uint8)), "an empty picture"),
        ((True, np.zeros((48, 64, 2), np.uint8)), "data of shape (48, 64, 2)"),
        (cv2.error("select timeout"), "error: select timeout"),
        (OSError("bus reset"), "OSError: bus reset"),
    ],
)
def test_a_hiccup_is_skipped_and_counted(answer: object, what: str) -> None:
    capture = MovingCamera({7: answer, 8: answer}, reads=20)
    camera = CameraSource(0, open_capture=lambda _index: capture)
    frames = frames_of(camera, timeout_s=0.3)
    assert len(frames) + camera.dropped >= 17
    (warning,) = camera.warnings.take()
    assert warning.startswith("camera 0: 2 failed reads were skipped (the last returned ")
    assert what in warning
    assert capture.released


def test_a_camera_that_hiccups_all_the_time_does_not_flood() -> None:
    capture = MovingCamera({index: (False, None) for index in range(1, 60, 2)}, reads=60)
    camera = CameraSource(0, open_capture=lambda _index: capture)
    frames_of(camera, timeout_s=0.3)
    told = camera.warnings.take()
    assert len(told) == 2
    assert sum(int(message.split()[2]) for message in told) == 29  # the 30th belongs to the end


def test_a_camera_that_needs_time_for_its_first_picture() -> None:
    capture = MovingCamera({index: (False, None) for index in range(10)}, reads=20)
    camera = CameraSource(0, open_capture=lambda _index: capture)
    assert frames_of(camera, timeout_s=1)
    assert "10 failed reads" in camera.warnings.take()[0]


@pytest.mark.parametrize(
    ("change", "bits"),
    [
        (lambda picture: picture, None),
        (lambda picture: picture[..., 1], None),
        (lambda picture: picture[..., 1:2], None),
        (lambda picture: np.dstack([picture, picture[..., :1]]), None),
        (lambda picture: picture.astype(np.uint16) << 8, 16),
        (lambda picture: picture.astype(np.uint16) << 2, 10),
        (lambda picture: picture[..., 1].astype(np.uint16) << 4, 12),
        (lambda picture: np.dstack([picture, picture[..., :1]]).astype(np.uint16) << 6, 14),
        (lambda picture: picture.astype(np.uint16), 8),
    ],
)
def test_other_pictures_are_converted(change: Callable[[Any], Any], bits: int | None) -> None:
    capture = MovingCamera(change=change, reads=1)
    camera = CameraSource(0, open_capture=lambda _index: capture)
    (frame,) = frames_of(camera, timeout_s=0.1)
    seen = capture.scene[:, :64]
    grey = change(seen).ndim == 2 or change(seen).shape[2] == 1
    expected = np.stack([seen[..., 1]] * 3, axis=-1) if grey else seen
    assert frame.picture.dtype == np.uint8
    assert np.array_equal(frame.picture, expected)
    told = camera.warnings.take()
    assert told == ([] if bits is None else [f"camera 0 returns pictures in 16 bit numbers; they are read as {bits} bit and converted to 8"])  # fmt: skip


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda picture: picture[..., :2], r"shape \(48, 64, 2\).*CAP_PROP_CONVERT_RGB"),
        (lambda picture: picture.transpose(2, 0, 1), r"shape \(3, 48, 64\)"),
        (lambda picture: picture.reshape(1, -1), r"not a decoded picture"),
        (lambda picture: picture.astype(np.float32) / 255, "pictures of float32; expected uint8"),
        (lambda picture: picture.tolist(), "returns list objects"),
    ],
)
def test_pictures_that_cannot_be_converted_are_refused_at_once(change: Callable[[Any], Any], says: str) -> None:
    capture = MovingCamera(change=change)
    began_s = time.monotonic()
    camera = CameraSource(0, open_capture=lambda _index: capture)
    with Reading(camera) as frames, pytest.raises(SourceError, match=says) as error:
        next(frames)
    assert (error.value.code, error.value.retry) == ("codec", False)
    assert time.monotonic() - began_s < 2


def test_a_camera_is_open_once() -> None:
    camera = CameraSource(0, open_capture=lambda _index: MovingCamera())
    with Reading(camera), pytest.raises(SourceError, match="is already open") as error:
        camera.connect()
    assert (error.value.code, error.value.retry) == ("busy", False)


def test_a_device_that_is_no_camera_is_told_with_its_cause() -> None:
    with pytest.raises(SourceError, match="camera 977") as error:
        CameraSource(977).connect()
    assert (error.value.code, error.value.retry) == ("not-found", False)


def test_what_a_person_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number, spec in (
        (0, 0),
        (2, "2"),
        (7, " 7 "),
        (3, np.int64(3)),
        (1, "camera 1"),
        (4, "Camera:4"),
        (5, "/dev/video5"),
    ):
        camera = open_source(spec)  # type: ignore[arg-type]
        assert isinstance(camera, CameraSource)
        assert (camera.index, camera.name) == (number, f"camera {number}")
    assert isinstance(open_source(tmp_path / "a.mp4"), FileSource)
    demo = open_source("demo:size=320x200,fps=15,realtime=no,loops=2,seed=3")
    assert isinstance(demo, DemoSource)
    assert (demo.size_px, demo.fps, demo.realtime, demo.loops, demo.seed) == ((320, 200), 15, False, 2, 3)
    assert open_source(demo) is demo
    for wrong in (-1, 99999999999, "99999999999999999999", "-3", "camera 5000"):
        with pytest.raises(SourceError, match="no camera"):
            open_source(wrong)
    assert isinstance(open_source("²"), FileSource)
    for thing in (None, True, 1.5, b"a.mp4"):
        with pytest.raises(SourceError, match=f"{type(thing).__name__} is not a source"):
            open_source(thing)  # type: ignore[arg-type]
    for empty in ("", "  ", "\n", "a\0b"):
        with pytest.raises(SourceError, match="the source is .*; give a camera number"):
            open_source(empty)


@pytest.mark.parametrize(
    "spec", ["file:///a%20b%23.mp4", "file://localhost/a%20b%23.mp4", "FILE:///a b#.mp4", "file:/a%20b%23.mp4"]
)
def test_a_file_address(spec: str) -> None:
    source = open_source(spec)
    assert isinstance(source, FileSource)
    assert source.path == Path("/a b#.mp4")


def test_a_file_address_of_another_computer() -> None:
    with pytest.raises(SourceError, match="computer 'a.mp4'; a file on this computer has three slashes"):
        open_source("file://a.mp4")


def test_a_file_goes_before_a_camera_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("3", "2024", "camera 1", "demo"):
        Path(name).write_bytes(b"x")
    for name, number in (("3", 3), ("2024", 2024), ("camera 1", 1)):
        source = open_source(name)
        assert isinstance(source, FileSource)
        assert source.warnings.take() == [
            f"'{name}' is read as the file of that name; for the camera use --camera {number}"
        ]
        assert clip_file(name) == Path(name)
    assert isinstance(open_source(3), CameraSource)
    demo = open_source("demo")
    assert isinstance(demo, DemoSource)
    assert demo.warnings.take() == ["demo is the built-in demo; for the file of that name use ./demo"]
    assert clip_file("demo") == Path("demo")
    Path("7").mkdir()
    with pytest.raises(SourceError, match="'7' is a folder here: name a video in it, or for the camera use --camera 7"):
        open_source("7")
    with pytest.raises(SourceError, match="no camera 2025 and no file '2025'"):
        open_source("2025")


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/../dev/zero"])
def test_devices_are_no_videos(device: str) -> None:
    for use in (open_source, clip_file):
        for spec in (device, Path(device)):
            with pytest.raises(SourceError, match="is a device, not a video"):
                use(spec)


def test_a_link_to_a_camera_keeps_its_name(tmp_path: Path) -> None:
    link = tmp_path / "usb-front"
    link.symlink_to("/dev/video4")
    camera = open_source(str(link))
    assert isinstance(camera, CameraSource)
    assert (camera.index, camera.name) == (4, str(link))


@pytest.mark.parametrize(
    ("spec", "run"), [("0", "--camera 0"), ("demo", "--source demo"), ("/dev/video3", "--camera 3")]
)
def test_whole_clips_are_files(spec: str, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=f"is not a video file.*mar-edge run {run}"):
        clip_file(spec)


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
    assert not demo.live
    frames = list(Reading(demo))
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
    assert demo.live
    seen = []
    began_s = time.monotonic()
    for frame in Reading(demo):
        seen.append(frame.time_s)
        if len(seen) == 5:
            time.sleep(0.1)
        assert frame.arrived_s is not None
    assert time.monotonic() - began_s >= 0.38
    assert demo.dropped >= 3
    assert len(seen) + demo.dropped == 20


def test_a_demo_that_is_slow_times_out_and_is_closed_by_another_thread() -> None:
    connection = DemoSource(size_px=(64, 48), fps=0.01, loops=None).connect()
    assert connection.read(1) is not None
    with pytest.raises(SourceTimeoutError, match="demo: no frame is due for 0.05 s"):
        connection.read(0.05)
    timer = threading.Timer(0.1, connection.close)
    timer.start()
    began_s = time.monotonic()
    assert connection.read(60) is None
    assert time.monotonic() - began_s < 5
