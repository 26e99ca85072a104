"""Streams that cannot go on while others do."""

from __future__ import annotations

from pathlib import Path

from tests.live.command import Command


def test_why_a_stream_has_ended_is_told_while_the_others_go_on(tmp_path: Path) -> None:
    sources = ("--source", "demo:loops=forever,size=160x120,fps=15", "--source", "missing.mp4")
    with Command(tmp_path / "run", "run", *sources, "--json", "-") as command:
        command.until(lambda: command.records("prediction", stream="demo"), "a result of the other stream")
        (told,) = command.records("warning")
        assert (told["stream"], told["code"]) == ("missing.mp4", "not-found")
        assert told["message"] == "missing.mp4 has ended: no such file: missing.mp4"
        code, _ = command.stop()
        assert code == 130
    assert f"warning: {told['message']}" in command.stderr.splitlines()
