"""`mar-edge classify`, in this process: bad clips, and outputs that are inputs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mar_edge.cli.main import app
from mar_edge.errors import MarEdgeError, OutputError, SourceError
from tests.fakes.command_line import records
from tests.fakes.video_files import write_video


def classify(*arguments: str | Path) -> BaseException | None:
    return CliRunner().invoke(app, ["classify", *map(str, arguments)]).exception


@pytest.mark.parametrize("count", [1, 2])
def test_a_bad_clip_gets_its_line_alone_as_among_others(tmp_path: Path, count: int) -> None:
    out = tmp_path / "deep" / "out.jsonl"
    good = write_video(tmp_path / "good.mp4", [index / 10 for index in range(20)])
    assert classify(good, "--json", out) is None
    bad = [tmp_path / f"bad{index}.mp4" for index in range(count)]
    error = classify(*bad, "--json", out)
    assert isinstance(error, SourceError if count == 1 else MarEdgeError)
    lines = records(out.read_text())
    assert [(line["type"], line["stream"]) for line in lines] == [("warning", str(path)) for path in bad]
    assert all("no such file" in line["message"] for line in lines)


def test_json_never_replaces_a_clip_even_by_force(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", [index / 10 for index in range(20)])
    before = clip.read_bytes()
    (tmp_path / "link").symlink_to("clip.mp4")
    os.link(clip, tmp_path / "hard.mp4")
    for name in ("clip.mp4", "link", "hard.mp4"):
        assert isinstance(classify(clip, "--json", tmp_path / name, "--force"), OutputError)
    assert clip.read_bytes() == before


def test_no_file_appears_for_a_source_that_cannot_be_opened(tmp_path: Path) -> None:
    words = ["run", "--source", str(tmp_path / "nosuch.mp4"), "--json", str(tmp_path / "y.jsonl")]
    assert isinstance(CliRunner().invoke(app, words).exception, SourceError)
    assert list(tmp_path.iterdir()) == []


def test_labels_with_outer_spaces_are_told_apart(tmp_path: Path) -> None:
    for label in ("Sit", "Sit ", "Jump"):
        (tmp_path / label).mkdir()
        write_video(tmp_path / label / f"{len(label)}.mp4", [index / 10 for index in range(20 + len(label))])
    told = CliRunner().invoke(app, ["data", "check", str(tmp_path)]).stderr
    rows = [line.split("│")[1].strip() for line in told.splitlines() if "Sit" in line and "│" in line]
    assert rows == ["Sit", "'Sit '"]
