"""Pictures of a video are converted when somebody looks at them, and not before."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
from av.video.frame import VideoFrame

from mar_edge.bundle import open_bundle
from mar_edge.errors import SourceError
from mar_edge.model_spec import ModelSpec
from mar_edge.runtime.clips.whole_clip import WholeClip
from mar_edge.runtime.sources.file import FileSource
from mar_edge.runtime.sources.source import Reading
from mar_edge.runtime.video import orientation
from mar_edge.runtime.video.orientation import Display
from mar_edge.runtime.video.reader import read_frames, read_steady_frames
from tests.fakes.ffmpeg import pan


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> list[VideoFrame]:
    """The frames that were converted."""
    frames: list[VideoFrame] = []
    convert = orientation._convert

    def note(frame: VideoFrame, *arguments: Any) -> object:
        frames.append(frame)
        return convert(frame, *arguments)

    monkeypatch.setattr(orientation, "_convert", note)
    return frames


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return open_bundle("egomotion").manifest


def test_only_what_is_sampled_is_converted(tmp_path: Path, spec: ModelSpec, converted: list[VideoFrame]) -> None:
    path = pan(tmp_path / "v.mp4", "-c:v", "libx264", seconds=3)
    (view, *_) = list(WholeClip(path, spec, (1, 1)))
    assert view.pictures == spec.geometry.frames
    assert len(converted) == pytest.approx(3 * spec.rate_fps, abs=2)
    assert len(converted) < 60


def test_reading_alone_converts_nothing(tmp_path: Path, converted: list[VideoFrame]) -> None:
    path = pan(tmp_path / "v.mp4", "-c:v", "libx264", seconds=1)
    frames = list(Reading(FileSource(path)))
    assert [frame.size_px for frame in frames] == [(96, 64)] * 30
    assert not converted
    expected = [picture for picture, _ in read_frames(path)]
    del converted[:]
    # the file is closed by now; any thread may ask, several at once
    with ThreadPoolExecutor(4) as threads:
        pictures = list(threads.map(lambda frame: frame.picture, frames * 4))
    assert len(converted) == 30
    for index, picture in enumerate(pictures):
        assert picture is frames[index % 30].picture
        assert np.array_equal(picture, expected[index % 30])


def test_frames_are_converted_while_others_are_decoded(tmp_path: Path) -> None:
    path = pan(tmp_path / "v.mp4", "-c:v", "libx264", seconds=4)
    expected = [picture for picture, _ in read_frames(path)]
    frames = list(islice(read_steady_frames(path), 40))
    pictures: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: pictures.extend(frame.picture for frame in frames))
    thread.start()
    others = [frame.picture for frame in read_steady_frames(path)]
    thread.join()
    assert all(map(np.array_equal, pictures, expected))
    assert all(map(np.array_equal, others, expected))


def test_the_orientation_is_that_of_the_moment_of_decoding(tmp_path: Path) -> None:
    path = pan(tmp_path / "v.mp4", "-c:v", "libx264", seconds=0.2)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        display = Display(stream)
        (frame, *_) = container.decode(stream)
        display._orientation = orientation._Orientation(True, False, False)
        display._rotation = frame.rotation
        turned = display.decoded(frame)
        display._orientation = orientation._Orientation(False, False, False)
        upright = display.decoded(frame)
    assert (turned.size_px, upright.size_px) == ((64, 96), (96, 64))
    assert np.array_equal(turned.convert(), upright.convert().transpose(1, 0, 2))


@pytest.mark.parametrize("name", ["gray32le", "x2rgb10be", "yaf32le", "yaf32be"])
def test_a_picture_in_a_format_that_cannot_be_converted_is_an_error_of_the_source(tmp_path: Path, name: str) -> None:
    path = pan(tmp_path / "v.mp4", "-c:v", "libx264", seconds=0.2)
    with av.open(str(path)) as container:
        display = Display(container.streams.video[0])
        with pytest.raises(SourceError, match=f"pictures of format {name} cannot be converted") as error:
            display.picture(VideoFrame(96, 64, name))
    assert error.value.code == "codec"


def test_memory_does_not_grow(tmp_path: Path) -> None:
    path = pan(
        tmp_path / "v.mp4", "-c:v", "libx264", "-preset", "ultrafast", "-vf", "scale=1280:720,setsar=1", seconds=8
    )
    process = psutil.Process()
    used = []
    for index, frame in enumerate(read_steady_frames(path)):
        if index % 3 == 0:
            assert frame.picture.shape == (720, 1280, 3)
        if index >= 60:
            used.append(process.memory_info().rss)
    assert len(used) == 180
    assert max(used) - used[0] < 20e6  # a picture has 2.8 MB, its YUV half of that
