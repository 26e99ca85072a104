"""What must hold of the results, checked as they come, in memory that does not grow with the hours."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field

from mar_edge.runtime.results import EventEnded, EventStarted, Kind, Notice, Prediction, Record, StreamStatus

RECENT = 1000


@dataclass
class _Life:
    """One stream, from its first record to its summary."""

    predictions: int = 0
    events: int = 0
    newest_s: float = -1.0
    arrived_s: float = 0.0
    open: str | None = None
    ended_s: float = -1.0


@dataclass
class Checks:
    """A sink that never fails, beside those that do.

    Attributes:
        problems: what was wrong; must stay empty.
        counts: records by kind.
        notices: by code.
        expected: events in order that the broker has not delivered yet.
        latencies_ms: the newest ones.
    """

    problems: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    notices: Counter[str] = field(default_factory=Counter)
    expected: deque[tuple[str, str]] = field(default_factory=deque)
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    delivered: int = 0
    repeated: int = 0
    _lives: dict[str, _Life] = field(default_factory=dict)
    _recent: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=RECENT))
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    name = "checks"
    wants: frozenset[Kind] = frozenset({"prediction", "event", "notice", "summary"})

    def write(self, record: Record) -> None:
        """Check a record."""
        with self._mutex:
            self.counts[record.kind] += 1
            if isinstance(record, Notice):
                self.notices[record.code] += 1
                return
            life = self._lives.setdefault(record.stream, _Life())
            if isinstance(record, Prediction):
                self._prediction(life, record)
            elif isinstance(record, (EventStarted, EventEnded)):
                self._event(life, record)
            elif isinstance(record, StreamStatus):
                self._summary(life, record)

    def close(self) -> None:
        """Do nothing."""

    def delivered_by_broker(self, event: tuple[str, str]) -> None:
        """Check that an event's identity and phase is the next one, or was delivered before."""
        with self._mutex:
            if event in self._recent:
                self.repeated += 1
                return
            self._recent.append(event)
            self.delivered += 1
            if not self.expected or self.expected[0] != event:
                self._wrong(f"the broker delivered {event}, not {list(self.expected)[:3]}")
                if event not in self.expected:
                    return
                while self.expected[0] != event:
                    self.expected.popleft()
            self.expected.popleft()

    def result_age_s(self, stream: str) -> float:
        """Return for how long a stream has had no result, seconds."""
        with self._mutex:
            life = self._lives.get(stream)
            return time.monotonic() - life.arrived_s if life is not None else float("inf")

    def open_events(self) -> list[str]:
        """Return the streams that have an event without an end."""
        with self._mutex:
            return [stream for stream, life in self._lives.items() if life.open is not None]

    def _prediction(self, life: _Life, record: Prediction) -> None:
        life.predictions += 1
        life.arrived_s = time.monotonic()
        self.latencies_ms.append(record.latency_ms)
        if record.time_s <= life.newest_s:
            self._wrong(f"{record.stream}: {record.time_s} s after {life.newest_s} s")
        life.newest_s = record.time_s
        if record.captured_at is None:
            self._wrong(f"{record.stream}: a live result has no time of the day")

    def _event(self, life: _Life, record: EventStarted | EventEnded) -> None:
        self.expected.append((record.id, "start" if isinstance(record, EventStarted) else "end"))
        if isinstance(record, EventStarted):
            if life.open is not None or record.start_s < life.ended_s:
                self._wrong(f"{record.stream}: {record} while {life.open} is open, which ended at {life.ended_s} s")
            life.open = record.id
        else:
            if life.open != record.id or record.end_s < record.start_s:
                self._wrong(f"{record.stream}: {record}, but {life.open} is open")
            life.open, life.ended_s = None, record.end_s
            life.events += 1

    def _summary(self, life: _Life, record: StreamStatus) -> None:
        if life.open is not None:
            self._wrong(f"{record.stream} ended, and its event {life.open} did not")
        # a frame after a hole completes several time steps, of which all run and the last one predicts
        if life.predictions > record.inferences or life.events != record.events:
            self._wrong(f"{record.stream}: {life.predictions} results and {life.events} events, but {record}")
        del self._lives[record.stream]

    def _wrong(self, what: str) -> None:
        if len(self.problems) < 20:
            self.problems.append(what)
