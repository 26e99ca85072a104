"""SIGHUP: the site file is read again while its streams run."""

from __future__ import annotations

import signal
from pathlib import Path

import yaml

from tests.live.command import Command

DEMO = "demo:realtime=yes,loops=forever,size=160x120,fps=15"


def write_site(path: Path, *names: str, out: str = "-", **options: object) -> None:
    """Write a site file with streams of those names."""
    streams = [{"name": name, "source": f"{DEMO},seed={number}", **options} for number, name in enumerate(names)]
    path.write_text(yaml.safe_dump({"streams": streams, "sinks": [{"json": out}]}))


def test_streams_come_and_go_and_a_broken_file_changes_nothing(tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    write_site(site, "gate", "yard")
    with Command(tmp_path / "run", "run", "--config", site) as command:

        def results(stream: str) -> int:
            return len(command.records("prediction", stream=stream))

        def said(text: str) -> bool:
            return any(text in record["message"] for record in command.records("warning"))

        def goes_on(stream: str) -> None:
            before = results(stream)
            command.until(lambda: results(stream) > before + 2, f"more of {stream}")

        command.until(lambda: results("gate") and results("yard"), "results of both")

        write_site(site, "gate", "roof")
        command.process.send_signal(signal.SIGHUP)
        command.until(lambda: results("roof"), "the new stream")
        assert said("site.yaml was read again: 1 stream added (roof), 1 stream removed (yard)")
        (summary,) = command.records("summary")
        assert summary["stream"] == "yard" and summary["inferences"] == results("yard")
        first_s = [record["time_s"] for record in command.records("prediction", stream="gate")]

        site.write_text(site.read_text().replace("source:", "sorce:", 1))
        command.process.send_signal(signal.SIGHUP)
        command.until(lambda: said("refused, nothing is changed"), "the refusal")
        (refusal,) = (record for record in command.records("warning") if record["code"] == "site-refused")
        assert "sorce" in refusal["message"] and "source" in refusal["message"]
        goes_on("gate")
        goes_on("roof")

        write_site(site, "gate", "roof", hop=3)  # the model does not take it
        command.process.send_signal(signal.SIGHUP)
        command.until(lambda: said("hop 3 is invalid"), "the second refusal")
        goes_on("gate")
        goes_on("roof")

        write_site(site, "gate", "roof", out="other.jsonl", hop=4)
        command.process.send_signal(signal.SIGHUP)
        command.until(lambda: said("2 streams changed (gate, roof), outputs differ"), "the change")
        assert said("the outputs change when mar-edge is started again")
        goes_on("roof")

        times_s = [record["time_s"] for record in command.records("prediction", stream="gate")]
        assert first_s == times_s[: len(first_s)] == sorted(first_s)  # it was not touched by the first change
        code, took_s = command.stop()
        assert (code, took_s < 2) == (130, True), command.stderr
        ended = [summary["stream"] for summary in command.records("summary")]
        assert sorted(ended) == ["gate", "gate", "roof", "roof", "yard"]
    assert "Traceback" not in command.stderr
