"""`mar-edge data split`, and what `data check` says of groups, lengths and recipes."""

from __future__ import annotations

from pathlib import Path

from mar_edge.datasets.groups import shared_groups
from mar_edge.datasets.video_list import read_video_list
from tests.cli.test_data_check import check, write_csv, write_set
from tests.fakes.command_line import fails_with, mar_edge, records
from tests.fakes.recipes import films, tiny, write
from tests.fakes.video_files import write_video


def test_a_list_with_groups(arid: Path, tmp_path: Path) -> None:
    source = arid.parent / "gestures_real" / "clips.csv"
    done = mar_edge("data", "split", source, "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert "Groups: 17, by the column 'group'." in lines
    assert any(line.startswith("test has ") and "is uncertain by at least" in line for line in lines)
    lists = [tmp_path / f"{name}.csv" for name in ("train", "val", "test")]
    assert lines[-1] == f"Run: mar-edge data check {' '.join(map(str, lists))}"
    videos = [read_video_list(path) for path in lists]
    assert sum(len(one.videos) for one in videos) == 181 and shared_groups(videos) == []
    groups = [{video.columns["group"] for video in one.videos} for one in videos]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 17


def test_names_with_recordings(arid: Path, tmp_path: Path) -> None:
    # four of six classes have two recordings
    fails_with(
        "Without validation (--val 0), all classes can be judged", "data", "split", arid / "train.csv", "-o", tmp_path
    )
    assert not list(tmp_path.iterdir())
    done = mar_edge("data", "split", arid / "train.csv", "-o", tmp_path, "--val", "0")
    assert done.returncode == 0, done.stderr
    assert (
        "Groups: 11, by the names without the class and the last number, such as 11 of train/Jump_11_1.mp4"
        in done.stderr
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["split.json", "test.csv", "train.csv"]
    assert min(read_video_list(tmp_path / "test.csv").counts().values()) > 0
    random = mar_edge("data", "split", arid / "train.csv", "-o", tmp_path, "--group", "none", "--force")
    assert "Clips are taken as independent of each other" in random.stderr
    assert (tmp_path / "val.csv").read_text().startswith("path,label\n")


def test_the_list_itself_is_never_replaced(arid: Path) -> None:
    fails_with("is read by this command", "data", "split", arid / "train.csv", "--val", "0", "--force")


def test_a_folder_gets_its_lists_inside(tmp_path: Path) -> None:
    write_set(tmp_path / "clips", {"Jump": 6, "Sit": 6})
    (tmp_path / "clips").rename(tmp_path / "-clips")
    done = mar_edge("data", "split", "./-clips", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Run: mar-edge data check ./-clips/train.csv ./-clips/val.csv ./-clips/test.csv" in done.stderr.splitlines()
    again = mar_edge("data", "split", "./-clips", "--seed", "1", cwd=tmp_path)
    assert again.returncode == 0 and "left out" not in again.stderr
    videos = read_video_list(tmp_path / "-clips" / "train.csv").videos
    assert all(video.path.is_file() and not video.name.startswith((".", "/")) for video in videos)


def test_wrong_options() -> None:
    assert mar_edge("data", "split").returncode == 2
    assert mar_edge("data", "split", "clips", "--val", "many").returncode == 2
    fails_with("no such file or folder: clips.csv", "data", "split", "clips.csv")


def test_groups_in_two_splits_are_warned_of(tmp_path: Path) -> None:
    def videos(folder: str, people: str, first: int) -> list[tuple[str, str]]:
        (tmp_path / folder).mkdir()
        rows = [
            (f"{folder}/p{person}_{label}_{clip}.mp4", label)
            for person in people
            for label in ("Jump", "Sit")
            for clip in (1, 2)
        ]
        for place, (name, _) in enumerate(rows):
            write_video(tmp_path / name, [index / 30 for index in range(20 + first + place)])
        return rows

    train = write_csv(tmp_path / "train.csv", videos("train", "12", 0))
    val = write_csv(tmp_path / "val.csv", videos("val", "23", 20))
    done = check(train, val, "--json", tmp_path / "out.jsonl")
    assert done.returncode == 0, done.stderr
    assert "groups in two splits (1):" in done.stderr
    assert (
        "val.csv: 4 clips are of groups that train.csv has too (1 group, p2, by the number after 'p' in the names, such as p1 of"
        in done.stderr
    )
    assert "two splits" not in check(train, val, "--group", "none").stderr
    lines = records((tmp_path / "out.jsonl").read_text())
    assert [line["kind"] for line in lines if line["type"] == "problem"] == ["group"]
    spans = {line["split"]: line for line in lines if line["type"] == "lengths"}
    assert spans[str(train)]["suggested_fps"] == 25 and spans[str(train)]["videos"] == 8
    assert "data.rate_fps: 25 suits these clips: 16 frames cover 0.64 s, and 0 of 8" in done.stderr


def test_a_recipe_is_checked_with_its_window_and_held_out_videos(tmp_path: Path) -> None:
    write_set(tmp_path / "clips", {"Jump": 3, "Sit": 3})
    values = tiny(tmp_path, tmp_path / "clips")
    values["data"] |= {"hold_out": ["*/0.mp4"], "rate_fps": 11}
    recipe = write(tmp_path / "recipe.yaml", values)
    done = check(recipe, "--json", tmp_path / "out.jsonl")
    assert done.returncode == 0, done.stderr
    assert "4 frames last" in check(recipe, "--frames", "4").stderr
    assert "8 frames last" in done.stderr and "11 (recipe)" in done.stderr
    splits = [line for line in records((tmp_path / "out.jsonl").read_text()) if line["type"] == "split"]
    assert [(line["split"], line["videos"]) for line in splits] == [
        (str(tmp_path / "clips"), 4),
        (f"{tmp_path / 'clips'}, held out", 2),
    ]
    values["data"] |= {"sampling": "uniform"}
    assert "frames last" not in check(write(tmp_path / "uniform.yaml", values)).stderr
    assert check(recipe, tmp_path / "clips").returncode == 2
    assert check(recipe, "--root", tmp_path).returncode == 2


def test_recipes_that_name_no_videos(tmp_path: Path) -> None:
    drawn = write(tmp_path / "films.yaml", films())
    fails_with("data.kind 'camera_moves' draws its clips itself", "data", "check", drawn)
    fails_with("No such file", "data", "check", tmp_path / "missing.yaml")
