"""Prometheus: counters, ages and latencies of all streams at `http://HOST:PORT/metrics`."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, get_args

from mar_edge.errors import OutputError
from mar_edge.extras import require
from mar_edge.runtime.results import EventEnded, Kind, Prediction, Record, State, StreamStatus
from mar_edge.version import __version__

if TYPE_CHECKING:
    from prometheus_client.core import Metric

LOOPBACK = "127.0.0.1"

QUEUED, DROPPED = "queued", "dropped_"
"""The key of an output's numbers that is the length of its queue, and the beginning of those that count what was dropped."""

_LATENCY_S = (0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0)
"""Upper bounds of the buckets."""


class Metrics:
    """Serves the numbers of a program to Prometheus.

    What is served is made when it is asked for: counters from `status` and `outputs`, latencies and events from the records.
    A stream that `status` does not name any more disappears.

    Args:
        address: `HOST:PORT` or `[IPv6]:PORT`; a port alone is served on this machine only.
        status: returns the state of every stream.
        outputs: returns the numbers of each output by its name, see `Runner.outputs`.

    Attributes:
        host, port: where it is served.

    Raises:
        OutputError: if the address is invalid or in use.
        MissingExtraError: if prometheus-client is not installed.
    """

    wants: frozenset[Kind] = frozenset({"prediction", "event"})

    def __init__(
        self,
        address: str,
        *,
        status: Callable[[], list[StreamStatus]],
        outputs: Callable[[], Mapping[str, Mapping[str, int]]],
    ) -> None:
        require("prometheus_client", "metrics", called="prometheus-client")
        from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, start_http_server

        host, port = parse(address)
        self._status = status
        self._outputs = outputs
        self._mutex = threading.Lock()
        self._seen: dict[str, float] = {}  # stream: when its newest result came
        self._events: Counter[tuple[str, str]] = Counter()
        self._latency = Histogram(
            "mar_edge_latency_seconds",
            "From the arrival of a window's newest frame to its result.",
            ["stream"],
            registry=None,
            buckets=_LATENCY_S,
        )
        self._inference = Histogram(
            "mar_edge_inference_seconds",
            "The engine's part of it.",
            ["stream"],
            registry=None,
            buckets=_LATENCY_S,
        )
        registry = CollectorRegistry()
        registry.register(self)
        ProcessCollector(registry=registry)
        shown = f"[{host}]" if ":" in host else host
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise OutputError(
                f"cannot serve metrics at {shown}:{port}: {reason}. Choose another port or host"
            ) from error
        self.host, self.port = host, self._server.server_port
        self.name = f"metrics at {shown}:{self.port}"

    def write(self, record: Record) -> None:
        """Count a record."""
        if isinstance(record, Prediction):
            with self._mutex:
                self._seen[record.stream] = time.monotonic()
                self._latency.labels(record.stream).observe(record.latency_ms / 1000)
                self._inference.labels(record.stream).observe(record.inference_ms / 1000)
        elif isinstance(record, EventEnded):
            with self._mutex:
                self._events[record.stream, record.label] += 1

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(1.0)

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics; prometheus-client calls it for every request."""
        from prometheus_client.core import GaugeMetricFamily

        streams = self._status()
        names = {one.stream for one in streams}
        with self._mutex:
            for gone in self._seen.keys() - names:
                del self._seen[gone]
                self._latency.remove(gone)
                self._inference.remove(gone)
            for key in [key for key in self._events if key[0] not in names]:
                del self._events[key]
            ages = {stream: time.monotonic() - seen for stream, seen in self._seen.items()}
            events = dict(self._events)
            latencies = [*self._latency.collect(), *self._inference.collect()]
        info = GaugeMetricFamily("mar_edge_build_info", "1, with the version of mar-edge.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        yield from _of_streams(streams)
        yield _counter("events", "Events that ended.", ("stream", "label"), events)
        age = GaugeMetricFamily("mar_edge_result_age_seconds", "Since the newest result.", labels=["stream"])
        for stream, age_s in ages.items():
            age.add_metric([stream], age_s)
        yield age
        yield from latencies
        yield from _of_outputs(self._outputs())


def parse(address: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT`, `[IPv6]:PORT`, `:PORT` or `PORT`; without a host it is this machine alone.

    Raises:
        OutputError: if it is something else.
    """
    found = re.fullmatch(r"(?:(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\[\]:/\s]*)):)?([0-9]{1,5})", address, re.ASCII)
    if found is None or int(found[3]) > 65535:
        raise OutputError(f"'{address}' is not HOST:PORT. Give for instance 127.0.0.1:9464 or [::1]:9464")
    return found[1] or found[2] or LOOPBACK, int(found[3])


def _counter(name: str, text: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Metric:
    """Return a counter; the keys of `values` are tuples of the values of its labels."""
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(f"mar_edge_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _of_streams(streams: list[StreamStatus]) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    one = ("stream",)
    yield _counter("frames", "Frames that arrived.", one, {(s.stream,): s.frames for s in streams})
    yield _counter("frames_sampled", "Frames that the model takes.", one, {(s.stream,): s.sampled for s in streams})
    yield _counter("inferences", "Windows that were inferred.", one, {(s.stream,): s.inferences for s in streams})
    yield _counter("warnings", "Notices about a stream.", one, {(s.stream,): s.warnings for s in streams})
    yield _counter(
        "reconnects", "Times that it was connected again.", one, {(s.stream,): s.reconnects for s in streams}
    )
    dropped = {(s.stream, cause): count for s in streams for cause, count in s.dropped.items()}
    yield _counter("dropped", "Frames and windows that were lost.", ("stream", "cause"), dropped)
    state = GaugeMetricFamily("mar_edge_stream_state", "1 for the present state.", labels=["stream", "state"])
    waited = GaugeMetricFamily("mar_edge_longest_wait_seconds", "Longest wait for the engine.", labels=["stream"])
    for status in streams:
        waited.add_metric([status.stream], status.waited_ms / 1000)
        for name in get_args(State):
            state.add_metric([status.stream, name], status.state == name)
    yield state
    yield waited


def _of_outputs(outputs: Mapping[str, Mapping[str, int]]) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    queue = GaugeMetricFamily("mar_edge_output_queue", "Records that wait for an output.", labels=["output"])
    for name, numbers in outputs.items():
        queue.add_metric([name], numbers.get(QUEUED, 0))
    yield queue
    for key, text in (
        ("written", "Records that an output took."),
        ("retries", "Attempts to write that were repeated."),
    ):
        yield _counter(f"output_{key}", text, ("output",), {(name,): n.get(key, 0) for name, n in outputs.items()})
    dropped = {
        (name, key.removeprefix(DROPPED)): count
        for name, numbers in outputs.items()
        for key, count in numbers.items()
        if key.startswith(DROPPED)
    }
    yield _counter("output_dropped", "Records that were not written.", ("output", "kind"), dropped)
