"""Latency, memory, threads and open files of a live run of the built-in model, minute by minute.

PYTHONPATH=. python benchmarks/long_run.py [--minutes 30] [--no-rtsp] [--out FILE.csv]

Two streams on one engine: the demo camera at 15 fps, and an RTSP server of GStreamer in a child process at 15 fps. `latency` is from the
arrival of a window's newest frame to its result at a sink. A delay that grows before arrival, in the network or a decoder, would show as
`behind`: how far the time of the newest frame lies behind the clock on the wall, since the first frame. The slopes are those of straight
lines through the minutes but the first, with twice their standard errors.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil

import mar_edge
from mar_edge.runtime.results import Kind, Notice, Prediction, Record
from tests.servers.rtsp import RtspServer

DEMO = "demo:realtime=yes,loops=forever,size=320x240,fps=15"
COLUMNS = (
    "minute stream results latency_ms p95_ms longest_ms behind_ms inference_ms rss_mb threads descriptors cpu_percent"
)


class Latencies:
    """A sink that collects the latencies of the present minute.

    Attributes:
        notices: what was said.
    """

    name = "latencies"
    wants: frozenset[Kind] = frozenset({"prediction", "notice"})

    def __init__(self) -> None:
        self.notices: list[str] = []
        self._mutex = threading.Lock()
        self._fresh: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
        self._origin_s: dict[str, float] = {}

    def write(self, record: Record) -> None:
        """Note a result as it arrives."""
        if isinstance(record, Notice):
            self.notices.append(f"{record.code}: {record.message}")
        if not isinstance(record, Prediction) or record.captured_at is None:
            return
        now_s = time.time()
        origin_s = self._origin_s.setdefault(record.stream, record.captured_at.timestamp() - record.time_s)
        latency_s = now_s - record.captured_at.timestamp()
        with self._mutex:
            self._fresh[record.stream].append(
                (
                    1000 * latency_s,
                    1000 * (record.captured_at.timestamp() - origin_s - record.time_s),
                    record.inference_ms,
                )
            )

    def take(self) -> dict[str, list[tuple[float, float, float]]]:
        """Return (latency, behind, inference) in ms by stream since the last call."""
        with self._mutex:
            fresh, self._fresh = self._fresh, defaultdict(list)
        return fresh

    def close(self) -> None:
        """Do nothing."""


def slope(values: Sequence[float]) -> tuple[float, float]:
    """Return the slope of a line through values a minute apart, and twice its standard error."""
    x = np.arange(len(values), dtype=float)
    (slope_, _), residuals, *_ = np.polyfit(x, values, 1, full=True)
    freedom = max(1, len(values) - 2)
    error = np.sqrt((float(residuals[0]) if len(residuals) else 0.0) / freedom / ((x - x.mean()) ** 2).sum())
    return float(slope_), 2 * float(error)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--minutes", type=int, default=30)
    arguments.add_argument("--no-rtsp", action="store_true", help="the demo camera alone")
    arguments.add_argument("--out", type=Path, help="write the minutes as CSV")
    options = arguments.parse_args()
    process = psutil.Process()
    rows: list[dict[str, float | str]] = []
    sink = Latencies()
    with ExitStack() as stack:
        model = mar_edge.load("egomotion", threads=1)
        runner = mar_edge.Runner(sinks=[sink])
        runner.add(DEMO, model, name="demo")
        if not options.no_rtsp:
            server = stack.enter_context(RtspServer(size="320x240", fps=15))
            runner.add(server.url, model, name="rtsp")
        began_s = time.monotonic()
        with runner:
            process.cpu_percent()
            print(COLUMNS.replace(" ", "  "), flush=True)
            for minute in range(1, options.minutes + 1):
                time.sleep(max(0.0, began_s + 60 * minute - time.monotonic()))
                rows += measure(minute, sink, process)
            summaries = runner.status()
    for summary in summaries:
        print(f"{summary.stream}: {summary.to_json()}")
    print(f"notices: {sink.notices}")
    if options.out is not None:
        with options.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS.split())
            writer.writeheader()
            writer.writerows(rows)
    for stream in sorted({str(row["stream"]) for row in rows}):
        own = [row for row in rows if row["stream"] == stream][1:]
        for name in ("latency_ms", "p95_ms", "behind_ms", "rss_mb", "threads", "descriptors"):
            values = [float(row[name]) for row in own]
            if len(values) > 2:
                rise, error = slope(values)
                print(
                    f"{stream:5} {name:12} first {values[0]:9.2f}  last {values[-1]:9.2f}  slope {rise:+.4f} +- {error:.4f} a minute"
                )


def measure(minute: int, sink: Latencies, process: psutil.Process) -> list[dict[str, float | str]]:
    """Print and return the rows of a minute."""
    state = (
        round(process.memory_info().rss / 1e6, 2),
        process.num_threads(),
        process.num_fds(),
        process.cpu_percent(),
    )
    rows = []
    for stream, values in sorted(sink.take().items()):
        latency, behind, inference = (sorted(column) for column in zip(*values, strict=True))
        row = (
            minute,
            stream,
            len(values),
            round(statistics.median(latency), 2),
            round(latency[int(0.95 * (len(latency) - 1))], 2),
            round(latency[-1], 1),
            round(statistics.median(behind), 2),
            round(statistics.median(inference), 2),
            *state,
        )
        print("  ".join(str(value) for value in row), flush=True)
        rows.append(dict(zip(COLUMNS.split(), row, strict=True)))
    return rows


if __name__ == "__main__":
    main()
