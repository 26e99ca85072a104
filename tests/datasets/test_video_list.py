"""Lists of videos as people write them, and what they hear about mistakes."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from mar_edge.datasets.list_file import read_rows
from mar_edge.datasets.video_list import VideoList, hold_out, read_labels, read_video_list
from mar_edge.errors import DataError


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def pairs(videos: VideoList) -> list[tuple[str, str]]:
    return [(video.name, videos.labels[video.label]) for video in videos.videos]


def test_a_csv_with_quotes_other_columns_and_blank_lines(tmp_path: Path) -> None:
    source = write(
        tmp_path / "train.csv", '\ufefflabel,fps,path\n"Sit, down",30,"a, b.mp4"\n\nStand,25,sub/ü c.mp4\r\n,,\n'
    )
    videos = read_video_list(source)
    assert pairs(videos) == [("a, b.mp4", "Sit, down"), ("sub/ü c.mp4", "Stand")]
    assert [video.line for video in videos.videos] == [2, 4]
    assert videos.videos[1].path == tmp_path / "sub" / "ü c.mp4"
    assert videos.say(videos.videos[1], "is dark") == f"{source}:4: is dark"
    assert read_video_list(source, root=Path("/data")).videos[1].path == Path("/data/sub/ü c.mp4")
    assert (
        pairs(read_video_list(write(tmp_path / "excel.csv", "path;label\na.mp4;Sit\nb.mp4;Stand\n")))[1][1] == "Stand"
    )


@pytest.mark.parametrize("separator", [";", ",", "\t", "|"])
@pytest.mark.parametrize("first", ["sep={}", '"sep={}"', "SEP={}"])
def test_the_first_line_of_excel_states_the_separator(tmp_path: Path, separator: str, first: str) -> None:
    rows = [["path", "label"], ["a.mp4", "x"], ["b.mp4", "y"], ["c.mp4"]]
    text = "\r\n".join([first.format(separator), *map(separator.join, rows)])
    (tmp_path / "v.csv").write_text(text, encoding="utf-8-sig")
    told: list[tuple[int, str]] = []
    found = read_rows(tmp_path / "v.csv", lambda line, problem: told.append((line, problem)), labelled=True)
    assert found == [(3, "a.mp4", "x", {}), (4, "b.mp4", "y", {})]
    assert told == [(5, "no label in 'c.mp4'")]


def test_absolute_paths_stay(tmp_path: Path) -> None:
    source = write(tmp_path / "list.txt", "/clips/a.mp4 0\n/clips/b.mp4 1\n")
    assert [str(video.path) for video in read_video_list(source, root=Path("/x")).videos] == [
        "/clips/a.mp4",
        "/clips/b.mp4",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b/c d.mp4 1\na.mp4 0\n", [("a b/c d.mp4", "1"), ("a.mp4", "0")]),
        ("x,y.mp4 1\nz.mp4 0\n", [("x,y.mp4", "1"), ("z.mp4", "0")]),
        ("x.mp4,Sit down\nz.mp4,Jump\n", [("x.mp4", "Sit down"), ("z.mp4", "Jump")]),
        ('"x, y.mp4",Sit\nz.mp4,Jump\n', [("x, y.mp4", "Sit"), ("z.mp4", "Jump")]),
        ("x y.avi\tSit, then rise\nz.avi\tJump\n", [("x y.avi", "Sit, then rise"), ("z.avi", "Jump")]),
        ("g01/v_1 1\ng01/v_2 0\n", [("g01/v_1", "1"), ("g01/v_2", "0")]),
        ("a.mp4 300 1\nb.mp4 250 0\n", [("a.mp4", "1"), ("b.mp4", "0")]),
        ("clip 12.mp4 1\nclip 13.mp4 0\n", [("clip 12.mp4", "1"), ("clip 13.mp4", "0")]),
    ],
)
def test_lists_without_header(tmp_path: Path, text: str, expected: list[tuple[str, str]]) -> None:
    for name in ("train.csv", "train.txt"):
        assert pairs(read_video_list(write(tmp_path / name, text))) == expected


def test_a_folder_per_class(tmp_path: Path) -> None:
    for name in ("Jump/a.mp4", "Jump/deep/b.mov", "Sit/a.MP4", "Sit/notes.txt", ".git/x.mp4"):
        write(tmp_path / name, "")
    videos = read_video_list(tmp_path)
    assert pairs(videos) == [("Jump/a.mp4", "Jump"), ("Jump/deep/b.mov", "Jump"), ("Sit/a.MP4", "Sit")]
    assert videos.labels == ("Jump", "Sit")
    assert {video.line for video in videos.videos} == {0}
    assert videos.say(videos.videos[0], "is dark") == "is dark"
    assert videos.remarks == (f"{tmp_path}: 2 left out: .git (is hidden), Sit/notes.txt (is empty (0 bytes))",)
    write(tmp_path / "empty/readme.md", "read me")
    with pytest.raises(DataError, match=r"class folder .*empty contains no video \(1 left out: readme.md"):
        read_video_list(tmp_path)


def test_numbers_are_classes_by_value_and_may_have_names(tmp_path: Path) -> None:
    source = write(tmp_path / "list.txt", "a.mp4 10\nb.mp4 2\n")
    videos = read_video_list(source)
    assert videos.labels == tuple(map(str, range(11)))
    assert [video.label for video in videos.videos] == [10, 2]
    assert videos.counts()["3"] == 0
    names = read_labels(write(tmp_path / "labels.txt", "\n".join(f"class {n}" for n in range(11))))
    assert pairs(read_video_list(source, labels=names)) == [("a.mp4", "class 10"), ("b.mp4", "class 2")]
    with pytest.raises(DataError, match=r"list.txt:1: label 10 of a.mp4 is not a class number from 0 to 4"):
        read_video_list(source, labels=names[:5])


def test_names_are_sorted_and_known_labels_keep_their_order(tmp_path: Path) -> None:
    source = write(tmp_path / "list.txt", "a.mp4 sit\nb.mp4 Jump\n")
    assert read_video_list(source).labels == ("Jump", "sit")
    known = read_video_list(source, labels=["walk", "sit", "Jump"])
    assert [video.label for video in known.videos] == [1, 2]
    assert known.labels == ("walk", "sit", "Jump")


def test_an_unknown_label_names_its_line_and_the_nearest(tmp_path: Path) -> None:
    source = write(tmp_path / "val.csv", "path,label\na.mp4,Jump\nb.mp4,Jmup\nc.mp4,xyz\n")
    with pytest.raises(DataError) as error:
        read_video_list(source, labels=["Jump", "Sit"])
    assert "val.csv:3: label 'Jmup' of b.mp4 is not one of the 2 known labels; did you mean 'Jump'?" in str(error.value)
    assert "val.csv:4: label 'xyz' of c.mp4 is not one of the 2 known labels; the labels are Jump, Sit" in str(
        error.value
    )


def test_all_problems_at_once_the_first_ten_in_words(tmp_path: Path) -> None:
    source = write(tmp_path / "val.csv", "path,label\n" + "".join(f"{n}.mp4,\n" for n in range(13)) + "x.mp4,-1\n")
    with pytest.raises(DataError) as error:
        read_video_list(source)
    assert str(error.value).count("val.csv:") == 10
    assert "val.csv:2: no label in '0.mp4,'" in str(error.value)
    assert str(error.value).endswith("; and 4 more")
    found: list[tuple[int, str]] = []
    write(source, "path,label\na.mp4,Sit\nb.mp4,\nc.mp4,Jump\n")
    videos = read_video_list(source, on_problem=lambda line, problem: found.append((line, problem)))
    assert [video.name for video in videos.videos] == ["a.mp4", "c.mp4"]
    assert found == [(3, "no label in 'b.mp4,'")]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "path,class\na.mp4,Jump\n", "has no column 'label'; its columns are path, class"),
        (
            "a.csv",
            "label,youtube_id,start\nJump,xyz,3\n",
            "has no column 'path'; its columns are label, youtube_id, start",
        ),
        (
            "a.csv",
            "video,class\na.mp4,Jump\n",
            "has no column 'path' and no column 'label'; its columns are video, class",
        ),
        ("a.csv", "", "contains no videos"),
        ("a.csv", "\n \n", "contains no videos"),
        ("a.csv", "path,label\n", "contains no videos"),
        ("a.csv", "path,label\n,Jump\n", "a.csv:2: no path in ',Jump'"),
        ("a.txt", "a.mp4 0\nb.mp4\n", "a.txt:2: 'b.mp4' is not a path and a label"),
        ("a.txt", "clips/0001 300 2\n", "a.txt:1: 'clips/0001 300 2' has more than a path and a label"),
        ("a.txt", "a.mp4 1 2 3\n", "a.txt:1: 'a.mp4 1 2 3' has more than a path and a label"),
        ("a.txt", "a.mp4 0\nb.mp4 1699999999\n", "a.txt:2: label 1699999999 of b.mp4 is not a class number"),
        ("a.txt", "a.mp4 0\nb.mp4 " + "9" * 5000, "a.txt:2: label 9999"),
        ("a.csv", 'path,label\n"' + "x" * 200_000 + '",Jump\n', "is not CSV"),
    ],
)
def test_bad_lists_get_one_clear_error(tmp_path: Path, name: str, text: str, says: str) -> None:
    source = write(tmp_path / name, text)
    with pytest.raises(DataError) as error:
        read_video_list(source)
    assert says in str(error.value)
    assert str(source) in str(error.value)


def test_sources_that_are_no_lists(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        read_video_list(tmp_path / "none.csv")
    (tmp_path / "a.mp4").write_bytes(b"\x00\xff\xfe" * 100)
    with pytest.raises(DataError, match="a.mp4 is a video; a list of videos is a CSV"):
        read_video_list(tmp_path / "a.mp4")
    with pytest.raises(DataError, match="no folder per class"):
        read_video_list(tmp_path)
    write(tmp_path / "Jump" / "b.mp4", "")
    with pytest.raises(DataError, match="a.mp4 is not in a class folder"):
        read_video_list(tmp_path)
    for split in ("train", "val"):
        write(tmp_path / "set" / split / "Jump" / "b.mp4", "")
    with pytest.raises(
        DataError, match="contains splits, not classes; give them one by one, as in: mar-edge data check .*train .*val"
    ):
        read_video_list(tmp_path / "set")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="contains no videos"):
        read_video_list(tmp_path / "nothing")


def test_lists_without_labels(tmp_path: Path) -> None:
    for name in ("one.mp4", "deep/two.mp4"):
        write(tmp_path / "clips" / name, "")
    videos = read_video_list(tmp_path / "clips", labelled=False)
    assert [(video.name, video.label) for video in videos.videos] == [("deep/two.mp4", -1), ("one.mp4", -1)]
    assert videos.labels == () and videos.counts() == {}
    for text in (
        "a b.mp4\nc.mp4\n",
        "path\na b.mp4\nc.mp4\n",
        "path,label\na b.mp4,Jump\nc.mp4,\n",
        "a b.mp4 3\nc.mp4,4\n",
    ):
        videos = read_video_list(write(tmp_path / "list.csv", text), labelled=False)
        assert [video.name for video in videos.videos] == ["a b.mp4", "c.mp4"]
    with pytest.raises(DataError, match="has no labels"):
        videos.check_classes()


def test_one_class_is_nothing_to_learn(tmp_path: Path) -> None:
    videos = read_video_list(write(tmp_path / "list.txt", "a.mp4 1\nb.mp4 1\n"))
    with pytest.raises(DataError, match="has videos of one class only, '1'"):
        videos.check_classes()


def test_labels_files(tmp_path: Path) -> None:
    assert read_labels(write(tmp_path / "l.txt", "\ufeffSit\n\n Stand up \n")) == ["Sit", "Stand up"]
    for text, says in (("\n", "contains no class names"), ("Sit\nSit\n", "'Sit' more than once")):
        with pytest.raises(DataError, match=says):
            read_labels(write(tmp_path / "l.txt", text))
    with pytest.raises(DataError, match="cannot read the labels"):
        read_labels(tmp_path)


def test_the_digest_is_of_the_content_not_of_the_place(tmp_path: Path) -> None:
    text = "path,label\na.mp4,Jump\nb.mp4,Sit\n"
    one, other = (read_video_list(write(tmp_path / name / "list.csv", text)) for name in ("one", "other"))
    assert one.digest == other.digest
    changed = read_video_list(write(tmp_path / "one" / "list.csv", text.replace("b.mp4,Sit", "b.mp4,Jump")))
    assert changed.digest != one.digest


def test_holding_groups_out(tmp_path: Path) -> None:
    names = ["Jump_11_1.mp4", "Jump_11_2.mp4", "Jump_2_1.mp4", "Sit_2_1.mp4"]
    videos = read_video_list(write(tmp_path / "l.txt", "".join(f"train/{n} {n[:3]}\n" for n in names)))
    kept, held = hold_out(videos, ["train/Jump_11_*", "*Sit*"])
    assert [video.name for video in held.videos] == [f"train/{names[i]}" for i in (0, 1, 3)]
    assert [video.name for video in kept.videos] == [f"train/{names[2]}"]
    assert kept.labels == held.labels == videos.labels
    assert len({kept.digest, held.digest, videos.digest}) == 3
    with pytest.raises(
        DataError, match=r"no video of .* matches the pattern 'Run_\*'; names look like 'train/Jump_11_1.mp4'"
    ):
        hold_out(videos, ["*Jump*", "Run_*"])
    with pytest.raises(DataError, match="nothing is left"):
        hold_out(videos, ["*"])


def test_the_real_list(arid: Path) -> None:
    train = read_video_list(arid / "train.csv")
    val = read_video_list(arid / "val.csv", labels=train.labels)
    assert train.labels == ("Jump", "Run", "Sit", "Stand", "Turn", "Walk") == val.labels
    assert set(train.counts().values()) == {25}
    assert len(val.videos) == 96
    assert all(video.path.is_file() for video in (*train.videos, *val.videos))
    with (arid / "train.csv").open() as file:
        assert [(row["path"], row["label"]) for row in csv.DictReader(file)] == pairs(train)


def test_a_line_with_more_fields_than_columns_is_told(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label\na.mp4,left\ntake 1, first.mp4,right\n")
    with pytest.raises(DataError, match=r"list\.csv:3: 3 fields under 2 columns.*in quotes"):
        read_video_list(tmp_path / "list.csv")
