"""Clips have the frames, times and sizes of the stream, and are whole or not there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import av
import numpy as np
import pytest

from mar_edge.datasets.recording.clip_recorder import ClipRecorder, Cut
from mar_edge.datasets.recording.label_folder import Clip, LabelFolder
from mar_edge.errors import OptionError, OutputError
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.sinks.mp4.mp4_file import _Writer
from tests.fakes.shown_frames import check_plays, times_s

SIZE = (96, 64)


def frame(
    number: int, time_s: float, size_px: tuple[int, int] = SIZE, *, held: bool = False, cut: str | None = None
) -> Frame:
    return Frame(picture=np.full((size_px[1], size_px[0], 3), 4 * number, np.uint8), time_s=time_s, held=held, cut=cut)


def files(out: Path) -> list[str]:
    return sorted(path.name for path in out.rglob("*") if path.is_file())


def numbers(path: Path) -> list[int]:
    with av.open(path) as container:
        return [round(float(one.to_ndarray(format="rgb24").mean()) / 4) for one in container.decode(video=0)]


def add_all(recorder: ClipRecorder, frames: list[Frame]) -> list[Clip | Cut]:
    return [ended for one in frames if (ended := recorder.add(one)) is not None]


def test_times_and_size_are_those_of_the_stream(tmp_path: Path) -> None:
    recorder = ClipRecorder(LabelFolder(tmp_path, "wave"), length_s=1.0)
    uneven_s = [7.0, 7.04, 7.1, 7.45, 7.46, 7.9, 7.999, 8.0]
    recorder.begin()
    (clip,) = add_all(recorder, [frame(index, time_s, (95, 63)) for index, time_s in enumerate(uneven_s)])
    assert isinstance(clip, Clip)
    assert times_s(clip.path) == [pytest.approx(time_s - 7, abs=1e-4) for time_s in uneven_s[:-1]]
    assert (clip.frames, clip.size_px, clip.start_s) == (7, (95, 63), 7.0)
    assert clip.longest_gap_s == pytest.approx(0.44)
    check_plays(clip.path)
    with av.open(clip.path) as container:
        assert not container.streams.audio


def test_a_clip_begins_before_the_key_and_has_its_length(tmp_path: Path) -> None:
    recorder = ClipRecorder(LabelFolder(tmp_path, "wave"), length_s=1.0, before_s=0.5)
    made: list[Clip | Cut] = []
    for number in range(60):
        if number in (20, 27):  # the second one soon after the end of the first clip
            recorder.begin()
        made += [ended] if (ended := recorder.add(frame(number, number / 10))) else []
    first, second = made
    assert isinstance(first, Clip)
    assert isinstance(second, Clip)
    assert numbers(first.path) == [*range(14, 24)]
    assert numbers(second.path) == [*range(24, 34)]
    assert first.duration_s == pytest.approx(1.0)


def test_frames_before_the_key_take_bounded_memory(tmp_path: Path) -> None:
    recorder = ClipRecorder(
        LabelFolder(tmp_path, "wave"), length_s=1.0, before_s=0.9, most_bytes=4 * 3 * SIZE[0] * SIZE[1]
    )
    add_all(recorder, [frame(number, number / 10) for number in range(20)])
    assert recorder.shortened
    recorder.begin()
    (clip,) = add_all(recorder, [frame(number, number / 10) for number in range(20, 30)])
    assert isinstance(clip, Clip)
    assert numbers(clip.path)[0] == 16


def test_repeats_of_a_held_picture_are_no_frames(tmp_path: Path) -> None:
    recorder = ClipRecorder(LabelFolder(tmp_path, "wave"), length_s=1.0)
    recorder.begin()
    (clip,) = add_all(recorder, [frame(index, index / 10, held=index % 2 == 1) for index in range(11)])
    assert isinstance(clip, Clip)
    assert numbers(clip.path) == [0, 2, 4, 6, 8]


@pytest.mark.parametrize(
    ("breaking", "why"),
    [
        (frame(9, 0.5, (64, 48)), "the size of its picture changed to 64x48"),
        (frame(9, 0.5, cut="the clock of its source jumped"), "the clock of its source jumped"),
    ],
)
def test_a_break_within_a_clip_leaves_nothing_of_it(tmp_path: Path, breaking: Frame, why: str) -> None:
    recorder = ClipRecorder(LabelFolder(tmp_path, "wave"), length_s=1.0, before_s=0.4)
    add_all(recorder, [frame(number, number / 10) for number in range(3)])
    recorder.begin()
    assert add_all(recorder, [frame(3, 0.3), breaking]) == [Cut(why)]
    assert files(tmp_path) == []
    assert not recorder.recording
    recorder.begin()  # the next one has nothing of before the break
    size_px = breaking.size_px
    (clip,) = add_all(recorder, [frame(number, number / 10, size_px) for number in range(6, 17)])
    assert isinstance(clip, Clip)
    assert len(numbers(clip.path)) == 10
    assert files(tmp_path) == ["wave_01_001.mp4"]


def test_the_end_of_the_source(tmp_path: Path) -> None:
    for last, whole in ((9, True), (8, False)):
        recorder = ClipRecorder(LabelFolder(tmp_path / str(last), "wave"), length_s=1.0)
        recorder.begin()
        assert add_all(recorder, [frame(number, number / 10) for number in range(last + 1)]) == []
        ended = recorder.end()
        assert isinstance(ended, Clip if whole else Cut)
        assert files(tmp_path / str(last)) == (["wave_01_001.mp4"] if whole else [])


def test_a_source_that_is_too_slow_for_a_clip(tmp_path: Path) -> None:
    recorder = ClipRecorder(LabelFolder(tmp_path, "wave"), length_s=1.0)
    recorder.begin()
    (cut,) = add_all(recorder, [frame(0, 0.0), frame(1, 2.0)])
    assert cut == Cut("there is only 1 frame in it, the source is too slow")
    assert files(tmp_path) == []


def test_a_disk_that_fills_up_leaves_whole_clips_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = ClipRecorder(LabelFolder(tmp_path, "wave"), length_s=1.0)
    recorder.begin()
    assert len(add_all(recorder, [frame(number, number / 10) for number in range(11)])) == 1
    full: list[bool] = []
    settle = _Writer.settle

    def fail(writer: _Writer) -> None:
        if full and writer._fragment:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        settle(writer)

    monkeypatch.setattr(_Writer, "settle", fail)
    recorder.begin()
    recorder.add(frame(11, 1.1))
    full.append(True)
    with pytest.raises(OutputError, match="No space left on device. Make room, or choose another place"):
        add_all(recorder, [frame(number, number / 10) for number in range(12, 30)])
    recorder.cancel()
    assert files(tmp_path) == ["wave_01_001.mp4"]


def test_lengths_that_do_not_fit(tmp_path: Path) -> None:
    for length_s, before_s in ((1.0, 1.0), (1.0, -0.1), (float("nan"), 0.0)):
        with pytest.raises(OptionError, match="do not fit a clip"):
            ClipRecorder(LabelFolder(tmp_path, "wave"), length_s=length_s, before_s=before_s)
