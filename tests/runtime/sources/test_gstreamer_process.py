"""Runs `test_gstreamer.py` in a process of its own: the system's plugins and OpenVINO's wheel in one process abort it."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.conftest import ROOT
from tests.runtime.sources.conftest import OWN_PROCESS


def test_gstreamer() -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/runtime/sources/test_gstreamer.py",
    ]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, OWN_PROCESS: "1"}, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
