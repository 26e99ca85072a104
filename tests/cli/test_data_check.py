"""`mar-edge data check`: what a person hears about videos before training on them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.command_line import fails_with, mar_edge, records
from tests.fakes.video_files import UNEVEN, write_broken, write_moving, write_video


def check(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return mar_edge("data", "check", *arguments, **options)


def write_set(folder: Path, counts: dict[str, int], first: int = 0) -> list[Path]:
    """Write videos of different lengths into class folders."""
    paths: list[Path] = []
    for label, count in counts.items():
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            length = 20 + first + len(paths)
            paths.append(write_video(folder / label / f"{number}.mp4", [index / 30 for index in range(length)]))
    return paths


def write_csv(path: Path, rows: Sequence[tuple[str | Path, str]]) -> Path:
    path.write_text("path,label\n" + "".join(f"{name},{label}\n" for name, label in rows))
    return path


def test_good_data(tmp_path: Path) -> None:
    write_set(tmp_path / "train", {"Jump": 3, "Sit": 2})
    val = [(p.relative_to(tmp_path), p.parent.name) for p in write_set(tmp_path / "val", {"Jump": 1, "Sit": 1}, 50)]
    done = check(tmp_path / "train", write_csv(tmp_path / "val.csv", val))
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[-1] == "7 videos can be used"
    assert max(map(len, lines)) <= 80
    table = {
        cells[1].strip(): [cell.strip() for cell in cells[2:-1]] for line in lines if len(cells := line.split("│")) > 3
    }
    assert table["videos"] == table["usable"] == ["5", "2"]
    assert table["classes"] == ["2", "2"]
    assert table["frames per video"] == ["20, 22, 24", "70, 70.5, 71"]
    assert table["shortest, median, longest"][0] == "0.67, 0.73, 0.80 s"
    assert table["frames per second"] == ["30.0", "30.0"]
    assert table["picture"] == ["64x48", "64x48"]
    assert (table["Jump"], table["Sit"]) == (["3", "1"], ["2", "1"])


def test_every_unusable_file_is_listed_with_its_line(tmp_path: Path) -> None:
    says = write_broken(tmp_path)
    good = [(path.relative_to(tmp_path), path.parent.name) for path in write_set(tmp_path, {"Jump": 1, "Sit": 1})]
    source = write_csv(tmp_path / "train.csv", [*good, *((name, "Sit") for name in says)])
    done = check(source)
    assert done.returncode == 1
    for line, (name, reason) in enumerate(says.items(), 4):
        assert re.search(
            rf"train\.csv:{line}: .*{name}.*{re.escape(reason.split(':')[0])}|train\.csv:{line}: .*{re.escape(reason.split(':')[0])}.*{name}",
            done.stderr,
        ), name
    last = done.stderr.splitlines()[-1]
    assert last.startswith("mar-edge: the data cannot be used in this state (broken files: 6, too short files: 1)")
    assert "data.skip_broken=true" in last


def test_short_videos(tmp_path: Path) -> None:
    write_set(tmp_path / "train", {"Jump": 1, "Sit": 1})
    write_video(tmp_path / "train" / "Sit" / "brief.mp4", [index / 30 for index in range(9)])
    done = check(tmp_path / "train")
    assert done.returncode == 0
    assert "Sit/brief.mp4 has only 9 frames (0.30 s)" in done.stderr
    assert done.stderr.endswith("3 videos can be used, 1 warning\n")
    strict = check(tmp_path / "train", "--min-frames", "10")
    assert strict.returncode == 1
    assert "Sit/brief.mp4 is too short: 9 frames, but 10 are needed" in strict.stderr


def test_damaged_rotated_and_without_labels(real_clips: Path) -> None:
    done = check(real_clips / "edge", "--json", "-")
    assert done.returncode == 0, done.stderr
    videos = {Path(record["path"]).name: record for record in records(done.stdout) if record["type"] == "video"}
    assert (videos["video_90.mov"]["width_px"], videos["video_90.mov"]["height_px"]) == (320, 568)
    assert videos["corrupted.mp4"]["frames"] == 49
    assert videos["corrupted.mp4"]["label"] is None
    assert "edge: corrupted.mp4: damaged data skipped" in done.stderr
    assert "no labels" in done.stderr


def test_duplicates(tmp_path: Path) -> None:
    one, two, three, four = write_set(tmp_path / "clips", {"Jump": 2, "Sit": 2})
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(one.read_bytes())
    (tmp_path / "link.mp4").symlink_to(two)
    train = write_csv(tmp_path / "train.csv", [(one, "Jump"), (two, "Jump"), (three, "Sit"), (three, "Sit")])
    inside = check(train)
    assert inside.returncode == 0
    assert re.search(r"train\.csv:5: .*Sit/0\.mp4 is the same file as train\.csv:4", inside.stderr)
    val = write_csv(tmp_path / "val.csv", [("copy.mp4", "Jump"), ("link.mp4", "Sit"), (four, "Sit")])
    across = check(train, val)
    assert across.returncode == 1
    assert re.search(r"val\.csv:2: copy\.mp4 has the same bytes as train\.csv:2", across.stderr)
    assert re.search(
        r"val\.csv:3: link\.mp4 is the same file as train\.csv:3 .*, but is 'Sit', not 'Jump'", across.stderr
    )
    assert "(files in two splits: 1, files with two labels: 1)" in across.stderr.splitlines()[-1]
    assert "skip_broken" not in across.stderr


def test_labels_and_classes(tmp_path: Path) -> None:
    one, two, three, four = write_set(tmp_path / "clips", {"Jump": 2, "Sit": 2})
    train = write_csv(tmp_path / "train.csv", [(one, "Jump"), (three, "Sit")])
    unknown = check(train, write_csv(tmp_path / "val.csv", [(two, "Jmup"), (four, "Sit")]))
    assert unknown.returncode == 1
    assert re.search(
        r"val\.csv:2: label 'Jmup' of .* is not one of the 2 known labels; did you mean 'Jump'\?", unknown.stderr
    )
    assert "val.csv: class 'Jump' has no video" in unknown.stderr
    single = check(write_csv(tmp_path / "one.csv", [(one, "Jump"), (two, "Jump")]))
    assert single.returncode == 1
    assert "one.csv: only the class 'Jump' has videos that can be used; a classifier needs two classes" in single.stderr
    numbers = write_csv(tmp_path / "numbers.csv", [(one, "1"), (three, "2")])
    assert "the labels are numbers that start at 1, so class 0 has no video" in check(numbers).stderr
    (tmp_path / "labels.txt").write_text("walk\njump\nsit\n")
    named = check(numbers, "--labels", tmp_path / "labels.txt")
    assert named.returncode == 0
    assert "class 'walk' has no video" in named.stderr
    lines = check(write_csv(tmp_path / "bad.csv", [(one, "Jump"), (two, ""), (three, "Sit")]))
    assert lines.returncode == 1
    assert "bad.csv:3: no label in" in lines.stderr


def test_a_class_folder_without_videos_is_an_error(tmp_path: Path) -> None:
    write_set(tmp_path, {"Jump": 1, "Sit": 1})
    (tmp_path / "Stand").mkdir()
    (tmp_path / "Turn").mkdir()
    (tmp_path / "Turn" / "notes.txt").write_text("to do")
    done = check(tmp_path)
    assert done.returncode == 1
    assert f"the class folder {tmp_path / 'Stand'} contains no video; add some, or remove the folder" in done.stderr
    assert f"the class folder {tmp_path / 'Turn'} contains no video (1 left out: notes.txt (" in done.stderr


def test_what_is_left_out_is_named_and_counted(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    write_set(clips, {"Jump": 2, "Sit": 2})
    (clips / "Sit" / "1.mp4").rename(clips / "Sit" / "RECORDING")
    for number in range(12):
        (clips / "Jump" / f".{number}.mp4").write_bytes(b"")
    (clips / "Sit" / "0.mp4.part").write_bytes(b"x")
    (clips / "Sit" / "again.mp4").symlink_to(clips / "Jump" / "0.mp4")
    done = check(clips, "--json", tmp_path / "out.jsonl")
    assert "files and folders left out (13):" in done.stderr
    assert "Sit/0.mp4.part is an unfinished download or a temporary file" in done.stderr
    assert "Jump/.8.mp4 is hidden" not in done.stderr and "and 3 more" in done.stderr
    lines = records((tmp_path / "out.jsonl").read_text())
    left_out = [line["message"] for line in lines if line["type"] == "problem" and line["kind"] == "left_out"]
    assert len(left_out) == 13 and "Jump/.11.mp4 is hidden" in left_out
    assert done.returncode == 1
    assert "Sit/again.mp4 is the same file as clips/Jump/0.mp4, but is 'Sit', not 'Jump'" in done.stderr
    split = next(line for line in lines if line["type"] == "split")
    assert split["classes"] == {"Jump": 2, "Sit": 3}


def test_labels_that_look_alike_are_named(tmp_path: Path) -> None:
    one, two, three, four = write_set(tmp_path / "clips", {"Jump": 2, "Sit": 2})
    done = check(write_csv(tmp_path / "l.csv", [(one, "Jump"), (two, "jump"), (three, "Sit"), (four, "S\u200bit")]))
    assert done.returncode == 0
    assert "labels 'Jump' (1 video) and 'jump' (1 video) differ only in upper and lower case" in done.stderr
    assert "'Sit' (1 video) and 'S\\u200bit' (1 video) differ only in invisible characters" in done.stderr


def test_lists_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "column.csv").write_text("path,class\na.mp4,Jump\n")
    fails_with("no such file or folder", "data", "check", tmp_path / "none.csv")
    fails_with("contains no videos", "data", "check", tmp_path / "empty.csv")
    fails_with("has no column 'label'; its columns are path, class", "data", "check", tmp_path / "column.csv")
    assert check().returncode == 2
    assert mar_edge("data", "fly").returncode == 2
    assert "check" in mar_edge("data", "--help").stdout


def test_json_has_every_video_and_problem(tmp_path: Path) -> None:
    write_set(tmp_path / "train", {"Jump": 1, "Sit": 1})
    write_moving(tmp_path / "train" / "Sit" / "uneven.mkv", UNEVEN)
    (tmp_path / "train" / "Sit" / "empty.mp4").write_bytes(b"")
    done = check(tmp_path / "train", "--json", tmp_path / "out.jsonl")
    assert done.returncode == 1
    lines = records((tmp_path / "out.jsonl").read_text())
    videos = {Path(line["path"]).name: line for line in lines if line["type"] == "video"}
    assert videos["uneven.mkv"]["frames"] == 90
    assert videos["uneven.mkv"]["steady"] is False and videos["0.mp4"]["steady"] is True
    assert videos["uneven.mkv"]["duration_s"] == pytest.approx(UNEVEN[-1] - UNEVEN[0] + 0.04, abs=0.05)
    assert videos["empty.mp4"]["usable"] is False
    problem = next(line for line in lines if line["type"] == "problem")
    assert (problem["severity"], problem["kind"], Path(problem["path"]).name) == ("error", "broken", "empty.mp4")
    split = next(line for line in lines if line["type"] == "split")
    assert (split["videos"], split["usable"], split["classes"]) == (4, 3, {"Jump": 1, "Sit": 2})
    assert lines[-1] == {"type": "summary", "usable": False, "errors": 1, "warnings": 0}
    assert json.loads(check(tmp_path / "train", "--json", "-").stdout.splitlines()[-1]) == lines[-1]


def test_many_classes_stay_readable(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [index / 30 for index in range(20)])
    names = [tmp_path / f"{number}.mp4" for number in range(40)]
    for name in names:
        name.hardlink_to(path)
    rows = [(name, f"a class with the rather long name {number}") for number, name in enumerate(names)]
    done = check(write_csv(tmp_path / "many.csv", rows))
    table = [line for line in done.stderr.splitlines() if "rather long name" in line and line.startswith("│")]
    assert len(table) == 16
    assert max(map(len, table)) <= 80
    assert "24 more classes are not shown" in done.stderr


def test_relative_paths_may_start_elsewhere(tmp_path: Path) -> None:
    write_set(tmp_path / "clips", {"Jump": 1, "Sit": 1})
    (tmp_path / "lists").mkdir()
    source = write_csv(tmp_path / "lists" / "l.csv", [("Jump/0.mp4", "Jump"), ("Sit/0.mp4", "Sit")])
    assert check(source).returncode == 1
    assert check(source, "--root", tmp_path / "clips").returncode == 0


def test_the_real_set(arid: Path) -> None:
    done = check(arid / "train.csv", arid / "val.csv")
    assert done.returncode == 0, done.stderr
    assert "246 videos can be used" in done.stderr
    assert "two splits" not in done.stderr
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stderr.splitlines()]
    assert ["7.5", "2.13 s", "54 (36 %)", "23 (24 %)"] in rows and ["10", "1.60 s", "18 (12 %)", "6 (6 %)"] in rows
    assert "data.rate_fps: 10 suits these clips" in done.stderr


def test_nothing_here_needs_torch() -> None:
    code = (
        "import sys, mar_edge.datasets.video_check, mar_edge.datasets.clip_sampling, mar_edge.cli.data.commands; "
        "print({'torch', 'kornia', 'lightning_fabric', 'yaml'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n"
