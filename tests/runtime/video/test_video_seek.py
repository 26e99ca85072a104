"""Single frames of a file are those that reading it from the start gives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from mar_edge.errors import SourceError
from mar_edge.runtime.video import seek as video_seek
from mar_edge.runtime.video.decoding import decode
from mar_edge.runtime.video.probe import probe
from mar_edge.runtime.video.reader import read_frames
from mar_edge.runtime.video.seek import read_frames_at
from tests.fakes.video_files import UNEVEN, audio_only, write_moving, write_video


def check_same(path: Path, seed: int = 0) -> None:
    """Check moments drawn at random, near ones and far ones, and those of the frames themselves."""
    rng = np.random.default_rng(seed)
    frames, stamps = zip(*read_frames(path, threads=1), strict=True)
    end_s = stamps[-1] + 0.2
    draws = [np.sort(rng.uniform(-0.1, end_s, count)) for count in (1, 1, 1, 2, 3, 16, 40)]
    draws += [np.array(stamps), np.array(stamps[-1:]), np.array([end_s + 5] * 2)]
    for times_s in draws:
        for picture, time_s in zip(read_frames_at(path, times_s), times_s, strict=True):
            shown = [index for index, stamp in enumerate(stamps) if stamp <= time_s + video_seek.SLACK_S]
            assert np.array_equal(picture, frames[shown[-1] if shown else 0]), (path.name, time_s)


STEADY = [index / 30 for index in range(130)]
LATE = [3 + time_s for time_s in STEADY]


@pytest.mark.parametrize(
    ("suffix", "times_s"),
    [(".avi", STEADY)]  # which has no time stamps
    + [(suffix, times_s) for suffix in (".mp4", ".mkv", ".mov", ".ts") for times_s in (STEADY, LATE, UNEVEN)],
)
def test_every_container_with_b_frames(tmp_path: Path, suffix: str, times_s: list[float]) -> None:
    path = write_moving(tmp_path / f"v{suffix}", times_s)
    with av.open(str(path)) as container:
        kinds = [(frame.key_frame, frame.pict_type) for frame in container.decode(video=0)]
    assert sum(key for key, _ in kinds) > 5
    assert any(kind == av.video.frame.PictureType.B for _, kind in kinds)
    check_same(path)


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("mpeg4", ".avi"), ("mjpeg", ".avi"), ("libvpx-vp9", ".webm"), ("mpeg4", ".mp4"), ("libx265", ".mp4")],
)
def test_other_codecs(tmp_path: Path, codec: str, suffix: str) -> None:
    options = {"x265-params": "keyint=12:log-level=none"} if codec == "libx265" else {"g": "12"}
    check_same(write_moving(tmp_path / f"v{suffix}", STEADY[:70], codec=codec, options=options))


def test_a_single_key_frame(tmp_path: Path) -> None:
    check_same(write_moving(tmp_path / "v.mp4", STEADY, options={"g": "1000"}))


def test_real_files_rotated_and_damaged_ones_too(real_clips: Path, arid: Path) -> None:
    for path in (
        real_clips / "edge" / "video_90.mov",
        real_clips / "edge" / "corrupted.mp4",
        real_clips / "asl" / "book.mkv",
        real_clips / "daily" / "s2_adl_23.mp4",
        arid / "val" / "24.mp4",
    ):
        check_same(path)


def test_cut_and_damaged_files(tmp_path: Path) -> None:
    """Damage may show other pictures in the damaged place, but never raises, and what is whole is the same."""
    whole = write_moving(tmp_path / "whole.mp4", STEADY, options={"g": "12"}).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    check_same(tmp_path / "cut.mp4")
    rng = np.random.default_rng(0)
    for _ in range(30):
        damaged = bytearray(whole)
        for place in rng.integers(len(damaged) // 10, len(damaged), 5):
            damaged[place] = rng.integers(256)
        (tmp_path / "damaged.mp4").write_bytes(damaged)
        try:
            got = read_frames_at(tmp_path / "damaged.mp4", [0.0, 1.7, 3.4, 9.0])
        except SourceError:
            continue
        assert len(got) == 4
        assert all(picture.shape == (48, 64, 3) for picture in got)


def test_an_edit_list_that_hides_the_beginning(tmp_path: Path) -> None:
    whole, path = write_moving(tmp_path / "whole.mp4", STEADY), tmp_path / "trimmed.mp4"
    options = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    with av.open(str(whole)) as source, av.open(str(path), "w", options=options) as out:
        stream = source.streams.video[0]
        copied = out.add_stream_from_template(stream)
        assert stream.time_base is not None
        shift = round(1.5 / stream.time_base)
        for packet in source.demux(stream):
            if packet.dts is not None and packet.pts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copied
                out.mux(packet)
    check_same(path)
    shown = len(list(read_frames(path)))
    assert shown < 90
    assert probe(path).frames == pytest.approx(shown, abs=1)
    assert probe(path).duration_s == pytest.approx(shown / 30, abs=0.1)


def test_only_what_is_needed_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_moving(tmp_path / "long.mp4", [index / 30 for index in range(900)])
    decoded = 0

    def counting(*arguments: Any) -> Iterator[av.VideoFrame]:
        nonlocal decoded
        for frame in decode(*arguments):
            decoded += 1
            yield frame

    monkeypatch.setattr(video_seek, "decode", counting)
    read_frames_at(path, np.array([25.0, 25.1, 25.2]))
    assert decoded < 30
    decoded = 0
    read_frames_at(path, np.linspace(1, 29, 8))
    assert decoded < 8 * 20


def test_one_picture_shown_twice_is_one_array(tmp_path: Path) -> None:
    first, again, other = read_frames_at(write_moving(tmp_path / "v.mp4", STEADY), [0.1, 0.11, 0.2])
    assert first is again
    assert other is not first


def test_times_that_cannot_be(tmp_path: Path) -> None:
    path = write_moving(tmp_path / "v.mp4", STEADY[:20])
    assert read_frames_at(path, []) == []
    for times_s in ([0.2, 0.1], [float("nan")], [0.0, float("inf")]):
        with pytest.raises(ValueError, match="times must be finite and sorted"):
            read_frames_at(path, times_s)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi", ".ts"])
def test_probing(tmp_path: Path, suffix: str) -> None:
    codec = "libvpx-vp9" if suffix == ".webm" else "libx264"
    path = write_moving(tmp_path / f"v{suffix}", STEADY, codec=codec, options={"g": "12"})
    info = probe(path)
    assert (info.frames, info.announced, info.width_px, info.height_px) == (130, 130, 64, 48)
    assert info.duration_s == pytest.approx(130 / 30, abs=0.04)
    assert info.fps == pytest.approx(30, abs=0.3)


def test_probing_real_files(real_clips: Path) -> None:
    turned = probe(real_clips / "edge" / "video_90.mov")
    assert (turned.width_px, turned.height_px, turned.frames) == (320, 568, 3)
    late = probe(real_clips / "asl" / "book.mkv")
    assert late.frames == 109
    assert late.duration_s == pytest.approx(109 / 30, abs=0.002)


def test_probing_a_cut_file_counts_what_is_there(tmp_path: Path) -> None:
    whole = write_moving(tmp_path / "whole.mp4", STEADY, options={"g": "12"}).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    info = probe(tmp_path / "cut.mp4")
    assert info.announced == 130
    assert 40 < info.frames < 90
    assert info.duration_s == pytest.approx(info.frames / 30, abs=0.1)


def test_bad_files_get_the_errors_of_reading(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("this is not a video\n" * 50)
    audio_only(tmp_path / "audio.mp4")
    for name in ("missing.mp4", "empty.mp4", "text.mp4", "audio.mp4"):
        with pytest.raises(SourceError) as told:
            list(read_frames(tmp_path / name))
        for reading in (probe, lambda path: read_frames_at(path, [0.0])):
            with pytest.raises(SourceError, match=re.escape(str(told.value))):
                reading(tmp_path / name)


def test_a_picture_alone(tmp_path: Path) -> None:
    path = write_video(tmp_path / "one.mp4", [0.0])
    assert probe(path).frames == 1
    assert probe(path).duration_s > 0
    assert len(read_frames_at(path, [0.0, 3.0])) == 2


def test_an_unknown_codec_is_told(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mkv", [0.0, 0.1]).read_bytes()
    assert b"V_MPEG4/ISO/AVC" in whole
    path = tmp_path / "strange.mkv"
    path.write_bytes(whole.replace(b"V_MPEG4/ISO/AVC", b"V_XXXXX/ISO/AVC"))
    for reading in (probe, lambda path: read_frames_at(path, [0.0]), lambda path: list(read_frames(path))):
        with pytest.raises(SourceError, match="strange.mkv cannot be decoded: the codec of its video is unknown"):
            reading(path)
