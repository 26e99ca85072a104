"""Times that do not rise: every picture is kept, in the order of display, and one warning says what was repaired."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from mar_edge.runtime.video.clock import PAUSE_S, Clock
from mar_edge.runtime.video.probe import probe
from mar_edge.runtime.video.reader import read_shown_frames, read_steady_frames
from mar_edge.runtime.video.seek import SLACK_S, read_frames_at
from tests.fakes.ffmpeg import ffmpeg, pan, shown_by_ffmpeg

X264 = ("-c:v", "libx264", "-g", "30")
STEADY = np.arange(90) / 30


def times_of(stamps_s: list[float | None], step_s: float = 0.1, *, ordered: bool = True) -> tuple[list[float], Clock]:
    clock = Clock(step_s)
    stamped = ((stamp, stamp) for stamp in stamps_s)
    return [placed.time_s for placed in clock.run(stamped if ordered else clock.sort(stamped))], clock


@pytest.mark.parametrize(
    ("stamps_s", "times_s"),
    [
        ([5.0, 5.1, 5.2], [0, 0.1, 0.2]),
        ([None, None, None], [0, 0.1, 0.2]),
        ([None, 5.0, 5.1, None, 5.3], [0, 0.1, 0.2, 0.3, 0.4]),
        ([0.0] * 4, [0, 0.1, 0.2, 0.3]),
        ([0.0] * 10 + [1.0] * 10, [place / 10 for place in range(20)]),
        ([0.0, 0.1, 0.2, 0.15, 0.25, 0.35], [0, 0.1, 0.2, 0.3, 0.4, 0.5]),  # the clock was set back
        ([0.0, 0.1, 0.05, 0.3, 0.4], [0, 0.1, 0.2, 0.3, 0.4]),  # one wrong
        ([0.0, 0.1, 900.0, 0.3, 0.4], [0, 0.1, 0.2, 0.3, 0.4]),
        ([9.0, 9.1, 0.0, 9.3, 9.4], [0, 0.1, 0.2, 0.3, 0.4]),
        ([0.0, 0.1, 3.0, 3.1], [0, 0.1, 3.0, 3.1]),  # a pause
        ([0.0, 0.1, 3.0], [0, 0.1, 3.0]),
        ([0.0, 0.1, 0.2, 0.3, 0.0, 0.1, 0.2], [0, 0.1, 0.2, 0.3, 1.3, 1.4, 1.5]),  # joined
        ([9.0, 9.1, 2.0, 2.1, 2.2], [0, 0.1, 1.1, 1.2, 1.3]),
    ],
)
def test_times_rise_as_players_make_them(stamps_s: list[float | None], times_s: list[float]) -> None:
    found, clock = times_of(stamps_s)
    assert found == pytest.approx(times_s)
    sound = stamps_s[0] is not None and found == pytest.approx([(s or 0) - stamps_s[0] for s in stamps_s])
    assert (clock.repaired == 0) == sound
    assert (clock.notice("v.mp4") is None) == sound


def test_any_time_stamps_give_times_that_rise() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        stamps_s: list[float | None] = rng.choice([0, 0.05, 0.1, 0.2, 5, 1e6, -3], 40).cumsum().tolist()
        for place in rng.integers(0, 40, 5):
            stamps_s[place] = [None, 0.0, -1.0, 2.0][rng.integers(4)]
        for ordered in (True, False):
            found, _ = times_of(stamps_s, ordered=ordered)
            assert len(found) == 40
            assert (np.diff(found) > 0).all()


def test_times_of_decoding_are_sorted() -> None:
    found, clock = times_of([0.0, 0.2, 0.3, 0.1, 0.4, 0.6, 0.7, 0.5], ordered=False)
    assert found == pytest.approx([place / 10 for place in range(8)])
    assert clock.swapped == 6


def check(path: Path, times_s: NDArray[np.float64], *, says: str | None, tolerance_s: float = 0.002) -> None:
    """All pictures of ffmpeg are there, in its order, at these times; seeking and probing agree; one warning says it."""
    warnings: list[str] = []
    frames = list(read_shown_frames(path, warnings.append, threads=1))
    height, width = frames[0].picture.shape[:2]
    theirs = shown_by_ffmpeg(path, width, height)
    assert len(frames) == len(theirs) == len(times_s)
    assert np.abs(np.stack([frame.picture for frame in frames]).astype(int) - theirs).mean() < 3
    found_s = np.array([frame.time_s for frame in frames])
    assert found_s == pytest.approx(times_s, abs=tolerance_s)
    if says is None:
        assert not warnings
    else:
        assert len(warnings) == 1
        assert says in warnings[0]
        assert path.name in warnings[0]
    info = probe(path)
    assert info.frames == len(frames)
    assert info.duration_s == pytest.approx(frames[-1].time_s + frames[-1].duration_s, abs=0.002)
    moments_s = np.sort(np.random.default_rng(0).uniform(0, times_s[-1] + 0.1, 12))
    for moments in (moments_s, moments_s[-1:]):
        for moment_s, picture in zip(moments, read_frames_at(path, moments), strict=True):
            shown = int(np.searchsorted(found_s, moment_s + SLACK_S, side="right")) - 1
            assert np.array_equal(picture, frames[shown].picture)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_an_avi_with_b_frames(tmp_path: Path, codec: str) -> None:
    check(pan(tmp_path / "v.avi", "-c:v", codec, "-bf", 2, "-q:v", 3), STEADY, says=None)


def without_composition_times(source: Path, path: Path, *, last_s: float | None = None) -> Path:
    """Copy packets with nothing but the times of decoding; the last may have a duration of its own."""
    with av.open(str(source)) as opened, av.open(str(path), "w") as out:
        stream = opened.streams.video[0]
        copied = out.add_stream_from_template(stream)
        first_dts = None
        for packet in opened.demux(stream):
            if packet.dts is None:
                continue
            first_dts = packet.dts if first_dts is None else first_dts
            packet.pts = packet.dts = packet.dts - first_dts
            if last_s is not None and packet.dts >= round(89 / 30 / packet.time_base):
                packet.duration = round(last_s / packet.time_base)
            packet.stream = copied
            out.mux(packet)
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_no_composition_times(tmp_path: Path, suffix: str) -> None:
    whole = pan(tmp_path / "whole.mp4", *X264, "-bf", 3)
    check(
        without_composition_times(whole, tmp_path / f"v{suffix}"),
        STEADY,
        says="in decoding order and were sorted",
    )


def test_no_b_frames_need_no_sorting(tmp_path: Path) -> None:
    whole = pan(tmp_path / "whole.mp4", *X264, "-bf", 0)
    check(without_composition_times(whole, tmp_path / "v.mp4"), STEADY, says=None)


@pytest.mark.parametrize(("suffix", "b_frames"), [(".mkv", 3), (".mkv", 0), (".mp4", 3), (".mp4", 0)])
def test_whole_seconds(tmp_path: Path, suffix: str, b_frames: int) -> None:
    path = tmp_path / f"v{suffix}"
    pan(path, *X264, "-bf", b_frames, "-vf", "setpts=floor(N/30)/TB", "-fps_mode", "passthrough")
    check(path, STEADY, says="did not rise and were spread at 30 per second")


@pytest.mark.parametrize("b_frames", [3, 0])
def test_all_times_equal(tmp_path: Path, b_frames: int) -> None:
    path = pan(tmp_path / "v.mkv", *X264, "-bf", b_frames, "-vf", "setpts=0", "-fps_mode", "passthrough")
    check(path, STEADY, says="89 of 90 did not rise and were spread at 30 per second")


@pytest.mark.parametrize(("frames", "count", "b_frames"), [(27, 6, 0), (27, 6, 2), (9, 5, 0), (60, 2, 2)])
def test_joined_recordings(tmp_path: Path, frames: int, count: int, b_frames: int) -> None:
    """As a recorder's short segments; the windows of a model must not reach from one into the next."""
    parts = []
    for index in range(count):
        part = tmp_path / f"{index}.ts"
        pan(part, *X264, "-bf", b_frames, "-frames:v", frames, "-vf", f"hue=h={40 * index}")
        parts.append(part.read_bytes())
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(parts))
    every = (frames - 1) / 30 + PAUSE_S
    times_s = np.concatenate([index * every + np.arange(frames) / 30 for index in range(count)])
    again = "once" if count == 2 else f"{count - 1} times"
    check(path, times_s, says=f"restart {again}")
    found = list(read_shown_frames(path))
    gaps_s = [after.time_s - before.time_s - before.duration_s for before, after in itertools.pairwise(found)]
    assert sum(gap > 0.9 for gap in gaps_s) == count - 1
    assert len(list(read_steady_frames(path))) == count * frames


