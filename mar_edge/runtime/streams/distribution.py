"""Where the records of all streams go: the outlets of sinks, and the queues of those who iterate."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection

from mar_edge.runtime.results import Kind, Record
from mar_edge.runtime.sinks.outlet import Outlet
from mar_edge.runtime.sinks.sink import Sink
from mar_edge.runtime.streams.result_queue import ResultQueue


class Distribution:
    """Hands records to whoever wants them; from any thread."""

    def __init__(self) -> None:
        self._changing = threading.RLock()  # re-entrant: a signal's handler may stop the runner
        self._outlets: list[tuple[Outlet, frozenset[str] | None]] = []
        self._queues: list[ResultQueue] = []

    @property
    def outlets(self) -> list[Outlet]:
        """The outlets of all sinks."""
        with self._changing:
            return [outlet for outlet, _ in self._outlets]

    def add_sink(self, sink: Sink, streams: Collection[str] | None) -> Outlet:
        """Write to a sink from now on; None for the records of all streams."""
        outlet = Outlet(sink, notify=lambda notice: self.emit(notice, keep=False))
        with self._changing:
            self._outlets.append((outlet, None if streams is None else frozenset(streams)))
        return outlet

    def add_queue(self, queue: ResultQueue) -> None:
        """Put records into a queue from now on."""
        with self._changing:
            self._queues.append(queue)

    def remove_queue(self, queue: ResultQueue) -> None:
        """Put nothing into a queue any more."""
        with self._changing:
            self._queues.remove(queue)

    def emit(self, record: Record, *, keep: bool) -> None:
        """Hand a record over without waiting; see `Outlet.put`."""
        for taker in self._takers(record.stream):
            if record.kind in taker.wants:
                taker.put(record, keep=keep)

    def wants(self, stream: str, kind: Kind) -> bool:
        """Return whether a kind of a stream's records goes anywhere."""
        return any(kind in taker.wants for taker in self._takers(stream))

    def wait_for_room(self, stream: str, timeout_s: float) -> bool:
        """Wait until everything that a stream is written to has room; return whether it has."""
        end_s = time.monotonic() + timeout_s
        return all(taker.wait_for_room(max(0.0, end_s - time.monotonic())) for taker in self._takers(stream))

    def end_queues(self) -> None:
        """Say to those who iterate that nothing more comes."""
        with self._changing:
            queues = list(self._queues)
        for queue in queues:
            queue.close()

    def close(self, deadline_s: float | None) -> bool:
        """Let all sinks finish, at the same time, and close them.

        Args:
            deadline_s: `time.monotonic()` until which they may take; None for as long as they need.

        Returns:
            Whether all are closed; those that hang are left behind.
        """
        outlets = self.outlets
        for outlet in outlets:
            outlet.finish()
        well = True
        for outlet in outlets:
            well &= outlet.close(None if deadline_s is None else max(0.0, deadline_s - time.monotonic()))
        return well

    def _takers(self, stream: str) -> list[Outlet | ResultQueue]:
        with self._changing:
            outlets = [outlet for outlet, streams in self._outlets if streams is None or stream in streams]
            return [*outlets, *self._queues]
