"""`mar-edge run` as a child process, whose output is read while it runs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from tests.conftest import ROOT

MAR_EDGE = (sys.executable, "-m", "mar_edge")


class Command:
    """A command that runs; use it as a context manager, which kills it at the end.

    Args:
        folder: for its standard error, and its cache and spool.
        *arguments: of the program.
        program: what is run.

    Attributes:
        lines: of its standard output so far.
        process: the child.
    """

    def __init__(self, folder: Path, *arguments: str | Path, program: tuple[str, ...] = MAR_EDGE) -> None:
        folder.mkdir(exist_ok=True)
        self.lines: list[str] = []
        self._stderr = folder / "stderr"
        with self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*program, *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=ROOT,
            )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def __enter__(self) -> Command:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill it, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reading.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    @property
    def stderr(self) -> str:
        """What it has written to standard error."""
        return self._stderr.read_text()

    def records(self, kind: str | None = None, *, stream: str | None = None) -> list[dict[str, Any]]:
        """Return the JSON lines so far, of a type and of a stream; every line must be one."""
        found = [json.loads(line) for line in list(self.lines)]
        return [one for one in found if kind in (None, one["type"]) and stream in (None, one["stream"])]

    def until(self, condition: Callable[[], object], what: str, timeout_s: float = 20) -> None:
        """Wait for a condition, and fail if it does not come true or the command ends."""
        end_s = time.monotonic() + timeout_s
        while not condition():
            assert self.process.poll() is None, f"it ended before {what}: {self.stderr}"
            assert time.monotonic() < end_s, f"{what} took more than {timeout_s:g} s: {self.stderr}"
            time.sleep(0.02)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """End it by a signal; return its exit code and how long it took, seconds. No child of it may be left."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        began_s = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(20)
        took_s = time.monotonic() - began_s
        self._reading.join()
        assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
        return code, took_s

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
