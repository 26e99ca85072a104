"""Video files, good and bad."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from mar_edge.errors import SourceError
from mar_edge.runtime.video.reader import read_frames
from tests.fakes.video_files import audio_only, write_video


def test_a_variable_frame_rate_comes_out_right(tmp_path: Path) -> None:
    times_s = [0.0, 0.04, 0.1, 0.5, 0.517, 1.2]
    frames = list(read_frames(write_video(tmp_path / "vfr.mp4", times_s)))
    assert [time_s for _, time_s in frames] == pytest.approx(times_s, abs=0.001)
    assert [round(frame.mean() / 10) for frame, _ in frames] == [0, 1, 2, 3, 4, 5]


def test_times_count_from_the_first_frame(tmp_path: Path) -> None:
    times_s = [time_s for _, time_s in read_frames(write_video(tmp_path / "late.mkv", [3.0, 3.5, 4.0]))]
    assert times_s == pytest.approx([0, 0.5, 1.0], abs=0.002)


def test_the_rotation_flag_is_honoured(real_clips: Path) -> None:
    path = real_clips / "edge" / "video_90.mov"
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        coded = (stream.height, stream.width)
        first = next(container.decode(stream))
        assert round(first.rotation) % 180 == 90
        plain = first.to_ndarray(format="rgb24")
    frame, _ = next(iter(read_frames(path)))
    assert frame.shape[:2] == coded[::-1]
    # FFmpeg counts the angle counter-clockwise
    assert np.array_equal(frame, np.rot90(plain, k=round(first.rotation) // 90))


def test_damaged_frames_are_told_and_the_rest_is_given(real_clips: Path) -> None:
    warnings: list[str] = []
    frames = list(read_frames(real_clips / "edge" / "corrupted.mp4", warnings.append))
    assert len(frames) > 20
    assert any("corrupted.mp4" in message for message in warnings)


def test_bad_files_get_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("this is not a video\n" * 50)
    audio_only(tmp_path / "audio.mp4")
    whole = write_video(tmp_path / "whole.mp4", [0, 0.1, 0.2]).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 3])
    for name, says in {
        "missing.mp4": "no such file",
        "": "is a directory",
        "empty.mp4": r"is empty \(0 bytes\)",
        "text.mp4": "is not a video that can be read",
        "audio.mp4": "has no video stream, only audio",
        "cut.mp4": "is not a video that can be read",
    }.items():
        with pytest.raises(SourceError, match=says) as error:
            list(read_frames(tmp_path / name))
        assert "\n" not in str(error.value)


def test_a_truncated_stream_gives_what_there_is(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mkv", [index / 30 for index in range(25)], (320, 240)).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) * 2 // 3])
    warnings: list[str] = []
    frames = list(read_frames(tmp_path / "cut.mkv", warnings.append))
    assert 1 <= len(frames) < 25
    end_s = frames[-1][1] + 1 / 30
    assert f"cut.mkv: ends at {end_s:.2f} s, though its header states 0.83 s; the rest is missing" in warnings
    warnings.clear()
    assert len(list(read_frames(tmp_path / "whole.mkv", warnings.append))) == 25
    assert warnings == []


def test_joined_recordings_go_on_and_say_so(tmp_path: Path) -> None:
    one = write_video(tmp_path / "one.ts", [index / 30 for index in range(60)]).read_bytes()
    (tmp_path / "joined.ts").write_bytes(one + one)
    warnings: list[str] = []
    times_s = [time_s for _, time_s in read_frames(tmp_path / "joined.ts", warnings.append)]
    assert len(times_s) >= 115
    assert times_s == sorted(times_s)
    assert times_s[-1] == pytest.approx(59 / 30 + 1 + 59 / 30, abs=0.1)
    assert len([message for message in warnings if "restart" in message]) == 1


def test_names_that_look_like_something_else(tmp_path: Path) -> None:
    for name in ("12:30.mp4", "a [red] b.mp4", "ü%20 'x'.mp4"):
        write_video(tmp_path / "plain.mp4", [0, 0.1, 0.2]).rename(tmp_path / name)
        assert len(list(read_frames(tmp_path / name))) == 3
    with pytest.raises(SourceError, match="is not a video that can be read"):
        list(read_frames(Path("x" * 5000)))


def test_damaged_bytes_never_raise_anything_else(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.ts", [index / 30 for index in range(40)], (160, 120)).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(damaged), 30):
            damaged[place] = rng.integers(256)
        (tmp_path / "damaged.ts").write_bytes(damaged)
        try:
            frames = list(read_frames(tmp_path / "damaged.ts"))
        except SourceError:
            continue
        assert frames
