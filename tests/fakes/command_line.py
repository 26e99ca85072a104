"""The command line as a process, and what it prints.

The processes are forked from a server that has imported the heavy modules once: to import torch and its exporter anew
takes seconds. Tests of signals, limits and standard input use new ones.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mar_edge.cli.main import main

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.fakes.heavy_imports"])


def mar_edge(
    *arguments: str | Path, cwd: Path | None = None, columns: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own; its environment is that of the test, without a display."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = Path(folder) / "stdout", Path(folder) / "stderr"
        process = start(*arguments, outputs=outputs, cwd=cwd, columns=columns)
        process.join(timeout=300)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"mar-edge {' '.join(map(str, arguments))}: {outputs[1].read_text()}")
        stdout, stderr = (path.read_text() for path in outputs)
        return subprocess.CompletedProcess(arguments, process.exitcode, stdout, stderr)


def start(
    *arguments: str | Path, outputs: tuple[Path, Path], cwd: Path | None = None, columns: int | None = None
) -> multiprocessing.process.BaseProcess:
    """Start it, with the files that receive standard output and standard error, and do not wait for its end."""
    environment = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    if columns is not None:
        environment["COLUMNS"] = str(columns)
    words = [str(argument) for argument in arguments]
    process = _PROCESSES.Process(target=_run, args=(words, environment, cwd or Path.cwd(), *outputs))
    process.start()
    return process


def new_process(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process that nothing prepared, with options of `subprocess.run`."""
    command = [sys.executable, "-m", "mar_edge", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


def _run(words: list[str], environment: dict[str, str], folder: Path, stdout: Path, stderr: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for number, path in ((1, stdout), (2, stderr)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), number)
    # the script itself: a training starts it once more for every further process
    sys.argv = [str(Path(sys.executable).with_name("mar-edge")), *words]
    main()


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