@pytest.mark.parametrize("b_frames", [0, 2])
def test_a_clock_set_back(tmp_path: Path, b_frames: int) -> None:
    whole = pan(tmp_path / "whole.ts", *X264, "-bf", b_frames, "-muxdelay", 0)
    path = tmp_path / "v.ts"
    ffmpeg("-i", whole, "-c", "copy", "-output_ts_offset", 2.9, "-muxdelay", 0, tmp_path / "early.ts")
    path.write_bytes(whole.read_bytes() + (tmp_path / "early.ts").read_bytes())  # 0.1 s before the first one's end
    check(path, np.arange(180) / 30, says="did not rise", tolerance_s=0.04)


@pytest.mark.parametrize(
    ("name", "options", "rate_fps"),
    [
        ("v.h264", (*X264, "-bf", 0), 30),
        ("b.h264", (*X264, "-bf", 3), 30),
        ("v.hevc", ("-c:v", "libx265", "-x265-params", "log-level=none"), 30),
        ("v.m4v", ("-c:v", "mpeg4", "-f", "m4v"), 30),
        ("v.m2v", ("-c:v", "mpeg2video", "-bf", 2), 30),
    ],
)
def test_raw_streams(tmp_path: Path, name: str, options: tuple[object, ...], rate_fps: float) -> None:
    path = pan(tmp_path / name, *options)
    check(path, np.arange(90) / rate_fps, says=f"timed at {rate_fps} per second, as its header states")
    assert probe(path).warnings


