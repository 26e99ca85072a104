"""JSON lines, and what they leave alone."""

from __future__ import annotations

import json
import os
import select
import threading
from pathlib import Path

import pytest

from mar_edge.errors import OutputError
from mar_edge.runtime.sinks.json_lines import SCHEMA, JsonLines, JsonLinesSink
from tests.fakes.shown_frames import prediction


def test_json_lines_to_a_file(tmp_path: Path) -> None:
    lines = JsonLines(str(tmp_path / "out.json"))
    lines({"type": "summary", "stream": "ä"})
    lines({"type": "summary"})
    lines.close()
    first, second = [json.loads(line) for line in (tmp_path / "out.json").read_text().splitlines()]
    assert list(first.items()) == [("type", "summary"), ("schema", SCHEMA), ("stream", "ä")]
    assert second == {"type": "summary"}


def test_neither_file_nor_folder_appears_before_the_first_record(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "er" / "out.json"
    lines = JsonLines(str(out))
    lines.close()
    assert list(tmp_path.iterdir()) == []
    lines = JsonLines(str(out))
    lines({"type": "summary"})
    lines.close()
    assert len(out.read_text().splitlines()) == 1
    lines = JsonLines(str(tmp_path / "taken.json"))
    (tmp_path / "taken.json").write_text("by another program meanwhile")
    with pytest.raises(OutputError, match="was not written by mar-edge"):
        lines({"type": "summary"})
    assert (tmp_path / "taken.json").read_text() == "by another program meanwhile"


def test_older_lines_stay_until_the_first_record_and_other_files_for_good(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    for name in ("old", "new"):
        lines = JsonLines(str(out))
        assert name == "old" or "old" in out.read_text()
        lines({"type": "summary", "stream": name})
        lines.close()
    assert [json.loads(line)["stream"] for line in out.read_text().splitlines()] == ["new"]
    (tmp_path / "clip.mp4").write_bytes(b"\x00\x00\x00\x20ftyp")
    with pytest.raises(OutputError, match="was not written by mar-edge as a file of JSON lines"):
        JsonLines(str(tmp_path / "clip.mp4"))
    assert (tmp_path / "clip.mp4").read_bytes() == b"\x00\x00\x00\x20ftyp"


def test_a_file_in_a_folder_where_no_other_can_be_made_is_written_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("mar_edge.runtime.sinks.json_lines.NewFile", forbidden)
    with pytest.raises(OutputError, match="Permission denied. Choose a file you can write to"):
        JsonLines(str(tmp_path / "new.json"))
    out = tmp_path / "out.json"
    out.touch()
    number = out.stat().st_ino
    for name in ("old", "new"):
        lines = JsonLines(str(out))
        lines({"type": "summary", "stream": name})
        lines({"type": "summary", "stream": name})
        lines.close()
    assert [json.loads(line)["stream"] for line in out.read_text().splitlines()] == ["new", "new"]
    assert out.stat().st_ino == number


def test_lines_are_in_the_file_as_they_come_and_without_one_the_old_file_stays(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    lines = JsonLines(str(out))
    for count in (1, 2):
        lines({"type": "summary"})
        assert len(out.read_text().splitlines()) == count
    JsonLines(str(out)).close()
    assert len(out.read_text().splitlines()) == 2
    lines.close()
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_a_full_disk_is_told() -> None:
    lines = JsonLines("/dev/full")
    with pytest.raises(OutputError, match="cannot write /dev/full: No space left"):
        lines({"type": "summary"})


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Not a directory. Choose a path you can write to"):
        JsonLines(str(tmp_path / "file" / "deep" / "out.json"))
    with pytest.raises(OutputError, match="is a folder; name a file in it"):
        JsonLines(str(tmp_path))


@pytest.mark.parametrize("rotate_bytes", [None, 1000])
def test_a_file_that_another_run_still_writes_is_not_replaced(tmp_path: Path, rotate_bytes: int | None) -> None:
    out = tmp_path / "out.jsonl"
    first = JsonLinesSink(str(out), rotate_bytes=rotate_bytes)
    first.write(prediction(0.1))
    for force in (False, True):
        with pytest.raises(OutputError, match="out.jsonl is being written by another output or program"):
            JsonLinesSink(str(out), force=force, rotate_bytes=rotate_bytes)
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
    first.close()
    JsonLinesSink(str(out), rotate_bytes=rotate_bytes).close()


def test_a_pipe_that_nobody_reads_holds_up_its_own_records_only(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    sink = JsonLinesSink(str(pipe))  # does not wait
    writing = threading.Thread(target=sink.write, args=(prediction(0.1),))
    writing.start()
    with pipe.open() as reader:
        writing.join(10)
        sink.close()
        (line,) = reader.read().splitlines()
    assert json.loads(line)["type"] == "prediction"


def test_who_reads_a_pipe_that_gets_no_record_sees_its_end(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    sink = JsonLinesSink(str(pipe))
    polled = select.poll()
    polled.register(reader, select.POLLHUP)
    assert not polled.poll(0)
    sink.close()
    assert polled.poll(1000)
    os.close(reader)
