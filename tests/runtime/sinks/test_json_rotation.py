"""JSON lines that rotate by size: every file whole and ours, nothing of others touched."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mar_edge.errors import OptionError, OutputError
from mar_edge.runtime.sinks.json_lines import SCHEMA, JsonLines, JsonLinesSink
from tests.fakes.shown_frames import prediction, shown, started


def write(target: Path, numbers: range, **options: Any) -> None:
    lines = JsonLines(str(target), rotate_bytes=200, **options)
    for number in numbers:
        lines({"type": "prediction", "number": number})
    lines.close()


def read(path: Path) -> list[int]:
    """Return the numbers in a file, which must begin with the mark and end with a whole line."""
    text = path.read_bytes()
    assert text.endswith(b"\n")
    records = [json.loads(line) for line in text.splitlines()]
    assert records[0]["schema"] == SCHEMA
    assert len(text) <= 200
    return [record["number"] for record in records]


def test_full_files_are_kept_under_numbers_and_the_oldest_goes(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    write(out, range(100, 150), keep=3)
    names = ["out.jsonl.3", "out.jsonl.2", "out.jsonl.1", "out.jsonl"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    numbers = [number for name in names for number in read(tmp_path / name)]
    assert numbers == list(range(numbers[0], 150))  # oldest first, without a hole
    assert 10 < len(numbers) < 50


def test_a_new_run_keeps_the_lines_of_the_one_before(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    for run in range(3):
        write(out, range(run, run + 1))
    assert [read(Path(f"{out}{end}")) for end in ("", ".1", ".2")] == [[2], [1], [0]]
    Path(f"{out}.1").unlink()  # by the user; the rest moves no further than it must
    write(out, range(3, 4))
    assert [read(Path(f"{out}{end}")) for end in ("", ".1", ".2")] == [[3], [2], [0]]
    write(out, range(0))  # without a record nothing moves
    assert read(out) == [3]


def test_numbered_files_of_others_are_an_error_before_the_first_line(tmp_path: Path) -> None:
    out, mine = tmp_path / "out.jsonl", tmp_path / "out.jsonl.2"
    mine.write_text("a week of work\n")
    with pytest.raises(OutputError, match=r"out.jsonl.2 exists and was not written by mar-edge"):
        write(out, range(1))
    assert [path.name for path in tmp_path.iterdir()] == [mine.name]
    write(out, range(50), force=True)
    assert "week" not in mine.read_text()


def test_a_file_of_others_that_comes_later_stays_and_so_do_the_lines(tmp_path: Path) -> None:
    out, mine = tmp_path / "out.jsonl", tmp_path / "out.jsonl.1"
    lines = JsonLines(str(out), rotate_bytes=200)
    lines({"type": "prediction", "number": 0})
    mine.write_text("a week of work\n")
    with pytest.raises(OutputError, match=r"out.jsonl.1 exists and was not written by mar-edge"):
        for number in range(1, 50):
            lines({"type": "prediction", "number": number})
    lines.close()
    assert mine.read_text() == "a week of work\n"
    assert read(out) == list(range(len(read(out))))
    assert sorted(path.name for path in tmp_path.iterdir()) == [out.name, mine.name]


def test_a_file_of_others_is_never_kept_as_an_older_one(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("a week of work\n")
    with pytest.raises(OutputError, match="was not written by mar-edge"):
        write(out, range(1))
    write(out, range(1), force=True)
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_what_cannot_be_rotated(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for target in ("-", str(tmp_path / "pipe"), "/dev/null"):
        with pytest.raises(OptionError, match="cannot be rotated by size. Name a file"):
            JsonLines(target, rotate_bytes=1000)
    with pytest.raises(OptionError, match="at least 1"):
        JsonLines(str(tmp_path / "out.jsonl"), rotate_bytes=1000, keep=0)


def test_the_sink_writes_all_but_frames_and_never_to_an_input(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    sink = JsonLinesSink(str(out))
    assert "frame" not in sink.wants
    for record in (prediction(1.0), started("e1", 0.5), shown(1.0)):
        sink.write(record)
    sink.close()
    assert [json.loads(line)["type"] for line in out.read_text().splitlines()] == ["prediction", "event"]
    (tmp_path / "in.jsonl.1").write_bytes(out.read_bytes())
    for target, size in (("in.jsonl.1", None), ("in.jsonl", 1000)):
        with pytest.raises(OutputError, match="is read by this command"):
            JsonLinesSink(str(tmp_path / target), inputs=[tmp_path / "in.jsonl.1"], rotate_bytes=size)
