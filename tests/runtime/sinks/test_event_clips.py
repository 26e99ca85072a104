"""Clips of events: what each shows, how it ends, what is kept in memory and on the disk."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from mar_edge.errors import OptionError, OutputError
from mar_edge.runtime.results import Event, Notice, StreamStatus
from mar_edge.runtime.sinks.event_clips import EventClips
from mar_edge.runtime.sinks.mp4.pre_roll import PreRoll
from tests.fakes.shown_frames import check_plays, ended, shown, started, times_s

RATE = 10


def run(sink: EventClips, seconds: float, events: dict[float, Event], *, begin_s: float = 0.0, **options: Any) -> None:
    """Write frames, and each event after the frame of its time."""
    for index in range(round(begin_s * RATE), round((begin_s + seconds) * RATE)):
        sink.write(shown(index / RATE, **options))
        for time_s, event in events.items():
            if round(time_s * RATE) == index:
                sink.write(event)


def described(folder: Path) -> list[dict[str, Any]]:
    """Return the descriptions in a folder, each of which has its video."""
    found = [json.loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        name for one in found for name in (one["video"], one["video"][:-4] + ".json")
    )
    return found


def test_a_clip_has_what_came_before_and_after(tmp_path: Path) -> None:
    sink = EventClips(tmp_path / "clips", before_s=2, after_s=1)
    run(sink, 20, {8.0: started("e1", 6.5), 12.0: ended("e1", 6.5, 11.5)})
    sink.close()
    (one,) = described(tmp_path / "clips")
    assert one["video"] == "door-wave-00006.50s-e1.mp4"
    assert 3.5 <= one["start_s"] <= 4.5
    assert one["end_s"] == 12.5
    assert one["cut"] is None
    assert one["event"] == ended("e1", 6.5, 11.5).to_json()
    video = tmp_path / "clips" / one["video"]
    check_plays(video)
    count = round((one["end_s"] - one["start_s"]) * RATE) + 1
    assert times_s(video) == pytest.approx([index / RATE for index in range(count)], abs=1e-4)


def test_overlapping_events_have_a_clip_each(tmp_path: Path) -> None:
    sink = EventClips(tmp_path, before_s=1, after_s=1)
    jump = started("b", 6, label="jump"), ended("b", 6, 9, label="jump")
    run(sink, 20, {5.0: started("a", 5), 6.0: jump[0], 7.0: ended("a", 5, 7), 9.0: jump[1]})
    sink.close()
    assert [(one["event"]["label"], one["end_s"]) for one in described(tmp_path)] == [("jump", 10.0), ("wave", 8.0)]
    for path in tmp_path.glob("*.mp4"):
        check_plays(path)


def test_streams_are_apart(tmp_path: Path) -> None:
    sink = EventClips(tmp_path)
    for index in range(50):
        for stream in ("a", "b"):
            sink.write(shown(index / RATE, stream=stream, size_px=(160, 120) if stream == "a" else (80, 60)))
    sink.write(started("1", 4.0, stream="b"))
    sink.write(StreamStatus(stream="a", model="m", state="ended"))
    sink.write(ended("1", 4.0, 4.5, stream="b"))
    sink.close()
    (one,) = described(tmp_path)
    assert one["event"]["stream"] == "b"
    assert one["cut"] == "stream"  # after 4.9 s, before the 2 s after the event were over


def test_an_event_that_is_open_at_the_end(tmp_path: Path) -> None:
    sink = EventClips(tmp_path)
    run(sink, 6, {5.0: started("e1", 4.5)})
    (one,) = described(tmp_path)
    assert (one["end_s"], one["event"]["phase"]) == (None, "start")  # what is there if the program is killed now
    sink.close()
    (one,) = described(tmp_path)
    assert (one["end_s"], one["cut"], one["event"]["phase"]) == (5.9, "stream", "start")
    check_plays(tmp_path / one["video"])


def test_the_longest_clip_and_the_end_of_its_event(tmp_path: Path) -> None:
    told: list[Notice] = []
    sink = EventClips(tmp_path, before_s=1, longest_s=5, notify=told.append)
    run(sink, 20, {5.0: started("e1", 5.0), 15.0: ended("e1", 5.0, 15.0)})
    sink.close()
    (one,) = described(tmp_path)
    assert one["cut"] == "longest"
    assert one["end_s"] - one["start_s"] == pytest.approx(5.0)
    assert one["event"]["end_s"] == 15.0
    assert [(note.stream, note.code) for note in told] == [("door", "output")]
    assert "ends after 5 s" in told[0].message


def test_a_change_of_size_ends_the_clip(tmp_path: Path) -> None:
    sink = EventClips(tmp_path)
    run(sink, 6, {5.0: started("e1", 4.5)})
    sink.write(shown(6.0, size_px=(80, 60)))
    sink.write(ended("e1", 4.5, 5.9))
    sink.write(shown(6.1, size_px=(80, 60)))
    sink.close()
    (one,) = described(tmp_path)
    assert (one["cut"], one["end_s"], one["event"]["end_s"]) == ("size", 5.9, 5.9)
    check_plays(tmp_path / one["video"])


def test_the_end_of_an_event_is_enough_for_its_clip(tmp_path: Path) -> None:
    told: list[Notice] = []
    sink = EventClips(tmp_path, after_s=1, notify=told.append)
    sink.write(started("none", 0.0))  # before any picture
    run(sink, 10, {5.0: ended("e1", 3.0, 5.0)})  # its beginning was lost on the way here
    run(sink, 3, {}, begin_s=10, size_px=(80, 60))
    sink.write(ended("e2", 8.0, 9.0))  # told too late: only pictures after it are kept
    sink.close()
    (one,) = described(tmp_path)
    assert (one["event"]["id"], one["end_s"]) == ("e1", 6.0)
    assert [note.message for note in told] == ["there is no clip of the event wave: no picture of it is kept"] * 2


def test_names_are_safe_whatever_labels_are_called(tmp_path: Path) -> None:
    began = datetime(2026, 11, 30, 4, 31, 55, tzinfo=timezone.utc)
    sink = EventClips(tmp_path / "clips")
    run(sink, 3, {})
    for id, label in (
        ("1", "../../etc/passwd"),
        ("2", "wave\n\x1b[31m?*"),
        ("3", "打电话 " * 50),
        ("4", "."),
        ("4", "."),
    ):
        event = replace(started(id, 1.0, label=label, stream="door"), started_at=began)
        sink.write(event)
        sink.write(replace(ended(id, 1.0, 2.0, label=label), started_at=began))
        sink.write(StreamStatus(stream="door", model="m", state="ended"))
        run(sink, 3, {})
    sink.close()
    names = sorted(one["video"] for one in described(tmp_path / "clips"))
    assert names == [
        "door-etc_passwd-20261130T043155Z-1.mp4",
        "door-unnamed-20261130T043155Z-4-2.mp4",
        "door-unnamed-20261130T043155Z-4.mp4",
        "door-wave_31m-20261130T043155Z-2.mp4",
        f"door-{'打电话_' * 4}-20261130T043155Z-3.mp4".replace("_-2026", "-2026"),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["clips"]


def clips(folder: Path, ids: Iterable[int], **options: Any) -> None:
    sink = EventClips(folder, **options)
    for id in ids:
        run(sink, 3, {2.0: started(f"{id}", 1.0), 2.5: ended(f"{id}", 1.0, 2.0)})
        sink.write(StreamStatus(stream="door", model="m", state="ended"))
    sink.close()


def test_the_oldest_clips_are_removed_only_when_asked_and_only_ours(tmp_path: Path) -> None:
    clips(tmp_path, range(4))
    ours = sorted(tmp_path.glob("*.mp4"))
    assert len(ours) == 4
    for age, path in enumerate(ours):
        os.utime(path, (1000 + age, 1000 + age))
    size = ours[0].stat().st_size
    (tmp_path / "holiday.mp4").write_bytes(bytes(10 * size))
    (tmp_path / "mine.json").write_text("{}")
    shutil.copy2(ours[0], tmp_path / "kept.mp4")  # renamed by the user, so it is theirs
    ours[1].with_suffix(".json").write_text("my notes\n")
    clips(tmp_path, [4], keep_bytes=round(2.5 * size))
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {
        *("holiday.mp4", "mine.json", "kept.mp4"),
        ours[1].with_suffix(".json").name,
        *(f"door-wave-00001.00s-{id}.{end}" for id in (3, 4) for end in ("mp4", "json")),
    }


def test_a_clip_that_is_being_written_or_read_is_not_removed(tmp_path: Path) -> None:
    other = EventClips(tmp_path)
    run(other, 3, {2.0: started("open", 1.0)})
    (video,) = tmp_path.glob("*.mp4")
    os.utime(video, (1000, 1000))
    clips(tmp_path, [1], keep_bytes=1)
    assert [path.name for path in tmp_path.glob("*.mp4")] == [video.name]
    other.close()
    clips(tmp_path, [2], keep_bytes=1, inputs=[video])
    assert [path.name for path in tmp_path.glob("*.mp4")] == [video.name]
    clips(tmp_path, [3], keep_bytes=1)
    assert list(tmp_path.iterdir()) == []


def test_memory_is_bounded_and_a_shorter_beginning_is_told(tmp_path: Path) -> None:
    told: list[Notice] = []
    sink = EventClips(tmp_path, most_bytes=800, notify=told.append)
    run(sink, 20, {19.0: started("e1", 19.0)})
    sink.close()
    (one,) = described(tmp_path)
    assert 16.5 < one["start_s"] <= 19
    assert len(told) == 1
    assert "begin less than 3 s before" in told[0].message
    roll = PreRoll((160, 120), keep_s=3, most_bytes=1 << 30)
    for index in range(1000):
        roll.add(shown(index / RATE).frame, index / RATE)
    assert [roll.since(time_s)[0] for time_s in (0.0, 98.5)] == pytest.approx([96, 98], abs=1)
    assert len(list(roll.since(0.0)[1])) <= 4 * RATE + 1
    roll.close()


def test_an_invalid_length_or_folder(tmp_path: Path) -> None:
    for options in ({"before_s": -1}, {"after_s": float("nan")}, {"before_s": 10, "longest_s": 5}):
        with pytest.raises(OptionError, match="clips have 0 to 60 s before an event"):
            EventClips(tmp_path, **options)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Not a directory. Choose another folder"):
        EventClips(tmp_path / "file")


class _FullDisk:
    def write(self, _data: bytes) -> int:
        raise OSError(28, "No space left on device")


def test_a_disk_that_fails_is_reported_and_the_rest_is_finished(tmp_path: Path) -> None:
    sink = EventClips(tmp_path)
    run(sink, 3, {2.0: started("a", 1.0), 2.5: started("b", 2.0)})
    sink._streams["door"].clips["a"].file._writer._file = _FullDisk()  # type: ignore[assignment]
    with pytest.raises(OutputError, match="a.mp4: No space left on device. Make room"):
        run(sink, 3, {}, begin_s=3)
    sink.close()
    assert len(described(tmp_path)) == 2
    for path in tmp_path.glob("*.mp4"):
        check_plays(path)
        assert len(times_s(path)) > 10
