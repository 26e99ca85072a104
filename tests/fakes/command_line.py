"""The command line as a process, and what it prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def mar_edge(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line; the environment has no display."""
    environment = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, "-m", "mar_edge", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, **options)


def records(text: str) -> list[dict[str, Any]]:
    """Read JSON lines; every one must be an object whose first key is `type`."""
    out = [json.loads(line) for line in text.splitlines()]
    assert all(next(iter(record)) == "type" for record in out)
    return out


def fails_with(says: str, *arguments: str | Path) -> None:
    """Check for exit code 1 and one line that says what to do."""
    done = mar_edge(*arguments)
    lines = [line for line in done.stderr.splitlines() if line]
    assert done.returncode == 1, done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("mar-edge: ")
    assert says in lines[0], lines[0]
