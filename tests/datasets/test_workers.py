"""Work on all cores survives what a file does to a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from mar_edge.datasets.workers import over_all_cores
from tests.conftest import ROOT


def double(number: int) -> int:
    if number == 13:
        os.kill(os.getpid(), signal.SIGSEGV)
    if number == 99:
        raise OSError("no")
    return 2 * number


def sleep(mark: str) -> None:
    Path(mark).write_text(str(os.getpid()))
    time.sleep(60)


def test_every_job_is_done_once() -> None:
    assert dict(over_all_cores(double, range(12))) == {number: 2 * number for number in range(12)}
    assert dict(over_all_cores(double, [])) == {}


def test_a_job_that_crashes_costs_only_itself() -> None:
    jobs = [*range(12, 30), 13]
    done = list(over_all_cores(double, jobs))
    assert len(done) == len(jobs)
    assert dict(done) == {place: None if job == 13 else 2 * job for place, job in enumerate(jobs)}


def test_what_a_job_raises_reaches_the_caller() -> None:
    with pytest.raises(OSError, match="no"):
        list(over_all_cores(double, [1, 99, 2]))


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    marks = [str(tmp_path / name) for name in "ab"]
    code = f"from mar_edge.datasets.workers import over_all_cores; from tests.datasets.test_workers import sleep; list(over_all_cores(sleep, {marks}))"
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    until_s = time.monotonic() + 60
    while not Path(marks[0]).exists() or not Path(marks[0]).read_text():
        assert time.monotonic() < until_s
        time.sleep(0.05)
    worker = psutil.Process(int(Path(marks[0]).read_text()))
    parent.kill()
    parent.wait()
    worker.wait(10)
    assert not worker.is_running()


def test_a_script_without_a_guard_is_told(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("from mar_edge.datasets.workers import over_all_cores\nlist(over_all_cores(abs, [1, 2]))\n")
    # Python's own process that cleans up after the others may be the last one to write
    quiet = {**os.environ, "PYTHONWARNINGS": "ignore:resource_tracker"}
    done = subprocess.run([sys.executable, script], cwd=ROOT, capture_output=True, text=True, timeout=60, env=quiet)
    assert done.returncode == 1
    assert "needs `if __name__ == '__main__':`" in done.stderr.splitlines()[-1]
