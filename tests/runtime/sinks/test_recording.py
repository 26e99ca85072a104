"""Recordings: what is in the file, what replaces what, and what happens when the disk, the size or a name is wrong."""

from __future__ import annotations

import json
import os
import resource
import struct
import subprocess
import sys
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from mar_edge.errors import OptionError, OutputError
from mar_edge.runtime.results import Notice, StreamStatus
from mar_edge.runtime.sinks.annotation import annotate
from mar_edge.runtime.sinks.event_clips import EventClips
from mar_edge.runtime.sinks.mp4.mp4_file import _Writer
from mar_edge.runtime.sinks.recording import Recording
from tests.conftest import ROOT
from tests.fakes.shown_frames import check_plays, comment, ended, prediction, shown, started, times_s

MINE = b"a week of work\n"


def record(path: Path, times: list[float], *, stream: str = "door", size_px: tuple[int, int] = (160, 120)) -> None:
    sink = Recording(str(path))
    for time_s in times:
        sink.write(shown(time_s, stream=stream, size_px=size_px))
    sink.close()


def test_true_times_gaps_included_in_what_browsers_play(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.mp4"
    times = [5.0, 5.033, 5.1, 5.1, 7.5, 7.6, 20.25]  # a variable rate, an equal time, a gap
    record(out, times)
    assert times_s(out) == pytest.approx([time_s - 5 for time_s in times], abs=1e-3)
    check_plays(out)
    with av.open(out) as container:
        (stream,) = container.streams
        assert isinstance(stream, av.VideoStream)
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.codec_context.profile == "Constrained Baseline"
    assert json.loads(comment(out)) == {"schema": "mar-edge/video/1", "stream": "door", "part": 1, "start_s": 5.0}
    assert [path.name for path in out.parent.iterdir()] == ["out.mp4"]


def test_colors_survive(tmp_path: Path) -> None:
    for color, channel in (("rgb", 0), ("bgr", 2)):
        sink = Recording(str(tmp_path / f"{color}.mp4"))
        one = shown(0.0)
        red = np.zeros((120, 160, 3), np.uint8)
        red[..., channel] = 200
        one.frame._picture, one.frame.color = red, color  # type: ignore[assignment]
        sink.write(one)
        sink.close()
        with av.open(tmp_path / f"{color}.mp4") as container:
            pixel = next(container.decode(video=0)).to_ndarray(format="rgb24")[60, 80]
        assert pixel.astype(int) == pytest.approx([200, 0, 0], abs=4)


def test_labels_events_and_caption_are_drawn_and_the_frame_is_unchanged() -> None:
    picture = shown(0.0, size_px=(640, 480)).frame.picture
    before = picture.copy()
    plain = annotate(picture, None)
    labels = annotate(picture, prediction(0.0))
    event = annotate(picture, prediction(0.0), events=["wave"], color="rgb")
    caption = annotate(picture, None, caption="door  0.00 s")
    assert np.array_equal(picture, before)
    assert np.array_equal(plain, picture)
    assert (labels[:80] != plain[:80]).any()
    assert np.array_equal(labels[80:], plain[80:])
    drawn = event[80:110][(event != labels)[80:110].any(axis=-1)]
    assert drawn[:, 0].mean() > drawn[:, 2].mean() + 20  # red, in RGB
    assert np.array_equal(caption[:400], plain[:400])
    assert (caption[400:] != plain[400:]).any()


def test_what_is_drawn_follows_the_stream(tmp_path: Path) -> None:
    sink = Recording(str(tmp_path / "out.mp4"))
    sink.write(shown(0.0))
    sink.write(prediction(0.1))
    sink.write(shown(0.1))
    sink.write(started("e1", 0.1))
    sink.write(shown(0.2))
    sink.write(ended("e1", 0.1, 0.2))
    sink.write(prediction(0.1, stream="another"))
    sink.write(shown(30.0))  # after a gap: the old label is no longer true
    sink.close()
    with av.open(tmp_path / "out.mp4") as container:
        tops = [frame.to_ndarray(format="gray")[:56].astype(int) for frame in container.decode(video=0)]
    changed = [bool((abs(top - tops[0]) > 20).any()) for top in tops]
    assert changed == [False, True, True, False]
    assert (abs(tops[2] - tops[1])[38:] > 20).any()


def test_odd_and_tiny_pictures(tmp_path: Path) -> None:
    for size, expected in (((161, 121), (162, 122)), ((1, 1), (2, 2))):
        out = tmp_path / f"{size[0]}.mp4"
        record(out, [0.0, 0.1], size_px=size)
        check_plays(out)
        with av.open(out) as container:
            frame = next(container.decode(video=0))
            assert (frame.width, frame.height) == expected


def test_another_size_begins_another_part_and_says_so(tmp_path: Path) -> None:
    told: list[Notice] = []
    sink = Recording(str(tmp_path / "out.mp4"), notify=told.append)
    for index, size in enumerate([(160, 120)] * 3 + [(80, 60)] * 2 + [(160, 120)] * 4):
        sink.write(shown(index / 10, size_px=size))
    sink.close()
    assert [len(times_s(tmp_path / name)) for name in ("out.mp4", "out-2.mp4", "out-3.mp4")] == [3, 2, 4]
    assert [(one.stream, one.message.split()[-1]) for one in told] == [("door", "80x60"), ("door", "160x120")]
    assert json.loads(comment(tmp_path / "out-3.mp4"))["start_s"] == 0.5


def test_a_stream_that_ends_and_comes_back_gets_another_part(tmp_path: Path) -> None:
    sink = Recording(str(tmp_path / "out.mp4"))
    for _ in range(2):
        sink.write(shown(0.0))
        sink.write(StreamStatus(stream="door", model="m", state="live"))
        sink.write(shown(0.1))
        sink.write(StreamStatus(stream="door", model="m", state="ended"))
        check_plays(tmp_path / "out.mp4")
    sink.close()
    assert [times_s(tmp_path / name) for name in ("out.mp4", "out-2.mp4")] == [[0.0, 0.1]] * 2


def test_several_streams_have_a_file_each(tmp_path: Path) -> None:
    began = datetime(2026, 11, 30, 4, 31, 55, tzinfo=timezone.utc)
    streams = ["rtsp://host/1", "rtsp:?host/1", "../door"]
    for path, names in (
        ("out.mp4", ["out-rtsp_host_1.mp4", "out-rtsp_host_1-361f3803.mp4", "out-door.mp4"]),
        (
            "{stream}/{time}.mp4",
            [f"{name}/20261130T043155Z.mp4" for name in ("rtsp_host_1", "rtsp_host_1-361f3803", "door")],
        ),
    ):
        sink = Recording(str(tmp_path / "here" / path), streams=streams)
        for stream in streams:
            sink.write(shown(0.0, stream=stream, began=began))
        sink.close()
        assert all((tmp_path / "here" / name).is_file() for name in names), sorted(tmp_path.rglob("*"))
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_without_a_frame_there_is_no_file_and_the_old_one_stays(tmp_path: Path) -> None:
    record(tmp_path / "deep" / "out.mp4", [])
    assert list(tmp_path.iterdir()) == []
    record(tmp_path / "out.mp4", [0.0, 0.1])
    before = (tmp_path / "out.mp4").read_bytes()
    sink = Recording(str(tmp_path / "out.mp4"))
    sink.write(prediction(0.0))
    sink.close()
    assert (tmp_path / "out.mp4").read_bytes() == before
    record(tmp_path / "out.mp4", [0.0])  # ours is replaced
    assert times_s(tmp_path / "out.mp4") == [0.0]


def test_videos_of_others_are_never_replaced(tmp_path: Path) -> None:
    ours = tmp_path / "ours.mp4"
    record(ours, [0.0, 0.1, 1.2])
    copied = tmp_path / "copied.mp4"  # a video that a user cut from ours; its comment is the same
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(ours), "-c", "copy", str(copied)], check=True, timeout=60)
    assert "mar-edge/video/1" in comment(copied)
    text = tmp_path / "text.mp4"
    text.write_bytes(MINE)
    data = ours.read_bytes()
    longer = tmp_path / "longer.mp4"
    longer.write_bytes(data + b"\0\0\0\x0cudtamine")
    for path in (copied, text, longer):
        before = path.read_bytes()
        with pytest.raises(OutputError, match="was not written by mar-edge as a recorded video"):
            Recording(str(path))
        assert path.read_bytes() == before
    sink = Recording(str(text), force=True)
    sink.write(shown(0.0))
    sink.close()
    check_plays(text)
    for name, content in (("cut.mp4", data[:-200]), ("zeros.mp4", data[:-143] + bytes(5000)), ("empty.mp4", b"")):
        (tmp_path / name).write_bytes(content)  # after a kill and after power cuts
        record(tmp_path / name, [0.0])
        assert times_s(tmp_path / name) == [0.0]


