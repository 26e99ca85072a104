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

    Args:
        target: a file's path, or `-` for stdout.

    Raises:
        OutputError: if the file cannot be opened.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self._file: IO[str]
        try:
            self._file = sys.stdout if target == "-" else Path(target).open("w", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise OutputError(f"cannot write {target}: {error.strerror}. Choose a file you can write to") from error

    def __call__(self, record: dict[str, Any]) -> None:
        """Write a record.

        Raises:
            OutputError: if it cannot be written: a full disk, or a reader that went away.
        """
        try:
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
        if self._file is sys.stdout:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._file.fileno())
        else:
            with suppress(OSError):
                self._file.close()


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

    def close(self, timeout_s: float = 2.0) -> None:
        """Give what waits a last chance to be written, then stop."""
        try:
            self._waiting.put(None, timeout=timeout_s)
        except queue.Full:
            return
        self._thread.join(timeout_s)

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
