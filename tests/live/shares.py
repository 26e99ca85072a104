"""Counts the predictions of every stream of a runner."""

from __future__ import annotations

import time
from collections import Counter

from mar_edge.runtime.results import Kind, Prediction, Record
from mar_edge.runtime.streams.runner import Runner


class Shares:
    """A sink that counts predictions by stream."""

    name = "shares"
    wants: frozenset[Kind] = frozenset(("prediction",))

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def write(self, record: Record) -> None:
        """Count it."""
        self.counts[record.stream] += isinstance(record, Prediction)

    def close(self) -> None:
        """Nothing to do."""

    def rates(self, seconds: float) -> dict[str, float]:
        """Count for some time; return predictions per second by stream."""
        began, began_s = self.counts.copy(), time.monotonic()
        time.sleep(seconds)
        now, passed_s = self.counts.copy(), time.monotonic() - began_s
        return {stream: (now[stream] - began[stream]) / passed_s for stream in now}


def until_all_live(runner: Runner, timeout_s: float = 30.0) -> None:
    """Wait until every stream of a runner has results."""
    end_s = time.monotonic() + timeout_s
    while not all(status.inferences for status in runner.status()):
        assert time.monotonic() < end_s, [status.state for status in runner.status()]
        time.sleep(0.02)


def furthest_from_fair(rates: dict[str, float]) -> float:
    """Return how far the share of a stream is from that of all, at most; 0.1 for 10 percent."""
    fair = sum(rates.values()) / len(rates)
    return max(abs(rate / fair - 1) for rate in rates.values())