def test_a_raw_stream_whose_rate_cannot_be(tmp_path: Path) -> None:
    path = tmp_path / "v.h264"
    fast = ("-vf", "settb=1/1000000,setpts=N", "-r", 1000000, "-x264-params", "fps=1000000/1:force-cfr=1")
    pan(path, *X264, "-bf", 0, *fast, "-fps_mode", "passthrough")
    check(
        path,
        np.arange(90) / 25,
        says="timed at 25 per second, which is a guess: its header states 1e+06, which is implausible",
    )
    assert "implausible" in probe(path).warnings[0]


def test_a_raw_stream_that_names_no_rate(tmp_path: Path) -> None:
    path = pan(tmp_path / "v.mjpeg", "-q:v", 2, "-vf", "scale=480:320")
    check(path, np.arange(90) / 25, says="timed at 25 per second, which is a guess")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_time_stamps_faster_than_any_camera(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"v{suffix}"
    scale = ("-video_track_timescale", 100000) if suffix == ".mp4" else ()
    fast = ("-vf", "settb=1/100000,setpts=N", "-fps_mode", "passthrough", "-r", 100000)
    pan(path, *X264, *fast, *scale)
    warnings: list[str] = []
    frames = list(read_shown_frames(path, warnings.append))
    assert len(frames) == 90
    assert frames[-1].time_s < 0.002
    assert (np.diff([frame.time_s for frame in frames]) > 0).all()
    assert len(warnings) == 1
    assert "implausible" in warnings[0]
    assert probe(path).warnings == tuple(warnings)


@pytest.mark.parametrize("rate_fps", [0.5, 1, 240, 1000])
def test_rates_that_can_be_are_believed(tmp_path: Path, rate_fps: float) -> None:
    path = pan(tmp_path / "v.mp4", *X264, "-vf", f"settb=1/1000000,setpts=N*1000000/{rate_fps}", "-r", rate_fps)
    check(path, np.arange(90) / rate_fps, says=None)
    assert probe(path).fps == pytest.approx(rate_fps, rel=0.001)


@pytest.mark.parametrize(
    ("box", "value"),
    [("mdhd", 0), ("mdhd", 7680), ("mdhd", 9216000), ("mdhd", 0xFFFFFFFF), ("mvhd", 0), ("mvhd", 600000), ("tkhd", 0)],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_samples_beat_headers(tmp_path: Path, suffix: str, box: str, value: int) -> None:
    path = pan(tmp_path / f"v{suffix}", *X264, "-bf", 2)
    data = bytearray(path.read_bytes())
    at = data.index(box.encode()) + 4
    assert data[at] == 0  # version
    place = at + (20 if box == "tkhd" else 16)
    data[place : place + 4] = struct.pack(">I", value)
    path.write_bytes(data)
    info = probe(path)
    assert (info.frames, info.announced) == (90, 90)
    assert info.duration_s == pytest.approx(3, abs=0.001)
    assert info.fps == pytest.approx(30, abs=0.01)
    check(path, STEADY, says=None)


def test_a_rate_in_a_matroska_header_is_not_believed(tmp_path: Path) -> None:
    path = pan(tmp_path / "v.mkv", *X264, "-bf", 2)
    data = path.read_bytes()
    at = data.index(b"\x23\xe3\x83\x84") + 4  # DefaultDuration, 4 bytes, ns
    path.write_bytes(data[:at] + struct.pack(">I", 1000) + data[at + 4 :])
    check(path, STEADY, says=None)
    assert probe(path).fps == pytest.approx(30, abs=0.1)


HOLD = ("-vf", "select='lt(n,30)+gte(n,60)'", "-fps_mode", "vfr")


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("b_frames", [0, 3])
def test_a_held_picture_is_shown_until_the_next(tmp_path: Path, suffix: str, b_frames: int) -> None:
    path = pan(tmp_path / f"v{suffix}", *X264, "-bf", b_frames, *HOLD)
    check(path, np.concatenate([STEADY[:30], STEADY[60:]]), says=None)
    held = list(read_shown_frames(path))[29]
    assert held.duration_s == pytest.approx(31 / 30, abs=0.002)
    warnings: list[str] = []
    steady = list(read_steady_frames(path, warnings.append))
    assert [frame.time_s for frame in steady] == pytest.approx(STEADY.tolist(), abs=0.03)
    assert all(frame.picture is steady[29].picture for frame in steady[29:60])
    assert [index for index, frame in enumerate(steady) if frame.held] == list(range(30, 60))
    assert warnings == [f"v{suffix}: 1.0 s were filled in as still: the file holds 1 picture for longer than usual"]
    assert not np.array_equal(steady[60].picture, steady[59].picture)


def test_a_picture_held_at_the_end(tmp_path: Path) -> None:
    whole = pan(tmp_path / "whole.mp4", *X264, "-bf", 0)
    path = without_composition_times(whole, tmp_path / "v.mp4", last_s=2)
    assert probe(path).duration_s == pytest.approx(89 / 30 + 2, abs=0.01)
    assert list(read_shown_frames(path))[-1].duration_s == pytest.approx(2, abs=0.01)
    assert list(read_steady_frames(path))[-1].time_s == pytest.approx(89 / 30 + 2 - 1 / 30, abs=0.01)


def test_a_slow_file_holds_nothing(tmp_path: Path) -> None:
    path = pan(tmp_path / "v.mp4", *X264, "-vf", "setpts=N/TB", "-r", 1, seconds=0.5)
    assert len(list(read_steady_frames(path))) == 15


def test_lost_pictures_are_not_held(tmp_path: Path) -> None:
    """Packets that cannot be decoded leave a gap, and so does a time without pictures in a broadcast."""
    path = pan(tmp_path / "v.mp4", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p")
    with av.open(str(path)) as container:
        entries = [(entry.pos, entry.size) for entry in container.streams.video[0].index_entries]
    data = bytearray(path.read_bytes())
    for pos, size in entries[30:60]:
        data[pos : pos + size] = bytes(size)
    path.write_bytes(data)
    warnings: list[str] = []
    frames = list(read_shown_frames(path, warnings.append, threads=1))
    assert len(frames) == 60
    assert any("damaged" in message for message in warnings)
    assert frames[29].duration_s == pytest.approx(1 / 30, abs=0.001)
    assert len(list(read_steady_frames(path, threads=1))) == 60
    broadcast = pan(tmp_path / "v.ts", *X264, *HOLD)
    assert list(read_shown_frames(broadcast))[29].duration_s == pytest.approx(1 / 30, abs=0.001)
    assert len(list(read_steady_frames(broadcast))) == 60


def test_equal_times_somewhere_in_the_middle_are_found_by_seeking(tmp_path: Path) -> None:
    """The file begins soundly, so that only all of its packets say that seeking would go wrong."""
    path = tmp_path / "v.mkv"
    pan(path, *X264, "-bf", 0, "-vf", "setpts='if(lt(N,200),N,N-60)/30/TB'", "-fps_mode", "passthrough", seconds=12)
    frames = list(read_shown_frames(path, threads=1))
    assert len(frames) == 360
    for time_s in (3.0, 9.0, 11.0):
        shown = [frame for frame in frames if frame.time_s <= time_s + SLACK_S][-1]
        assert np.array_equal(read_frames_at(path, [time_s])[0], shown.picture)
    assert probe(path).duration_s == pytest.approx(frames[-1].time_s + frames[-1].duration_s, abs=0.002)
