"""An output that takes nothing, as a pipe that nobody reads."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.live.command import Command


@pytest.mark.parametrize("realtime", ["yes", "no"])
def test_the_end_of_a_live_run_leaves_it_behind_and_that_of_a_recording_says_what_it_waits_for(
    tmp_path: Path, realtime: str
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    source = f"demo:realtime={realtime},size=160x120,fps=15"
    with Command(tmp_path / "run", "run", "--source", source, "--max-seconds", "2", "--json", pipe) as command:
        if realtime == "yes":
            assert command.process.wait(10) == 0
        else:
            waits = f"mar-edge: waiting for JSON lines in {pipe} to take "
            command.until(lambda: waits in command.stderr, "the notice")
            assert command.stop(signal.SIGINT)[0] == 130
        assert f"JSON lines in {pipe}: 1 summary was not written" in command.stderr
        assert "Traceback" not in command.stderr
