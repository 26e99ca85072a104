"""A sink in a separate thread, so that a live stream never waits for it."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from typing import Any

from mar_edge.errors import OutputError
from mar_edge.reporting import Warn, no_warning
from mar_edge.runtime.sinks.sink import Sink


class Background:
    """Feeds a sink from a thread, so that a slow or broken one never blocks a live stream.

    Records that do not fit into the queue are dropped and counted. A sink that fails is not called again.

    Args:
        sink: called with each record in the background.
        depth: records that may wait.
        warn: called once when a record is dropped, and once when the sink fails; from either thread.

    Attributes:
        dropped: records that never reached the sink.
    """

    def __init__(self, sink: Sink, *, depth: int = 256, warn: Warn = no_warning) -> None:
        self.dropped = 0
        self._sink = sink
        self._warn = warn
        self._waiting: queue.Queue[dict[str, Any] | None] = queue.Queue(depth)
        self._broken = False
        self._thread = threading.Thread(target=self._feed, name="mar-edge sink", daemon=True)
        self._thread.start()

    def __call__(self, record: dict[str, Any]) -> None:
        """Queue a record; never waits."""
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
        """Wait for the queued records for a limited time, then stop.

        Returns:
            Whether the sink has finished; records that it still blocks count as dropped.
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
                self._warn(f"an output failed and is disabled: {error}")
