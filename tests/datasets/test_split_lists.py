"""The lists that a split writes, and what it leaves alone."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest

from mar_edge.datasets.groups import find_groups
from mar_edge.datasets.list_file import Row
from mar_edge.datasets.split_lists import write_split
from mar_edge.datasets.splits import Split, split
from mar_edge.datasets.video_list import Video, VideoList, read_video_list
from mar_edge.errors import DataError, OutputError
from tests.datasets.test_splits import write

ROWS = [f"s{person}, no {clip}/{label}.mp4" for person in range(6) for clip in range(2) for label in "ab"]


def made(source: Path, val: float = 0.2, seed: int = 0) -> Split:
    videos = read_video_list(source)
    return split(videos, find_groups(videos), val=val, test=0.3, seed=seed)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name in ROWS:
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text(name)
    with (tmp_path / "data" / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label"], *([name, f"is {Path(name).stem}"] for name in ROWS)])
    return tmp_path / "data" / "clips.csv"


def save(found: Split, folder: Path, *, force: bool = False) -> list[Path]:
    return write_split(found, folder, command={"seed": 0}, inputs=[found.train.source], force=force)


def test_lists_are_read_as_they_were_split(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made(source)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    for folder in (source.parent, tmp_path / "a" / "lists", Path("here"), tmp_path / "link" / "deep"):
        lists = save(found, folder)
        assert [path.name for path in lists] == ["train.csv", "val.csv", "test.csv"]
        assert lists[0].read_text().splitlines()[0] == "path,label,group"
        for path, part in zip(lists, found.parts.values(), strict=True):
            again = read_video_list(path, labels=part.labels)
            assert [video.path.resolve() for video in again.videos] == [video.path.resolve() for video in part.videos]
            assert again.counts() == part.counts()
            assert [video.columns["group"] for video in again.videos] == [found.groups[video] for video in part.videos]
    assert (source.parent / "train.csv").read_text().splitlines()[1].startswith('"s')
    record = json.loads((source.parent / "split.json").read_text())
    assert (record["source"], record["seed"], record["groups"]["count"]) == (str(source), 0, 6)


def test_absolute_paths_and_independent_clips(tmp_path: Path) -> None:
    rows = [f"{number}.mp4,{label}" for number, label in enumerate("ab" * 9)]
    relative = write(tmp_path / "data", rows)
    absolute = tmp_path / "absolute.csv"
    absolute.write_text("path,label\n" + "".join(f"{tmp_path}/data/{row}\n" for row in rows))
    assert relative.exists()
    first = save(made(absolute), tmp_path / "lists")[0].read_text().splitlines()
    assert first[0] == "path,label" and first[1].startswith(f"{tmp_path}/data/")


def test_own_lists_are_replaced_and_others_are_not(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "lists"
    train, val, test = save(made(source), folder)
    before = [path.read_text() for path in (train, val, test)]
    save(made(source, seed=1), folder)
    assert [path.read_text() for path in (train, val, test)] != before
    # a list of a part that there is none of now would share clips with the others
    save(made(source, val=0), folder)
    assert not val.exists() and train.exists()
    # a person's changes stay
    test.write_text(test.read_text() + "\n")
    kept = test.read_text(), train.read_text()
    with pytest.raises(OutputError, match=r"test\.csv exists and was not written by mar-edge as a list of this split"):
        save(made(source), folder)
    assert (test.read_text(), train.read_text()) == kept and not val.exists()
    save(made(source), folder, force=True)
    assert val.exists() and test.read_text() != kept[0]


def test_a_foreign_list_of_no_part_stays(source: Path, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "val.csv").write_text("path,label\nmine.mp4,a\n")
    save(made(source, val=0), tmp_path / "lists")
    assert (tmp_path / "lists" / "val.csv").read_text().endswith("mine.mp4,a\n")
    with pytest.raises(OutputError, match=r"val\.csv exists"):
        save(made(source), tmp_path / "lists")


def test_lists_of_another_source_and_the_source_itself_stay(source: Path, tmp_path: Path) -> None:
    other = source.with_name("other.csv")
    other.write_text(source.read_text())
    save(made(source), source.parent)
    with pytest.raises(OutputError, match=r"train\.csv exists and was not written by mar-edge as a list of this split"):
        save(made(other), source.parent)
    train = source.rename(source.with_name("train.csv"))
    with pytest.raises(OutputError, match=r"train\.csv is read by this command.* Choose a folder with -o"):
        save(made(train), train.parent, force=True)


def test_a_kill_between_two_lists_locks_nobody_out(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "lists"
    save(made(source), folder)
    real, calls = os.replace, []

    def fail_at_the_third(one: str, other: str) -> None:
        calls.append(other)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        real(one, other)

    with monkeypatch.context() as patch:
        patch.setattr("mar_edge.files.atomic_file.os.replace", fail_at_the_third)
        with pytest.raises(OutputError, match="No space left on device"):
            save(made(source, seed=1), folder)
    save(made(source, seed=2), folder)
    assert [path.name for path in sorted(folder.iterdir())] == ["split.json", "test.csv", "train.csv", "val.csv"]


def test_names_that_no_list_can_contain(tmp_path: Path) -> None:
    rows = [Row(0, f" {label}/{number}.mp4", label) for label in "ab" for number in range(4)]
    for row in rows:
        (tmp_path / row.name).parent.mkdir(exist_ok=True)
        (tmp_path / row.name).write_text(row.name)
    videos = VideoList(
        tmp_path, tuple(Video(tmp_path / row.name, "ab".index(row.label), 0, row.name) for row in rows), ("a", "b"), ""
    )
    found = split(videos, find_groups(videos), val=0, test=0.25)
    with pytest.raises(DataError, match=r"' a/\d\.mp4' begins or ends with a space.* Rename it"):
        save(found, tmp_path)
    assert not list(tmp_path.glob("*.csv")) and not (tmp_path / "split.json").exists()
    save(found, tmp_path / "lists")  # with a folder before it, the space is inside of the path
    assert len(read_video_list(tmp_path / "lists" / "train.csv").videos) == 6
