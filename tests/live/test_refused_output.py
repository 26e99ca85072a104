"""An output that cannot be opened ends the command before it begins, and those that were opened before leave nothing behind."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.live.command import Command
from tests.servers.mosquitto import Broker, Listener, wait_until


def test_nothing_is_left_of_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    with Broker(tmp_path) as broker, socket.create_server(("127.0.0.1", 0)) as taken:
        listener = Listener(broker)
        outputs: list[str | Path] = [
            "--json",
            folder / "out.jsonl",
            "--video",
            folder / "out.mp4",
            "--clips",
            folder / "clips",
        ]
        outputs += ["--mqtt", f"mqtt://127.0.0.1:{broker.port}/site?spool={tmp_path}/spool"]
        outputs += ["--metrics", f"127.0.0.1:{taken.getsockname()[1]}"]
        with Command(tmp_path / "run", "run", "--source", "demo", *outputs) as command:
            assert command.process.wait(30) == 1
        (line,) = command.stderr.splitlines()
        assert line.startswith("mar-edge: cannot serve metrics at 127.0.0.1:") and "Choose another port" in line
        if listener.texts("site/status"):  # it was quicker than the metrics
            wait_until(lambda: listener.texts("site/status")[-1] == "offline", "the goodbye")
        listener.close()
    assert list(folder.iterdir()) == []
