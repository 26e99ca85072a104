"""The model sees what a player shows: the right stream, upright, not mirrored, with square pixels."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

import numpy as np
import pytest

from mar_edge.errors import SourceError
from mar_edge.runtime.video.probe import probe, why_not_video
from mar_edge.runtime.video.reader import read_frames
from mar_edge.runtime.video.seek import read_frames_at
from tests.fakes.ffmpeg import PAN, ffmpeg, pan, shown_by_ffmpeg
from tests.fakes.video_files import audio_only

ONE = 1 << 16
ORIENTATIONS = [
    *((a * ONE, 0, 0, d * ONE) for a, d in itertools.product((1, -1), repeat=2)),
    *((0, b * ONE, c * ONE, 0) for b, c in itertools.product((1, -1), repeat=2)),
]


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("matrix", ORIENTATIONS)
def test_every_orientation(tmp_path: Path, suffix: str, matrix: tuple[int, int, int, int]) -> None:
    path = pan(tmp_path / f"v{suffix}", "-c:v", "libx264", seconds=0.4)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # of version 0
    a, b, c, d = matrix
    x, y = 96 * ONE * (a < 0) + 64 * ONE * (c < 0), 64 * ONE * (d < 0) + 96 * ONE * (b < 0)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, x, y, 1 << 30)
    path.write_bytes(data)
    ours = [picture for picture, _ in read_frames(path)]
    height, width = ours[0].shape[:2]
    assert (width, height) == ((96, 64) if a else (64, 96))
    theirs = shown_by_ffmpeg(path, width, height)
    assert len(ours) == len(theirs)
    assert np.abs(np.stack(ours).astype(int) - theirs).mean() < 3
    info = probe(path)
    assert (info.width_px, info.height_px) == (width, height)
    assert np.array_equal(read_frames_at(path, [0.2])[0], ours[6])


def test_the_default_stream_is_read(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    pictures = ("-f", "lavfi", "-i", "color=red:size=64x48:rate=30:duration=1")
    default = ("-f", "lavfi", "-i", "color=blue:size=64x48:rate=30:duration=1")
    maps = ("-map", "0", "-map", "1", "-c:v", "libx264", "-disposition:v:0", "0", "-disposition:v:1", "default")
    ffmpeg(*pictures, *default, *maps, path)
    for picture in (next(read_frames(path))[0], read_frames_at(path, [0.5])[0]):
        assert picture.mean(axis=(0, 1)).argmax() == 2


def test_of_equal_streams_the_larger_is_read(tmp_path: Path) -> None:
    path = tmp_path / "two.ts"
    small = ("-f", "lavfi", "-i", "color=red:size=64x48:rate=30:duration=1")
    large = ("-f", "lavfi", "-i", "color=blue:size=128x96:rate=30:duration=1")
    ffmpeg(*small, *large, "-map", "0", "-map", "1", "-c:v", "libx264", path)
    assert next(read_frames(path))[0].shape == (96, 128, 3)
    assert (probe(path).width_px, probe(path).height_px) == (128, 96)


def test_a_cover_before_the_video_is_not_the_video(tmp_path: Path) -> None:
    path, cover = tmp_path / "v.mp4", tmp_path / "cover.png"
    pan(cover, "-vf", "scale=640:640", "-frames:v", 1)
    video = ("-f", "lavfi", "-i", f"{PAN}:duration=1")
    maps = ("-map", "0", "-map", "1", "-c:v:0", "copy", "-c:v:1", "libx264", "-disposition:v:0", "attached_pic")
    ffmpeg("-i", cover, *video, *maps, path)
    assert len(list(read_frames(path))) == 30
    assert probe(path).frames == 30


@pytest.mark.parametrize("suffix", [".mp3", ".m4a", ".mka", ".flac"])
def test_music_with_a_cover_is_no_video(tmp_path: Path, suffix: str) -> None:
    cover, path = tmp_path / "cover.png", tmp_path / f"song{suffix}"
    pan(cover, "-frames:v", 1)
    maps: tuple[str | Path, ...] = ("-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v", "attached_pic")
    if suffix == ".mka":
        maps = ("-map", "0", "-attach", cover, "-metadata:s:t", "mimetype=image/png")
    ffmpeg("-f", "lavfi", "-i", "sine=duration=2", "-i", cover, *maps, path)
    for reading in (lambda: list(read_frames(path)), lambda: probe(path), lambda: read_frames_at(path, [0.0])):
        with pytest.raises(SourceError, match="has no video stream, only audio and a still picture"):
            reading()
    assert why_not_video(path) == f"{path} has no video stream, only audio and a still picture"


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        ("wide.mp4", ("-vf", "setsar=2/1", "-c:v", "libx264"), (192, 64)),
        ("tall.mkv", ("-vf", "setsar=1/2", "-c:v", "libx264"), (96, 128)),
        ("pal.mov", ("-vf", "scale=720:576,setsar=64/45", "-r", 25, "-c:v", "dvvideo", "-pix_fmt", "yuv420p"), (1024, 576)),
        ("pal.dv", ("-s", "720x576", "-r", 25, "-aspect", "16:9", "-pix_fmt", "yuv420p"), (1024, 576)),
        ("codec.h264", ("-vf", "setsar=4/3", "-c:v", "libx264"), (128, 64)),
        ("nearly.mp4", ("-vf", "setsar=1001/1000", "-c:v", "libx264"), (96, 64)),
        ("absurd.mkv", ("-vf", "setsar=200/1", "-c:v", "libx264"), (96, 64)),
    ],
)  # fmt: skip
def test_pixels_come_out_square(tmp_path: Path, name: str, options: tuple[object, ...], size: tuple[int, int]) -> None:
    path = pan(tmp_path / name, *options, seconds=0.4)
    picture, _ = next(read_frames(path))
    assert picture.shape == (size[1], size[0], 3)
    assert (probe(path).width_px, probe(path).height_px) == size
    assert np.array_equal(read_frames_at(path, [0.0])[0], picture)
    raw = ffmpeg(
        "-i", path, "-frames:v", 1, "-vf", f"scale={size[0]}:{size[1]}", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"
    )
    assert (
        np.abs(np.frombuffer(raw, np.uint8).reshape(picture.shape).astype(int) - picture).mean() < 6
    )  # scaled as YUV there


def test_pixels_are_squared_before_the_picture_is_turned(tmp_path: Path) -> None:
    path = pan(tmp_path / "v.mp4", "-vf", "setsar=2/1", "-c:v", "libx264", seconds=0.4)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(">9i", 0, ONE, 0, -ONE, 0, 0, 64 * ONE, 0, 1 << 30)
    path.write_bytes(data)
    assert next(read_frames(path))[0].shape == (192, 64, 3)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".webp", ".bmp", ".tiff", ".ppm"])
@pytest.mark.parametrize("renamed", [None, ".mp4"])
def test_a_still_image_is_no_video(tmp_path: Path, suffix: str, renamed: str | None) -> None:
    path = pan(tmp_path / f"one{suffix}", "-frames:v", 1)
    path = path.rename(path.with_suffix(renamed)) if renamed else path
    told = why_not_video(path)
    assert told is not None
    assert "is a still image" in told
    with pytest.raises(SourceError, match="is a still image"):
        next(read_frames(path))


@pytest.mark.parametrize(
    "name", ["v.gif", "v.apng", "v.mp4", "v.avi", "v.ts", "v.flv", "v.mjpeg", "v.y4m", "strange.name"]
)
def test_what_the_decoder_reads_is_a_video_whatever_its_name(tmp_path: Path, name: str) -> None:
    kind = ("-f", "matroska") if name == "strange.name" else ()
    path = pan(tmp_path / name, *kind, seconds=0.5)
    assert why_not_video(path) is None
    assert len(list(read_frames(path))) == pytest.approx(15, abs=3)  # a GIF has fewer


def test_text_subtitles_and_lists_are_no_videos(tmp_path: Path) -> None:
    video = pan(tmp_path / "v.mkv", "-c:v", "libx264", seconds=0.5)
    srt = "1\n00:00:01,000 --> 00:00:02,000\nHello\n"
    files = {
        "notes.txt": ("hello world\n" * 200, "is text"),
        "art.nfo": ("hello world\n" * 200, "is text"),
        "art.ans": ("hello world\n" * 200, "is text"),
        "notes.mp4": ("hello world\n" * 200, "is not a video that can be read"),
        "words.srt": (srt, "has no video stream, only subtitle"),
        "words.mp4": (srt, "has no video stream, only subtitle"),
        "list.ffconcat": (f"ffconcat version 1.0\nfile {video.name}\n", "is a list of other files"),
        "list.csv": ("path,label\na,b\n", "is not a video that can be read"),
    }
    for name, (content, says) in files.items():
        (tmp_path / name).write_text(content)
        told = why_not_video(tmp_path / name)
        assert told is not None, name
        assert says in told
        assert "\n" not in told
        with pytest.raises(SourceError, match=says):
            next(read_frames(tmp_path / name))


def test_why_other_files_are_no_videos(tmp_path: Path) -> None:
    audio_only(tmp_path / "audio.mp4")
    (tmp_path / "empty.mp4").touch()
    whole = pan(tmp_path / "v.mp4", "-c:v", "libx264", "-movflags", "faststart", seconds=0.5)
    data = whole.read_bytes()
    (tmp_path / "index_only.mp4").write_bytes(data[: data.index(b"mdat") + 4])
    for name, says in {
        "audio.mp4": "has no video stream, only audio",
        "empty.mp4": "is empty",
        "missing.mp4": "no such file",
        "index_only.mp4": "contains no picture that can be decoded",
    }.items():
        assert says in (why_not_video(tmp_path / name) or "")
    assert why_not_video(whole) is None