def test_a_file_that_another_one_still_writes_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    first = Recording(str(out))
    first.write(shown(0.0))
    for force in (False, True):
        with pytest.raises(OutputError, match="out.mp4 is being written by another output or program"):
            Recording(str(out), force=force)
    first.close()
    Recording(str(out)).close()


def test_a_part_never_replaces_a_file_of_others_or_an_input(tmp_path: Path) -> None:
    (tmp_path / "out-2.mp4").write_bytes(MINE)
    sink = Recording(str(tmp_path / "out.mp4"))
    sink.write(shown(0.0))
    with pytest.raises(OutputError, match=r"out-2.mp4 exists and was not written by mar-edge"):
        sink.write(shown(0.1, size_px=(80, 60)))
    sink.close()
    assert (tmp_path / "out-2.mp4").read_bytes() == MINE
    assert times_s(tmp_path / "out.mp4") == [0.0]
    (tmp_path / "link").symlink_to("out.mp4")
    for inputs in ([tmp_path / "link"], [str(tmp_path / "out.mp4")]):
        with pytest.raises(OutputError, match="is read by this command"):
            Recording(str(tmp_path / "out.mp4"), inputs=inputs, force=True)


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "out.mp4").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(OutputError, match="Not a directory"):
        Recording(str(tmp_path / "file" / "out.mp4"))
    with pytest.raises(OutputError, match="Not a directory"):
        Recording(str(tmp_path / "file" / "{stream}.mp4"))
    with pytest.raises(OutputError, match="is a folder"):
        Recording(str(tmp_path / "out.mp4"))
    with pytest.raises(OutputError, match="is a pipe or a device"):
        Recording(str(tmp_path / "pipe.mp4"))
    for name in ("out.avi", ".mp4", "out"):
        with pytest.raises(OptionError, match=r"ends with .mp4"):
            Recording(str(tmp_path / name))


