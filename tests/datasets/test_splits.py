"""Splits by group: what they promise, and the advice for clips that cannot be split."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mar_edge.datasets.groups import find_groups
from mar_edge.datasets.split_search import distribute
from mar_edge.datasets.splits import Split, read_clips, split
from mar_edge.datasets.video_list import read_video_list
from mar_edge.errors import DataError, OptionError

SHARES = (0.6, 0.25, 0.15)


def deviation(groups: list[dict[int, int]], placed: tuple[int, ...]) -> float:
    """Return how far a distribution is from its shares: the mean square of each class's, and of all clips'."""
    totals: Counter[int] = Counter()
    for counts in groups:
        totals.update(counts)
    cost = 0.0
    for part, share in enumerate(SHARES):
        here: Counter[int] = Counter()
        for counts, place in zip(groups, placed, strict=True):
            here.update(counts if place == part else {})
        cost += sum(
            (here[label] / total - share) ** 2 + (1e6, 1e3, 10)[part] * (not here[label])
            for label, total in totals.items()
        )
        cost += len(totals) * (here.total() / totals.total() - share) ** 2
    return cost


@pytest.mark.parametrize("seed", range(4))
def test_no_distribution_is_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = [{label: int(rng.integers(1, 7)) for label in range(3) if rng.random() < 0.7} or {0: 1} for _ in range(7)]
    best = min(deviation(groups, placed) for placed in itertools.product(range(3), repeat=7))
    assert deviation(groups, tuple(distribute(groups, SHARES, seed).tolist())) == pytest.approx(best)


@settings(max_examples=6, deadline=None)
@given(
    groups=st.lists(st.dictionaries(st.integers(0, 3), st.integers(1, 9), min_size=1), min_size=1, max_size=9),
    seed=st.integers(0, 9),
)
def test_every_class_is_trained(groups: list[dict[int, int]], seed: int) -> None:
    placed = distribute(groups, SHARES, seed)
    assert set(placed.tolist()) <= {0, 1, 2} and len(placed) == len(groups)
    classes = {label for counts in groups for label in counts}
    assert {label for counts, place in zip(groups, placed, strict=True) if place == 0 for label in counts} == classes
    assert (placed == distribute(groups, SHARES, seed)).all()
    assert 2 not in distribute(groups, (0.75, 0.25, 0), seed)


def test_many_clips_get_their_shares() -> None:
    rng = np.random.default_rng(0)
    groups = [{int(label): 1} for label in rng.integers(0, 100, 20_000)]
    placed = distribute(groups, SHARES, 0)
    assert np.bincount(placed) / len(placed) == pytest.approx(SHARES, abs=0.01)
    by_class = Counter((next(iter(counts)), int(place)) for counts, place in zip(groups, placed, strict=True))
    for label in range(100):
        total = sum(by_class[label, part] for part in range(3))
        assert [by_class[label, part] / total for part in range(3)] == pytest.approx(SHARES, abs=0.02)


def write(folder: Path, rows: list[str], columns: str = "path,label") -> Path:
    """Write a list and different files for it."""
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        path = folder / row.split(",")[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(row)
    (folder / "clips.csv").write_text("\n".join([columns, *rows]) + "\n")
    return folder / "clips.csv"


def parts(source: Path, rule: str | None = None, **options: float) -> Split:
    videos = read_video_list(source)
    return split(videos, find_groups(videos, rule), **{"val": 0.15, "test": 0.25, **options})  # type: ignore[arg-type]


def test_groups_stay_whole_and_classes_in_balance(tmp_path: Path) -> None:
    rows = [
        f"s{person}_{label}_{clip}.mp4,{label}" for person in range(20) for label in ("a", "b") for clip in range(3)
    ]
    found = parts(write(tmp_path, rows))
    assert {name: len(part.videos) for name, part in found.parts.items()} == {"train": 72, "val": 18, "test": 30}
    assert all(set(part.counts().values()) == {len(part.videos) // 2} for part in found.parts.values())
    seen = [{found.groups[video] for video in part.videos} for part in found.parts.values()]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 20
    assert sorted(video.name for part in found.parts.values() for video in part.videos) == sorted(
        row.split(",")[0] for row in rows
    )
    assert parts(tmp_path / "clips.csv").groups == found.groups
    again, other = (parts(tmp_path / "clips.csv", seed=seed).test for seed in (0, 1))
    assert found.test is not None and again is not None and other is not None
    assert again.videos == found.test.videos != other.videos


def test_copies_stay_together(tmp_path: Path) -> None:
    rows = [f"{number}.mp4,{label}" for number, label in enumerate("ab" * 10)]
    source = write(tmp_path, rows)
    for number in range(2, 10, 2):
        (tmp_path / f"{number}.mp4").write_bytes((tmp_path / "0.mp4").read_bytes())
    (tmp_path / "10.mp4").unlink()
    (tmp_path / "10.mp4").symlink_to("12.mp4")
    found = parts(source)
    by_name = {video.name: group for video, group in found.groups.items()}
    assert len({by_name[f"{number}.mp4"] for number in range(0, 10, 2)}) == 1
    assert by_name["10.mp4"] == by_name["12.mp4"] != by_name["0.mp4"]
    assert "5 groups have a copy of a clip of another group and are joined with it" in found.grouping.said


def test_what_a_split_cannot_tell(tmp_path: Path) -> None:
    rows = [f"s{person}_{label}.mp4,{label}" for person in range(6) for label in "abc"]
    rows += [f"s0_d_{clip}.mp4,d" for clip in range(9)]
    found = parts(write(tmp_path, rows))
    assert found.train.counts()["d"] == 9
    said = " ".join(found.remarks)
    assert "test has no clip of d; of d there is one group only, which trains: its accuracy stays unknown." in said
    assert "val has no clip of d; of d there is one group only" in said
    assert "is uncertain by at least" in said
    big = [f"s{0 if clip < 40 else clip}_{label}_{clip}.mp4,{label}" for clip in range(44) for label in "ab"]
    assert "the largest one, 's0', has 80 clips" in " ".join(
        parts(write(tmp_path / "big", big), val=0, test=0.5).remarks
    )


@pytest.mark.parametrize(
    ("rows", "columns", "says"),
    [
        ([f"{n}.mp4,wave" for n in range(9)], "path,label", "9 clips of one class only, 'wave': .* always answers 'wave'.* second class"),
        ([f"{n}.mp4,c{n}" for n in range(9)], "path,label", "9 classes, 1 clip each: .* nothing can be judged.* at least 5 times"),
        (["x.mp4,a", "x.mp4,b"], "path,label", "all 2 lines of .* are one file, x.mp4; cut it"),
        (["x.mp4,a", "x.mp4,b", "y.mp4,b"], "path,label", r"clips.csv:3: x.mp4 is 'b', but x.mp4, the same file or a copy, is 'a'"),
        (
            [f"v{n}.mp4,{label},day" for n, label in enumerate("aabb")],
            "path,label,group",
            "all 4 clips of .* are of one group, 'day'.* nothing can be judged.* --group none",
        ),
        (
            [f"rec{label == 'b'}{clip}.mp4,{label},rec {label}" for label in "ab" for clip in range(5)],
            "path,label,recording",
            r"2 classes, each with clips of one recording \(by the column 'recording'\): .* nothing can be judged",
        ),
        (
            [f"{n}.mp4,{label}" for n, label in enumerate("aabb")],
            "path,label",
            r"val would have clips of 0 of 2 classes: 2 of 2 classes have only 2 clips, and 3 parts need one each. "
            r"Without validation \(--val 0\), all classes can be judged",
        ),
    ],
)  # fmt: skip
def test_advice(tmp_path: Path, rows: list[str], columns: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        parts(write(tmp_path, rows, columns))


def test_two_clips_a_class_can_be_judged_without_validation(tmp_path: Path) -> None:
    found = parts(write(tmp_path, [f"{n}.mp4,{label}" for n, label in enumerate("aabb")]), val=0)
    assert found.val is None and found.test is not None
    assert found.train.counts() == found.test.counts() == {"a": 1, "b": 1}
    assert any("uncertain by about 70 points" in remark for remark in found.remarks)


def test_the_way_out_is_as_promised(tmp_path: Path) -> None:
    # each class has two recordings, but each pair of classes shares one
    pairs = (("a", "12"), ("b", "23"), ("c", "13"))
    rows = [f"r{one}_{label}.mp4,{label},{one}" for label, pair in pairs for one in pair]
    source = write(tmp_path, rows, "path,label,recording")
    with pytest.raises(DataError, match=r"Without validation \(--val 0\), 2 of 3 classes can be judged"):
        parts(source)
    found = parts(source, val=0).test
    assert found is not None and sorted(found.counts().values()) == [0, 1, 1]


def test_bad_requests(tmp_path: Path) -> None:
    source = write(tmp_path, [f"{n}.mp4,{label}" for n, label in enumerate("ab" * 9)])
    for val, test in ((0.0, 0.0), (-0.1, 0.3), (0.5, 0.5), (float("nan"), 0.2)):
        with pytest.raises(OptionError, match="for instance --val 15 --test 25"):
            parts(source, val=val, test=test)
    (tmp_path / "3.mp4").unlink()
    with pytest.raises(DataError, match=r"clips\.csv:5: .*3\.mp4: No such file or directory.*start from the folder"):
        parts(source)


def test_backslashes_of_windows_are_recognised(tmp_path: Path) -> None:
    source = write(tmp_path, [f"{label}/{n}.mp4,{label}" for label in "ab" for n in range(6)])
    source.write_bytes(source.read_bytes().replace(b"/", b"\\").replace(b"\n", b"\r\n"))
    with pytest.raises(
        DataError, match=r"clips\.csv:2: .*; and 11 more\. Paths have backslashes.* Replace each .* by /"
    ):
        parts(source)


def test_a_folder_without_classes_gets_advice(real_clips: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"asl has 20 videos but no class folders. If each name is a class \(again, bird, .* nothing can be judged",
    ):
        read_clips(real_clips / "asl")
    with pytest.raises(
        DataError, match=r"daily has 9 videos but no class folders. Put them into a folder for each class"
    ):
        read_clips(real_clips / "daily")
