"""Real GStreamer pipelines, through the PyGObject of the system."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mar_edge.errors import MissingExtraError, SourceError, SourceTimeoutError
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.sources.file import FileSource
from mar_edge.runtime.sources.gstreamer import library
from mar_edge.runtime.sources.gstreamer.library import load_gst
from mar_edge.runtime.sources.gstreamer.pipeline import csi_pipeline, elements_of, secrets_of, whole_pipeline
from mar_edge.runtime.sources.gstreamer.source import GstreamerSource
from mar_edge.runtime.sources.open import open_source
from mar_edge.runtime.sources.source import Reading
from tests.conftest import need
from tests.fakes.films import moving_square, write_film
from tests.servers.rtsp import RtspServer, need_rtsp

SYSTEM_GI = Path("/usr/lib/python3/dist-packages/gi")
TAIL = "videoconvert ! video/x-raw,format=(string){RGB,BGR,NV12,I420,GRAY8} ! appsink name=mar_edge_frames"


@pytest.fixture(scope="module")
def gst(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """PyGObject: of the environment, otherwise of the system, of which only `gi` is made visible."""
    need(SYSTEM_GI.is_dir(), f"no PyGObject in {SYSTEM_GI}; apt-get install python3-gi gir1.2-gst-plugins-base-1.0")
    tag = f"cpython-{sys.version_info.major}{sys.version_info.minor}"
    if not list(SYSTEM_GI.glob(f"_gi.{tag}-*.so")):
        pytest.skip(f"the system's PyGObject is not for {tag}")
    folder = tmp_path_factory.mktemp("gi")
    (folder / "gi").symlink_to(SYSTEM_GI)
    sys.path.append(str(folder))
    load_gst.cache_clear()
    load_gst()
    yield
    sys.path.remove(str(folder))


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def read_all(source: GstreamerSource) -> list[Frame]:
    with Reading(source) as frames:
        return list(frames)


@pytest.mark.usefixtures("gst", "no_thread_left")
class TestPipelines:
    """What needs GStreamer."""

    @pytest.mark.parametrize("pixels", ["RGB", "BGR", "NV12", "I420", "GRAY8", "RGBA", "YUY2", "Y444"])
    @pytest.mark.parametrize("size", [(64, 48), (101, 77)])
    def test_every_frame_of_a_recording(self, pixels: str, size: tuple[int, int]) -> None:
        caps = f"video/x-raw,format={pixels},width={size[0]},height={size[1]},framerate=10/1"
        source = open_source(f"gst:videotestsrc num-buffers=5 pattern=red ! {caps}")
        assert isinstance(source, GstreamerSource)
        frames = read_all(source)
        assert not source.live
        assert source.dropped == 0
        assert [frame.time_s for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
        assert {(frame.size_px, frame.arrived_s) for frame in frames} == {(size, None)}
        picture = frames[0].picture if frames[0].color == "rgb" else frames[0].picture[..., ::-1]
        assert picture.shape == (size[1], size[0], 3)
        if pixels == "GRAY8":
            assert np.ptp(picture, axis=2).max() == 0
        else:
            assert np.abs(picture[4:-4, 4:-4].mean(axis=(0, 1)) - (255, 0, 0)).max() < 6

    def test_colours_of_hd_video_are_those_of_gstreamer(self) -> None:
        pipeline = "videotestsrc num-buffers=1 pattern=smpte ! video/x-raw,width=1280,height=720,format=NV12"
        (own,) = read_all(GstreamerSource(pipeline))
        (theirs,) = read_all(GstreamerSource(f"{pipeline} ! videoconvert ! video/x-raw,format=RGB"))
        assert own.color == theirs.color == "rgb"
        assert np.abs(own.picture.astype(int) - theirs.picture).mean() < 1.5

    def test_a_file(self, tmp_path: Path) -> None:
        path = write_film(tmp_path / "film.mp4", moving_square("right", 0, frames=12))
        frames = read_all(GstreamerSource(f"filesrc location={path} ! decodebin"))
        with Reading(FileSource(path)) as reading:
            decoded = list(reading)
        assert [frame.time_s for frame in frames] == pytest.approx([frame.time_s for frame in decoded], abs=1e-3)
        for ours, theirs in zip(frames, decoded, strict=True):
            assert np.abs(ours.picture.astype(int) - theirs.picture).mean() < 2

    def test_a_live_pipeline_gives_the_newest_frame_and_counts_the_others(self) -> None:
        source = GstreamerSource("videotestsrc is-live=true ! video/x-raw,framerate=50/1")
        connection = source.connect()
        assert source.live
        first = connection.read(5)
        time.sleep(0.3)
        second = connection.read(5)
        third = connection.read(5)
        connection.close()
        assert first is not None
        assert second is not None
        assert third is not None
        assert second.time_s - first.time_s > 0.2
        assert third.time_s > second.time_s
        assert 5 <= source.dropped <= 20
        assert first.arrived_s is not None
        assert second.arrived_s is not None
        assert second.arrived_s - first.arrived_s == pytest.approx(second.time_s - first.time_s, abs=0.1)

    def test_a_live_pipeline_that_ends_is_an_error_and_can_be_connected_again(self) -> None:
        source = GstreamerSource("videotestsrc is-live=true num-buffers=2 ! video/x-raw,framerate=50/1")
        for _ in range(2):
            with pytest.raises(SourceError, match="gst:videotestsrc: the live pipeline ended") as error:
                read_all(source)
            assert (error.value.code, error.value.retry) == ("ended", True)

    def test_a_stall_is_a_timeout_and_frames_may_come_afterwards(self) -> None:
        source = GstreamerSource("videotestsrc is-live=true ! video/x-raw,framerate=2/1")
        connection = source.connect()
        assert connection.read(5) is not None
        with pytest.raises(SourceTimeoutError, match="no frame for 0.05 s"):
            connection.read(0.05)
        assert connection.read(5) is not None
        connection.close()

    def test_closing_wakes_a_read(self) -> None:
        connection = GstreamerSource("videotestsrc is-live=true ! video/x-raw,framerate=1/5").connect()
        assert connection.read(5) is not None
        answers: list[object] = []
        reader = threading.Thread(target=lambda: answers.append(connection.read(60)))
        reader.start()
        time.sleep(0.05)
        connection.close()
        connection.close()
        reader.join(5)
        assert answers == [None]
        assert connection.read(1) is None

    def test_a_change_of_size_passes(self, tmp_path: Path) -> None:
        for index, size in enumerate((32, 64)):
            write_film(tmp_path / f"{index}.mp4", moving_square("left", 0, frames=3, size_px=size))
        parts = " ".join(
            f"filesrc location={tmp_path}/{index}.mp4 ! decodebin ! videoconvert ! video/x-raw,format=I420 ! joined."
            for index in range(2)
        )
        source = GstreamerSource(f"{parts} concat name=joined")
        assert [frame.size_px for frame in read_all(source)] == [(32, 32)] * 3 + [(64, 64)] * 3

    @pytest.mark.parametrize(
        ("pipeline", "code", "retry", "says"),
        [
            ("v4l2src device=/dev/video250", "not-found", True, "v4l2src.*Cannot identify device"),
            ("filesrc location=/missing.mp4 ! decodebin", "not-found", False, 'No such file "/missing.mp4"'),
            ("filesrc location=/etc/passwd ! decodebin", "codec", False, "text file"),
            ("rtspsrc location=rtsp://u:secret@127.0.0.1:9/x user-pw=hush ! decodebin", "refused", True, "connect"),
            ("videotestsrc ! video/x-raw,format=NV12 ! identity error-after=1", "unreadable", True, "identity"),
            ("tcpclientsrc host=127.0.0.1 port=9 ! decodebin", "refused", True, "tcpclientsrc"),
        ],
    )
    def test_errors_have_a_cause_and_no_password(self, pipeline: str, code: str, retry: bool, says: str) -> None:
        with pytest.raises(SourceError, match=says) as error:
            read_all(GstreamerSource(pipeline))
        assert (error.value.code, error.value.retry) == (code, retry)
        assert "secret" not in str(error.value)
        assert "hush" not in str(error.value)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        ("pipeline", "says"),
        [
            ("nosuchsrc", 'GStreamer does not accept the pipeline: no element "nosuchsrc"'),
            ("videotestsrc colour=red", 'no property "colour" in element "videotestsrc"'),
            ("videotestsrc ! ! identity", "does not accept the pipeline"),
            ("rtspsrc user-pw=hushhush latency=hushhush", r"could not set property .* to \"\*\*\*\""),
        ],
    )
    def test_what_is_no_pipeline_is_not_tried_again(self, pipeline: str, says: str) -> None:
        with pytest.raises(SourceError, match=says) as error:
            GstreamerSource(pipeline).connect()
        assert not error.value.retry
        assert "hushhush" not in str(error.value)

    def test_an_rtsp_camera_that_is_killed_is_lost_at_once_and_read_again_after_its_return(self) -> None:
        need_rtsp()
        with RtspServer(codec="h264") as server:
            pipeline = f"rtspsrc location={server.url} latency=0 protocols=tcp ! rtph264depay ! avdec_h264"
            source = GstreamerSource(pipeline)
            for _ in range(2):
                connection = source.connect()
                assert source.live
                assert connection.read(5) is not None
                server.kill()
                with pytest.raises(SourceError) as error:
                    while connection.read(5) is not None:
                        pass
                assert (error.value.code, error.value.retry) == ("ended", True)
                connection.close()
                with pytest.raises(SourceError, match="Failed to connect") as refused:
                    source.connect()
                assert (refused.value.code, refused.value.retry) == ("refused", True)
                server.start()

    def test_connecting_again_and_again_leaves_nothing_behind(self) -> None:
        good = GstreamerSource("videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=100/1")
        bad = GstreamerSource("v4l2src device=/dev/video250")
        held = []
        for _ in range(12):
            connection = good.connect()
            assert connection.read(5) is not None
            connection.close()
            with pytest.raises(SourceError, match="Cannot identify device"):
                bad.connect()
            held.append((len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))))
        assert held[-1][0] <= held[1][0] + 2  # a pipeline that is not freed holds four descriptors
        assert held[-1][1] <= held[1][1] + 1

    def test_a_pipeline_without_frames_times_out(self) -> None:
        source = GstreamerSource("appsrc is-live=true ! video/x-raw,format=RGB,width=8,height=8", open_timeout_s=0.3)
        with pytest.raises(SourceError, match="no frame came while it was opened") as error:
            source.connect()
        assert error.value.code == "timeout"

    def test_without_elements_for_csi_cameras_it_says_so(self) -> None:
        with pytest.raises(SourceError, match="neither nvarguscamerasrc of NVIDIA Jetson nor libcamerasrc") as error:
            open_source("csi://0")
        assert not error.value.retry


class FakePipeline:
    """A pipeline whose driver hangs when it is started."""

    def __init__(self, hangs: threading.Event) -> None:
        self.hangs = hangs

    def set_state(self, _state: object) -> None:
        self.hangs.wait(20)


@pytest.mark.usefixtures("gst")
def test_a_driver_that_hangs_is_abandoned_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    library = load_gst()
    real = library.gst.parse_launch(whole_pipeline("videotestsrc", lambda _name: False))

    class Hanging(FakePipeline):
        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    monkeypatch.setattr(library.gst, "parse_launch", lambda _text: Hanging(released))
    monkeypatch.setattr("mar_edge.runtime.sources.gstreamer.connection.CLOSE_S", 0.05)
    source = GstreamerSource("videotestsrc", open_timeout_s=0.1)
    with pytest.raises(SourceError, match="its driver does not respond while it is opened") as error:
        source.connect()
    assert error.value.code == "timeout"
    assert source.warnings.take() == ["gst:videotestsrc does not respond; it is released when its driver returns"]
    released.set()


def test_without_pygobject_the_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gi", None)
    with pytest.raises(MissingExtraError, match="sudo apt-get install python3-gi .* --system-site-packages"):
        library.load_gst.__wrapped__()
    monkeypatch.setattr("mar_edge.runtime.sources.gstreamer.source.load_gst", library.load_gst.__wrapped__)
    with pytest.raises(SourceError, match="gst:videotestsrc: PyGObject, .* is not installed") as error:
        GstreamerSource("videotestsrc").connect()
    assert not error.value.retry


def test_on_jetson_nvidias_elements_are_chosen() -> None:
    def jetson(name: str) -> bool:
        return name in ("nvarguscamerasrc", "nvvidconv")

    assert csi_pipeline(1, {"size": "1920x1080", "fps": "29.97"}, jetson) == (
        "nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),format=NV12,width=1920,height=1080,"
        "framerate=30000/1001 ! nvvidconv ! video/x-raw,format=NV12"
    )
    decoded = "filesrc location=a.mp4 ! decodebin"
    assert whole_pipeline(decoded, jetson) == f"{decoded} ! nvvidconv ! video/x-raw ! {TAIL}"
    assert whole_pipeline(decoded, lambda _name: False) == f"{decoded} ! {TAIL}"
    for other in ("v4l2src", f"{decoded} ! nvvidconv ! video/x-raw"):
        assert whole_pipeline(other, jetson) == f"{other} ! {TAIL}"


def test_elsewhere_libcamera_is_chosen() -> None:
    def raspberry(name: str) -> bool:
        return name == "libcamerasrc"

    assert csi_pipeline(0, {"fps": "30"}, raspberry) == "libcamerasrc ! video/x-raw,framerate=30/1"
    with pytest.raises(SourceError, match="libcamera names cameras instead of numbering them. Run: cam --list"):
        csi_pipeline(1, {}, raspberry)
    with pytest.raises(SourceError, match=r"csi camera 0 has no option 'fsp' \(did you mean 'fps'\?\)"):
        csi_pipeline(0, {"fsp": "30"}, raspberry)


def test_names_hold_no_properties_and_passwords_are_found() -> None:
    pipeline = 'rtspsrc location="rtsp://cam/x y" user-id=me user-pw="a b" ! queue ! video/x-raw,width=4 ! avdec_h264'
    assert elements_of(pipeline) == ["rtspsrc", "queue", "avdec_h264"]
    assert secrets_of(pipeline) == ["a b", "me"]
    assert GstreamerSource(pipeline).name == "gst:rtspsrc!queue!avdec_h264"
