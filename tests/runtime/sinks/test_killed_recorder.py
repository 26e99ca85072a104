"""kill -9 while recording: videos play up to the last second, JSON lines are whole but for the last."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mar_edge.runtime.sinks.json_lines import SCHEMA
from tests.conftest import ROOT
from tests.fakes.shown_frames import check_plays, times_s


@pytest.mark.parametrize("frames", [100, 137, 163])
def test_what_a_killed_recorder_leaves(tmp_path: Path, frames: int) -> None:
    command = [sys.executable, "-m", "tests.fakes.recorder", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout is not None
        lines = [float(child.stdout.readline()) for _ in range(frames)]
        child.kill()
        lines += [float(line) for line in child.stdout.read().split()]
    assert child.returncode == -9
    last_s = lines[-1]

    out = tmp_path / "out.mp4"
    check_plays(out)
    times = times_s(out)
    assert last_s - 1 <= times[-1] <= last_s + 1 / 29
    assert times == pytest.approx([index / 30 for index in range(len(times))], abs=1e-3)

    (clip,) = (tmp_path / "clips").glob("*.mp4")
    check_plays(clip)
    described = json.loads(clip.with_suffix(".json").read_bytes())
    assert described["event"]["phase"] == "start"
    assert last_s - 1 <= described["start_s"] + times_s(clip)[-1] <= last_s + 1 / 29

    files = [*sorted(tmp_path.glob("out.jsonl.*"), reverse=True), tmp_path / "out.jsonl"]
    assert len(files) > 1
    records = []
    for path in files:
        text = path.read_bytes()
        whole = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith(b"\n")]
        assert whole[0]["schema"] == SCHEMA
        assert text.endswith(b"\n") or path == files[-1]
        records += whole
    shown_s = [record["time_s"] for record in records if record["type"] == "prediction"]
    assert shown_s == pytest.approx([index / 30 for index in range(len(shown_s))], abs=1e-3)
    assert shown_s[-1] >= last_s - 1e-3

    again = subprocess.run(
        [sys.executable, "-c", RESTART, str(tmp_path)], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert (again.returncode, again.stderr) == (0, "")
    assert times_s(out) == [0.0]
    assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == 1
    assert not list(tmp_path.rglob(".*"))


RESTART = """
import sys
from mar_edge.runtime.sinks.json_lines import JsonLinesSink
from mar_edge.runtime.sinks.recording import Recording
from tests.fakes.shown_frames import prediction, shown
video = Recording(sys.argv[1] + "/out.mp4")
lines = JsonLinesSink(sys.argv[1] + "/out.jsonl", rotate_bytes=10_000)
video.write(shown(0.0))
lines.write(prediction(0.0))
video.close()
lines.close()
"""
