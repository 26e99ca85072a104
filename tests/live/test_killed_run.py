"""kill -9 to `mar-edge run` while it records and publishes: what it leaves on the disk can be used, and the next run goes on from it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fakes.shown_frames import check_plays, times_s
from tests.live.command import Command
from tests.servers.mosquitto import Broker, Listener, wait_until

DEMO = "demo:realtime=yes,loops=forever,size=320x240,fps=15"


def test_what_a_killed_run_leaves(tmp_path: Path) -> None:
    video, clips, lines = tmp_path / "out.mp4", tmp_path / "clips", tmp_path / "out.jsonl"
    broker = Broker(tmp_path)  # not started: events wait in the spool
    url = f"mqtt://127.0.0.1:{broker.port}/site?spool={tmp_path}/spool"
    arguments: list[str | Path] = [
        "run",
        "--source",
        DEMO,
        "--video",
        video,
        "--clips",
        clips,
        "--json",
        lines,
        "--mqtt",
        url,
    ]

    def records() -> list[dict[str, object]]:
        whole = [line for line in lines.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        return [json.loads(line) for line in whole]

    def started() -> list[object]:
        return [record["id"] for record in records() if record["type"] == "event"] if lines.exists() else []

    with Command(tmp_path / "first", *arguments) as command:
        command.until(started, "an event")
        seen = len(records())
        command.until(lambda: len(records()) > seen + 7, "more than a second within it")
        command.process.kill()
        assert command.process.wait() == -9

    predictions = [record for record in records() if record["type"] == "prediction"]
    last_s = float(str(predictions[-1]["time_s"]))
    assert last_s > 5
    check_plays(video)
    assert last_s - 1 <= times_s(video)[-1] <= last_s + 1
    (clip,) = clips.glob("*.mp4")
    check_plays(clip)
    described = json.loads(clip.with_suffix(".json").read_bytes())
    assert described["event"]["phase"] == "start"
    assert last_s - 1 <= described["start_s"] + times_s(clip)[-1] <= last_s + 1
    (first,) = started()

    with broker:
        listener = Listener(broker)
        with Command(tmp_path / "second", *arguments) as command:
            command.until(lambda: listener.objects("/event"), "the event of the killed run")
            command.until(lambda: first not in started() and len(records()) > 3, "results of this run")
            code, took_s = command.stop()
            assert (code, took_s < 2) == (130, True), command.stderr
        own = [(record["id"], record["phase"]) for record in records() if record["type"] == "event"]
        wait_until(lambda: len(listener.objects("/event")) >= 1 + len(own), "its events")
        listener.close()
    arrived = [(one["id"], one["phase"]) for one in listener.objects("/event")]
    assert arrived == [(first, "start"), *own]
    assert "1 event waits from an earlier run, and will be sent first" in command.stderr
    check_plays(video)
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]  # no unfinished file of either run
    assert list(clips.glob("*.mp4")) == [clip]
