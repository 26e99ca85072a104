"""Where results go: JSON lines to a file or to stdout, in the background for live streams."""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from mar_edge.errors import OutputError

Sink = Callable[[dict[str, Any]], None]


class JsonLines:
    """Writes one JSON object a line.

    A file that is there keeps its content until the first record comes, and is left alone if it is something else than
    JSON lines.

    Args:
        target: a file's path, or `-` for stdout.

    Raises:
        OutputError: if the file cannot be opened, or holds something else.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self._abandoned = False
        self._file: IO[str]
        try:
            self._file = sys.stdout if target == "-" else _open(Path(target))
        except OSError as error:
            raise OutputError(f"cannot write {target}: {error.strerror}. Choose a file you can write to") from error
        self._fresh = target != "-" and Path(target).is_file()

    def __call__(self, record: dict[str, Any]) -> None:
        """Write a record.

        Raises:
            OutputError: if it cannot be written: a full disk, or a reader that went away.
        """
        if self._abandoned:
            return
        try:
            if self._fresh:
                self._file.truncate(0)
            self._fresh = False
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
        except OSError as error:
            self._abandon()
            if isinstance(error, BrokenPipeError):
                raise OutputError("the reader of the JSON lines went away") from error
            raise OutputError(f"cannot write {self.target}: {error.strerror}") from error

    def close(self) -> None:
        """Close the file; stdout stays open."""
        if self._file is not sys.stdout:
            self._file.close()

    def _abandon(self) -> None:
        """Let go of what is still buffered; Python would try to write it again, and fail again, at exit."""
        self._abandoned = True
        if self._file is sys.stdout:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._file.fileno())
        else:
            with suppress(OSError):
                self._file.close()


def _open(path: Path) -> IO[str]:
    file = path.open("a+", encoding="utf-8", errors="replace") if path.is_file() else path.open("w", encoding="utf-8")
    if path.is_file() and path.stat().st_size:
        file.seek(0)
        if file.read(1) != "{":
            file.close()
            raise OutputError(f"{path} holds something else than JSON lines; choose another name or remove it")
    return file


class Background:
    """Feeds a sink from a thread, so that a slow or broken one never holds a live stream up.

    What does not fit into the queue is dropped and counted. A sink that fails is not called again.

    Args:
        sink: called with each record in the background.
        depth: records that may wait.
        warn: told once when a record is dropped, and once when the sink fails; from either thread.

    Attributes:
        dropped: records that never reached the sink.
    """

    def __init__(self, sink: Sink, *, depth: int = 256, warn: Callable[[str], None] = lambda _message: None) -> None:
        self.dropped = 0
        self._sink = sink
        self._warn = warn
        self._waiting: queue.Queue[dict[str, Any] | None] = queue.Queue(depth)
        self._broken = False
        self._thread = threading.Thread(target=self._feed, name="mar-edge sink", daemon=True)
        self._thread.start()

    def __call__(self, record: dict[str, Any]) -> None:
        """Hand a record over; never waits."""
        if self._broken:
            self.dropped += 1
            return
        try:
            self._waiting.put_nowait(record)
        except queue.Full:
            self.dropped += 1
            if self.dropped == 1:
                self._warn("an output is too slow; some of its records are dropped")

    def close(self, timeout_s: float = 2.0) -> bool:
        """Give what waits a last chance to be written, then stop.

        Returns:
            Whether the sink has let go; what it still holds up counts as dropped.
        """
        with suppress(queue.Full):
            self._waiting.put(None, timeout=timeout_s)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._broken = True
            self.dropped += self._waiting.qsize() + 1
            return False
        return True

    def _feed(self) -> None:
        while (record := self._waiting.get()) is not None:
            if self._broken:
                self.dropped += 1
                continue
            try:
                self._sink(record)
            except OutputError as error:
                self._broken = True
                self.dropped += 1
                self._warn(f"an output failed and is switched off: {error}")
