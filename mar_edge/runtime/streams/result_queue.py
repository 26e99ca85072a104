"""Results on their way to a program that iterates over them at its own pace."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace

from mar_edge.runtime.results import Kind, Prediction, Record

DEPTH = 64
LARGEST = 10_000


class ResultQueue:
    """Holds results until they are taken.

    Of a live stream only the newest prediction waits, with the events of those that it replaces: who takes results slowly
    gets fresh ones. Events and notices are kept up to a bound, then the oldest are dropped. A stream that waits, as a file
    does, is held by `wait_for_room`, and loses nothing.

    Args:
        wants: kinds of records that are kept.

    Attributes:
        skipped: predictions that a newer one replaced before they were taken, by stream.
        dropped: other records that were lost.
    """

    def __init__(self, wants: frozenset[Kind]) -> None:
        self.wants = wants
        self.skipped: dict[str, int] = {}
        self.dropped = 0
        self._changed = threading.Condition()
        self._waiting: deque[Record] = deque()
        self._closed = False

    def put(self, record: Record, *, keep: bool = False) -> None:
        """Add a record; never waits.

        Args:
            record: of a kind that is wanted.
            keep: keep every prediction; for streams that call `wait_for_room`.
        """
        with self._changed:
            if self._closed:
                return
            if isinstance(record, Prediction) and not keep:
                record = self._replace_older(record)
            self._waiting.append(record)
            if not keep and len(self._waiting) > LARGEST:
                self._waiting.popleft()
                self.dropped += 1
            self._changed.notify_all()

    def wait_for_room(self, timeout_s: float | None = None) -> bool:
        """Wait until there is room, or nothing more is wanted; return whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: self._closed or len(self._waiting) < DEPTH, timeout_s)

    def get(self, timeout_s: float | None = None) -> Record | None:
        """Return the next record; None if none comes in time, and at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed, timeout_s)
            if not self._waiting:
                return None
            self._changed.notify_all()
            return self._waiting.popleft()

    @property
    def ended(self) -> bool:
        """Whether nothing waits and nothing more comes."""
        with self._changed:
            return self._closed and not self._waiting

    def close(self) -> None:
        """Say that nothing more comes; what waits can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _replace_older(self, newer: Prediction) -> Prediction:
        for place, older in enumerate(self._waiting):
            if isinstance(older, Prediction) and older.stream == newer.stream:
                del self._waiting[place]
                self.skipped[newer.stream] = self.skipped.get(newer.stream, 0) + 1
                if not older.events:
                    return newer
                events = (*older.events, *newer.events)
                self.dropped += max(0, len(events) - LARGEST)
                return replace(newer, events=events[-LARGEST:])
        return newer