def test_a_size_that_cannot_be_encoded(tmp_path: Path) -> None:
    sink = Recording(str(tmp_path / "out.mp4"))
    with pytest.raises(OutputError, match="cannot encode video of 20000x2 as H.264"):
        sink.write(shown(0.0, size_px=(20000, 2)))
    sink.close()
    assert list(tmp_path.iterdir()) == []


def test_a_pyav_without_the_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", {"h264"})
    for make in (lambda: Recording(str(tmp_path / "out.mp4")), lambda: EventClips(tmp_path)):
        with pytest.raises(OutputError, match="built without libx264"):
            make()


FULL = """
import sys
from pathlib import Path
from mar_edge.errors import OutputError
from mar_edge.runtime.sinks.recording import Recording
from tests.fakes.shown_frames import shown
sink = Recording(sys.argv[1])
try:
    for index in range(900):
        sink.write(shown(index / 30, grey=index * 37 % 256))
except OutputError as error:
    print(error)
sink.close()
"""


def test_a_full_disk_is_reported_and_what_was_recorded_can_be_played(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    done = subprocess.run(
        [sys.executable, "-c", FULL, str(out)], capture_output=True, text=True, timeout=60, cwd=ROOT, preexec_fn=limit
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"cannot write {out}: File too large. Make room, or choose another place\n"
    check_plays(out)
    assert len(times_s(out)) > 30
    assert 40_000 < out.stat().st_size <= 50_000


def test_a_fragment_reaches_the_file_in_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces: list[bytes] = []
    settle = _Writer.settle

    def seen(writer: _Writer) -> None:
        file = writer._file

        def write(data: memoryview) -> int:
            pieces.append(bytes(data))
            return file.write(data) or 0

        monkeypatch.setattr(writer, "_file", SimpleNamespace(write=write))
        settle(writer)
        monkeypatch.setattr(writer, "_file", file)

    monkeypatch.setattr(_Writer, "settle", seen)
    with closing(Recording(tmp_path / "out.mp4")) as sink:
        for index in range(90):
            sink.write(shown(index / 30, grey=index * 37 % 256, size_px=(640, 480)))
    kinds = [boxes(piece) for piece in pieces]
    assert kinds[0] == ["ftyp", "moov"]
    assert kinds.count(["moof", "mdat"]) > 4
    assert max(map(len, pieces)) > 40_000  # more than FFmpeg writes at once


def boxes(data: bytes) -> list[str]:
    """Return the kinds of the boxes that a piece consists of; it must end with one."""
    kinds = []
    while data:
        size, kind = struct.unpack(">I4s", data[:8])
        assert size <= len(data)
        kinds.append(kind.decode())
        data = data[size:]
    return kinds
