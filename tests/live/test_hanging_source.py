"""A source that hangs where nothing can interrupt it, as a driver in C: the command ends all the same, and says so."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from tests.live.command import Command

HANGING = """
import sys
from mar_edge.cli.main import main
from mar_edge.runtime.streams import runner
from mar_edge.testing import Hang, Play, ScriptedSource

original = runner.open_source

def open_source(source, **options):
    return ScriptedSource([Play(1), Hang(60)], name="driver") if source == "driver" else original(source, **options)

runner.open_source = open_source
sys.argv = ["mar-edge", *sys.argv[1:]]
main()
"""


def test_ctrl_c_leaves_it_behind_and_says_so(tmp_path: Path) -> None:
    arguments = ["run", "--source", "driver", "--source", "demo:realtime=yes,size=160x120", "--json", "-"]
    with Command(tmp_path / "run", *arguments, program=(sys.executable, "-c", HANGING)) as command:
        # five results a second, and the source hangs after one
        command.until(lambda: len(command.records("prediction", stream="demo")) > 8, "results beside it")
        code, took_s = command.stop(signal.SIGINT)
        assert code == 130
        assert took_s < 2.5  # the 2 s, and the end of Python itself
        (abandoned,) = (one for one in command.records("warning") if one["code"] == "abandoned")
        assert abandoned["message"] == "driver: its source does not respond; it is left behind"
        assert {one["stream"] for one in command.records("summary")} == {"driver", "demo"}
    assert "Traceback" not in command.stderr
    assert "driver: its source does not respond" in command.stderr
