"""Which clips belong together, as columns and file names show it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from mar_edge.datasets.groups import find_groups, shared_groups
from mar_edge.datasets.recording.label_folder import LabelFolder
from mar_edge.datasets.video_list import Video, VideoList, read_video_list
from mar_edge.errors import DataError, OptionError


def listed(names: Iterable[tuple[str, str]]) -> VideoList:
    """Return a list of (name, label)."""
    pairs = list(names)
    labels = tuple(sorted({label for _, label in pairs}))
    videos = tuple(Video(Path(name), labels.index(label), line, name) for line, (name, label) in enumerate(pairs, 2))
    return VideoList(Path("clips.csv"), videos, labels, "")


def times(pattern: str, label: str, *numbers: Iterable[object]) -> list[tuple[str, str]]:
    """Return names of a pattern with all combinations of values."""
    found = [pattern]
    for values in numbers:
        found = [name.replace("#", str(value), 1) for name in found for value in values]
    return [(name, label) for name in found]


def both(pattern: str, *numbers: Iterable[object]) -> VideoList:
    """Return such names of two classes, which stand for @."""
    return listed([one for label in ("fall", "walk") for one in times(pattern.replace("@", label), label, *numbers)])


@pytest.mark.parametrize(
    ("videos", "name", "number", "of_the_first"),
    [
        (both("@/@_#_#.mp4", (8, 11), range(3)), "recording", 2, "8"),  # ARID
        (both("person#_@_d#_uncomp.avi", ("01", "02", "03"), (1, 2)), "person", 3, "person01"),  # KTH
        (both("S#C001P#R001A#_rgb.avi", ("001", "002"), ("003", "004"), ("001", "002")), "person", 2, "p003"),  # NTU
        (both("v_@_g#_c#.avi", ("01", "25"), (1, 2)), "group", 2, "g01"),  # UCF101
        (both("0wR5jVB-W#k_#_000300.mp4", "pq", ("000010", "000090")), "source", 2, "0wR5jVB-Wpk"),  # Kinetics
        (both("#_@.avi", ("daria", "denis")), "recording", 2, "daria"),  # Weizmann
        (both("@/s#_#.mp4", ("00", "06"), (1, 2)), "group", 2, "s00"),
        (both("subject#_@.mp4", (1, 2, 3)), "person", 3, "subject1"),
        (both("Subject.# (ADL) @ #.avi", (1, 2), (1, 2)), "person", 2, "subject1"),
        (both("@/session#/#.mp4", (1, 2), (1, 2)), "recording", 2, "session1"),
        (both("@/#/#.mp4", ("anna", "ben"), (1, 2)), "folder", 2, "anna"),
        (both("@/VID_2024010#_#.mp4", (1, 2), ("120000", "130000")), "recording", 2, "VID_20240101"),
        (both("train/@/rec#_#.mp4", (1, 2), (1, 2)), "recording", 2, "rec1"),
    ],
)
def test_names_show_groups(videos: VideoList, name: str, number: int, of_the_first: str) -> None:
    found = find_groups(videos)
    assert (found.name, len(set(found.groups)), found.groups[0]) == (name, number, of_the_first)
    assert f"Groups: {number}, by " in found.said
    assert f"such as {of_the_first} of {videos.videos[0].name}" in found.said
    assert "--group" in found.said


@pytest.mark.parametrize(
    "videos",
    [
        both("@/clip_#.mp4", range(9)),  # counters
        both("@/video_#.mp4", range(9)),
        both("@/@_#.mp4", range(9)),
        both("@#.mp4", range(9)),
        both("/data/user1/video2/@/x#.mp4", range(9)),  # folders that all share
        both("@/VID_20240101_#.mp4", ("120000", "130000")),  # one day
        listed([*times("fall/f_#.mp4", "fall", range(4)), *times("walk/w_#.mp4", "walk", range(4))]),  # the class
        listed([*times("A01_#.mp4", "fall", range(4)), *times("A02_#.mp4", "walk", range(4))]),
        listed(
            [*times("#_#.mp4", "fall", ("back", "side"), (1, 2)), *times("#_#.mp4", "move", ("run", "sit"), (1, 2))]
        ),
        listed([(f"{number}.webm", "ab"[number % 2]) for number in range(8)]),
    ],
)
def test_names_that_show_none(videos: VideoList) -> None:
    found = find_groups(videos)
    assert found.independent
    assert len(set(found.groups)) == len(videos.videos)
    assert "clips are taken as independent" in found.said and "figures will be too good" in found.said


def test_one_person_in_several_sessions_is_told() -> None:
    found = find_groups(both("@/subject1_session#_#.mp4", (1, 2), (1, 2)))
    assert set(found.groups) == {"session1", "session2"}
    assert "All clips are of one person (subject1), so figures say nothing about others." in found.said


def test_clips_of_one_recording_are_one_group() -> None:
    assert set(find_groups(both("@/video1_#.mp4", range(5))).groups) == {"video1"}


def test_clips_of_mar_edge_record_are_of_their_recording(tmp_path: Path) -> None:
    names = []
    for label in ("wave", "Left hand", "zwei Möbel", "step 2"):
        for recording in (1, 2):
            folder = LabelFolder(tmp_path, label, recording=recording)
            stem = f"{folder._stem}_{recording:02d}"
            names += times(f"{label}/{stem}_00#.mp4", label, (1, 2))
    assert set(find_groups(listed(names)).groups) == {"01", "02"}
    # one recording is one group, not independent clips
    one = find_groups(listed([(name, label) for name, label in names if "_01_" in name]))
    assert set(one.groups) == {"01"} and "the names of mar-edge record" in one.said
    assert find_groups(listed([(f"{n % 2}/other_01_00{n}.mp4", "ab"[n % 2]) for n in range(8)])).independent


def test_names_that_show_nothing_stand_for_themselves() -> None:
    videos = listed([*times("s#_#.mp4", "fall", (1, 2), (1, 2)), ("extra.mp4", "fall"), ("more.mp4", "walk")])
    found = find_groups(videos)
    assert found.groups[-2:] == ("extra.mp4", "more.mp4")
    assert "2 names show none: each of these clips is a group of its own" in found.said


def read(tmp_path: Path, text: str) -> VideoList:
    (tmp_path / "clips.csv").write_text(text)
    return read_video_list(tmp_path / "clips.csv")


def test_columns(tmp_path: Path) -> None:
    videos = read(tmp_path, "path,Scene,label,Subject\na1.mp4,x,fall,p1\nb1.mp4,y,walk,p2\nc1.mp4,y,walk,p1\n")
    found = find_groups(videos)
    assert (found.name, found.groups) == ("subject", ("p1", "p2", "p1"))
    assert found.said == "Groups: 2, by the column 'subject'."
    assert find_groups(videos, "SCENE").groups == ("x", "y", "y")
    assert find_groups(videos, "none").groups == ("a1.mp4", "b1.mp4", "c1.mp4")
    assert "--group none" in find_groups(videos, "none").said


def test_a_column_that_tells_nothing_apart_is_passed_over(tmp_path: Path) -> None:
    videos = read(tmp_path, "path,label,subject,video,scene\na.mp4,f,me,1,x\nb.mp4,w,me,2,y\nc.mp4,w,me,3,y\n")
    assert find_groups(videos).name == "scene"
    # a column 'group' is meant as such, whatever it says
    assert set(find_groups(read(tmp_path, "path,label,group\na.mp4,f,1\nb.mp4,w,1\n")).groups) == {"1"}


def test_a_column_with_gaps(tmp_path: Path) -> None:
    videos = read(tmp_path, "path,label,group\na.mp4,f,1\nb.mp4,w,\nc.mp4,w\n")
    with pytest.raises(DataError, match=r"clips\.csv:3: 2 videos have no value in the column 'group', .*b\.mp4"):
        find_groups(videos)
    assert find_groups(videos, "none").independent


def test_expressions() -> None:
    videos = both("@/day#_room#_#.mp4", (1, 2), (1, 2), (1, 2))
    assert set(find_groups(videos, r"room\d").groups) == {"room1", "room2"}
    assert set(find_groups(videos, r"day(\d)_room(\d)").groups) == {"1_1", "1_2", "2_1", "2_2"}
    with pytest.raises(
        OptionError, match=r"'scene' is no column .*found in none of 16 names like 'fall/day1_room1_1.mp4'"
    ):
        find_groups(videos, "scene")
    with pytest.raises(OptionError, match="no regular expression: missing"):
        find_groups(videos, "(room")
    with pytest.raises(DataError, match="'fall' is not found in 8 names, the first one is 'walk/day1_room1_1.mp4'"):
        find_groups(videos, "fall")


def test_groups_in_two_splits() -> None:
    train, val, test = (
        both("@/s#_#.mp4", who, clips) for who, clips in (((1, 2), (1, 2)), ((2, 3), (3, 4)), ((4,), (5, 6)))
    )
    (found,) = shared_groups([train, val, test])
    assert (found.before, found.place, found.groups, found.clips) == (0, 1, ("s2",), 4)
    assert shared_groups([train, val, test], "none") == []
    assert shared_groups([train, test]) == []
