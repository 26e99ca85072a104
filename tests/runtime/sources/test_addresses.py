"""What a person types as a source, and what is said about mistakes in it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from mar_edge.errors import SourceError
from mar_edge.runtime.sources.address import parse_rate, split_options
from mar_edge.runtime.sources.camera import CameraSource
from mar_edge.runtime.sources.file import FileSource
from mar_edge.runtime.sources.gstreamer.source import GstreamerSource
from mar_edge.runtime.sources.network.source import NetworkSource
from mar_edge.runtime.sources.open import clip_file, open_source
from mar_edge.runtime.sources.raw import RawSource
from mar_edge.runtime.sources.recordings.file_list import FileListSource
from mar_edge.runtime.sources.recordings.images import ImagesSource
from mar_edge.runtime.sources.recordings.rosbag import RosbagSource


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")


@pytest.mark.parametrize(
    ("text", "place", "options"),
    [
        ("camera:0?size=1280x720&fps=30", "camera:0", {"size": "1280x720", "fps": "30"}),
        ("frames/?.png", "frames/?.png", {}),
        ("frames/?.png?fps=5", "frames/?.png", {"fps": "5"}),
        ("what?.mp4", "what?.mp4", {}),
        ("a.bag?topic=/front/image_raw", "a.bag", {"topic": "/front/image_raw"}),
        ("a.bag?topic=%2Ffront%20left", "a.bag", {"topic": "/front left"}),
        ("a?fps=", "a", {"fps": ""}),
    ],
)
def test_options_are_at_the_end(text: str, place: str, options: dict[str, str]) -> None:
    assert split_options(text) == (place, options)


@pytest.mark.parametrize(("text", "fps"), [("30", 30.0), ("29.97", 29.97), ("30000/1001", 30000 / 1001), ("0.1", 0.1)])
def test_rates(text: str, fps: float) -> None:
    assert parse_rate("x", text) == pytest.approx(fps)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("camera:0?size=1280*720", "size is '1280\\*720'; write width x height in pixels"),
        ("camera:0?size=0x720", "size is '0x720'"),
        ("camera:0?size=99999x99999", "megapixels"),
        ("camera:0?fps=0", "fps is '0'; write frames per second"),
        ("camera:0?fps=nan", "fps is 'nan'"),
        ("camera:0?fps=30/0", "fps is '30/0'"),
        ("camera:0?fps=30&fps=60", "option fps is given twice"),
        (
            "camera:0?fsp=30",
            r"camera:0 has no option 'fsp' \(did you mean 'fps'\?\); its options are size, fps, format",
        ),
        ("camera:0?format=mjpgg", r"format is 'mjpgg' \(did you mean 'mjpg'\?\); use one of mjpg, yuyv"),
        ("camera:0?fps=", "option fps has no value"),
        ("camera:0?fast", "cannot read 'camera:0\\?fast'; write for instance camera:0"),
        ("camera:front", "cannot read 'camera:front'"),
        ("camera:5000?fps=5", "no camera 5000"),
        ("csi://front", "no CSI camera 'front'; write for instance csi:0 or csi:0\\?size=1280x720&fps=30"),
        ("clip.mp4?fps=5", "clip.mp4 has no option 'fps'; it has no options"),
        ("a.bag?topics=/a", r"a.bag has no option 'topics' \(did you mean 'topic'\?\)"),
        ("-?fps=5", "has no option 'fps'"),
        ("gst:", "gst: has no pipeline"),
        ("gst:videotestsrc ! fakesink", "has a fakesink; leave it out"),
        ("none/*.mp4", "no file matches 'none/\\*.mp4'"),
        (
            "rstp://cam/1",
            r"rstp is not supported \(did you mean 'rtsp'\?\): rstp://cam/1; addresses begin with file, camera, csi",
        ),
        ("udp://@:1234", "udp is not supported.* run: ffmpeg -i ADDRESS -c copy -f mpegts -"),
        ("rtmp://u:secret@cam/live", "rtmp is not supported"),
        ("srt://u:secret@cam?passphrase=secret", "srt is not supported"),
        ("ftp://u:se/secret@cam", "ftp is not supported"),
        ("camra:0", r"camra is not supported \(did you mean 'camera'\?\)"),
        ("rtsp:/u:se/secret@cam", r"is not an address; write it as text with two slashes: rtsp://HOST/PATH"),
        (Path("rtsp://u:secret@cam/1"), "write it as text with two slashes"),
        (Path("srt://u:secret@cam/1"), "srt is not supported"),
    ],
)
def test_mistakes_are_told_and_no_reason_for_a_retry(spec: str | Path, says: str) -> None:
    with pytest.raises(SourceError, match=says) as error:
        open_source(spec)
    assert not error.value.retry or "no camera" in says
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "spec", ["rtsp://u:secret@cam/1", "RTSPS://cam/1", "http://cam/a.mjpg?token=secret", "https://cam/live.m3u8"]
)
def test_network_addresses_go_to_their_source(spec: str) -> None:
    source = open_source(spec)
    assert isinstance(source, NetworkSource)
    assert source.live
    with pytest.raises(SourceError, match="cam.* is not a video file, and clips are read from files") as error:
        clip_file(spec)
    assert "secret" not in str(error.value)
    assert "secret" not in source.name


def test_cameras_with_settings() -> None:
    for spec in ("camera:2?size=1280x720&fps=29.97&format=MJPEG", "2?size=1280x720&fps=29.97&format=mjpg"):
        camera = open_source(spec)
        assert isinstance(camera, CameraSource)
        assert (camera.index, camera.name) == (2, "camera 2")
        assert str(camera.settings) == "1280x720 at 29.97 fps in mjpg"
    node = open_source("/dev/video7?fps=15")
    assert isinstance(node, CameraSource)
    assert (node.index, str(node.settings)) == (7, "its size at 15 fps")


def test_patterns_are_streams_of_files_in_natural_order() -> None:
    touch("clips/take10.mp4", "clips/take2.mp4", "clips/take1.mkv", "clips/.hidden.mp4", "clips/deep/take3.mp4")
    source = open_source("clips/*.m*")
    assert isinstance(source, FileListSource)
    assert (source.name, source.live) == ("clips/*.m*", False)
    assert [path.name for path in source.paths] == ["take1.mkv", "take2.mp4", "take10.mp4"]
    deep = open_source("clips/**/take[23].mp4")
    assert isinstance(deep, FileListSource)
    assert [str(path) for path in deep.paths] == ["clips/deep/take3.mp4", "clips/take2.mp4"]
    with pytest.raises(SourceError, match="clips/\\*.mp4 has no option 'fps'; it has no options"):
        open_source("clips/*.mp4?fps=5")


def test_a_file_that_is_named_as_a_pattern_or_with_options_is_itself() -> None:
    touch("clip[1].mp4", "a?fps=5", "clip1.mp4")
    for name in ("clip[1].mp4", "a?fps=5"):
        file = open_source(name)
        assert isinstance(file, FileSource)
        assert file.path == Path(name)


def test_pictures_of_folders_and_patterns() -> None:
    touch("frames/10.png", "frames/9.PNG", "frames/notes.txt", "frames/._9.png")
    for spec in ("frames?fps=12.5", "frames/?fps=12.5", "frames/*.[pP]*?fps=12.5"):
        source = open_source(spec)
        assert isinstance(source, ImagesSource)
        assert source.fps == 12.5
        assert [path.name for path in source.paths] == ["9.PNG", "10.png"]
    for without_rate in ("frames", "frames/*.png", Path("frames")):
        with pytest.raises(SourceError, match=r"pictures have no rate of their own; .* 'frames.*\?fps=30'"):
            open_source(without_rate)
    with pytest.raises(SourceError, match=r"frames has no option 'rate'.*its options are fps"):
        open_source("frames?rate=5")
    with pytest.raises(SourceError, match="matches 1 picture and 1 other file; give a pattern of one kind"):
        open_source("frames/*[0s].*?fps=5")


def test_folders_without_pictures() -> None:
    Path("empty").mkdir()
    touch("films/a.mp4", "films/b.mkv", "both/a.mp4", "both/1.jpg")
    with pytest.raises(SourceError, match="empty is a directory with neither pictures nor videos") as error:
        open_source("empty")
    assert (error.value.code, error.value.retry) == ("not-found", False)
    with pytest.raises(SourceError, match="films is a directory with 2 videos: name one, or all with 'films/\\*'"):
        open_source("films")
    both = open_source("both?fps=1")
    assert both.warnings.take() == ["both: its pictures are read, 1 video is left out"]
    assert clip_file("films") == Path("films")  # reading it says that it is a directory


def test_bags() -> None:
    touch("drive/metadata.yaml")
    for spec, path, topic in (
        ("a.bag", "a.bag", None),
        ("a.mcap?topic=/camera", "a.mcap", "/camera"),
        ("bag:a.mcap?topic=/camera", "a.mcap", "/camera"),
        ("bag:drive", "drive", None),
        ("drive?topic=/x", "drive", "/x"),
        ("drive", "drive", None),
    ):
        bag = open_source(spec)
        assert isinstance(bag, RosbagSource)
        assert (bag.path, bag.topic) == (Path(path), topic)


def test_pipelines_are_not_taken_apart() -> None:
    source = open_source("gst:souphttpsrc location=http://cam/a.mjpg?fps=5 ! jpegdec")
    assert isinstance(source, GstreamerSource)
    assert source.pipeline == "souphttpsrc location=http://cam/a.mjpg?fps=5 ! jpegdec"
    assert source.name == "gst:souphttpsrc!jpegdec"


def test_raw_frames_are_for_standard_input() -> None:
    with pytest.raises(SourceError, match="--stdin-format is for frames on standard input; .* --source -"):
        open_source("clip.mp4", stdin_format="rgb24:4x4:5")
    raw = np.zeros(48, np.uint8).tobytes()
    Path("raw").write_bytes(raw)
    saved = os.dup(0)
    try:
        with open("raw", "rb") as file:
            os.dup2(file.fileno(), 0)
        source = open_source("-", stdin_format="rgb24:4x4:5")
        assert isinstance(source, RawSource)
        assert source.fps == 5
    finally:
        os.dup2(saved, 0)
        os.close(saved)


def test_what_a_source_may_be_is_listed() -> None:
    with pytest.raises(SourceError, match="a pattern, a folder of pictures, a ROS bag, an address"):
        open_source("")
