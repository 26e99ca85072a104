"""Prometheus: real scrapes, parsed as Prometheus parses them."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mar_edge.errors import OutputError
from mar_edge.runtime.results import StreamStatus
from mar_edge.runtime.sinks.metrics import Metrics, parse
from mar_edge.runtime.sinks.open import open_metrics
from tests.fakes.records import ended, prediction, started
from tests.servers.mosquitto import free_port

DOOR = StreamStatus(
    stream="door",
    model="m",
    state="live",
    frames=300,
    sampled=100,
    inferences=40,
    warnings=3,
    dropped={"newer": 5, "age": 1},
    reconnects=2,
    waited_ms=250,
)


def scrape(sink: Metrics) -> dict[tuple[str, ...], float]:
    """Return every sample as (name, value of a label, ...)."""
    connection = http.client.HTTPConnection(sink.host, sink.port, timeout=10)
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.getheader("Content-Type", "").startswith("text/plain")
    text = answer.read().decode()
    connection.close()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def streams() -> list[StreamStatus]:
    """What the program says about its streams."""
    return [DOOR, replace(DOOR, stream='odd "name"\\\n', state="lost", frames=7)]


@pytest.fixture
def sink(streams: list[StreamStatus]) -> Iterator[Metrics]:
    """Served metrics."""
    outputs = {"json": {"queued": 4, "written": 70, "retries": 2, "dropped_prediction": 9}}
    one = open_metrics(f"{free_port()}", status=lambda: list(streams), outputs=lambda: outputs)
    yield one
    one.close()
    assert not one._thread.is_alive()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((one.host, one.port), timeout=10)


def test_every_stream_and_output_is_counted(sink: Metrics) -> None:
    found = scrape(sink)
    for name, value in {
        ("mar_edge_frames_total", "door"): 300,
        ("mar_edge_frames_total", 'odd "name"\\\n'): 7,
        ("mar_edge_frames_sampled_total", "door"): 100,
        ("mar_edge_inferences_total", "door"): 40,
        ("mar_edge_warnings_total", "door"): 3,
        ("mar_edge_reconnects_total", "door"): 2,
        ("mar_edge_longest_wait_seconds", "door"): 0.25,
        ("mar_edge_output_queue", "json"): 4,
        ("mar_edge_output_written_total", "json"): 70,
        ("mar_edge_output_retries_total", "json"): 2,
    }.items():
        assert found[name] == value
    labelled = {frozenset(key): value for key, value in found.items()}
    assert labelled[frozenset({"mar_edge_dropped_total", "door", "newer"})] == 5
    assert labelled[frozenset({"mar_edge_stream_state", "door", "live"})] == 1
    assert labelled[frozenset({"mar_edge_stream_state", "door", "lost"})] == 0
    assert labelled[frozenset({"mar_edge_stream_state", 'odd "name"\\\n', "lost"})] == 1
    dropped = {key: value for key, value in labelled.items() if "mar_edge_output_dropped_total" in key}
    assert dropped == {frozenset({"mar_edge_output_dropped_total", "json", "prediction"}): 9}
    assert ("process_cpu_seconds_total",) in found
    assert found["mar_edge_build_info", __import__("mar_edge").__version__] == 1


def test_results_give_latency_age_and_events(sink: Metrics) -> None:
    assert ("mar_edge_result_age_seconds", "door") not in scrape(sink)
    for latency_ms in (30, 40, 700):
        sink.write(prediction(latency_ms=latency_ms))
    sink.write(started(1))
    sink.write(ended(1))
    sink.write(ended(2))
    sink.write(ended(3, label="run"))
    found = scrape(sink)
    labelled = {frozenset(key): value for key, value in found.items()}
    assert found["mar_edge_latency_seconds_count", "door"] == 3
    assert found["mar_edge_latency_seconds_sum", "door"] == pytest.approx(0.77)
    buckets = [
        labelled[frozenset({"mar_edge_latency_seconds_bucket", "door", le})] for le in ("0.035", "0.05", "0.5", "+Inf")
    ]
    assert buckets == [1, 2, 2, 3]
    assert 0 <= found["mar_edge_result_age_seconds", "door"] < 60
    assert labelled[frozenset({"mar_edge_events_total", "door", "walk"})] == 2
    assert labelled[frozenset({"mar_edge_events_total", "door", "run"})] == 1
    assert found["mar_edge_inference_seconds_count", "door"] == 3


def test_a_stream_that_is_removed_disappears(sink: Metrics, streams: list[StreamStatus]) -> None:
    sink.write(prediction())
    sink.write(ended(1))
    assert any("door" in key for key in scrape(sink))
    del streams[0]
    assert not any("door" in key for key in scrape(sink))
    streams.append(DOOR)
    found = scrape(sink)
    assert ("mar_edge_frames_total", "door") in found
    assert not any(key[0].startswith("mar_edge_latency_seconds") for key in found)


def test_a_port_in_use_and_a_foreign_host_are_said_in_one_line(sink: Metrics) -> None:
    for address, message in (
        (
            f"127.0.0.1:{sink.port}",
            "cannot serve metrics at 127.0.0.1:[0-9]+: Address already in use. Choose another port",
        ),
        ("203.0.113.1:9464", "cannot serve metrics at 203.0.113.1:9464: .* Choose another port or host"),
        ("no-such-host.invalid:9464", "cannot serve metrics at no-such-host.invalid:9464: .* Choose another"),
    ):
        with pytest.raises(OutputError, match=message) as error:
            Metrics(address, status=list, outputs=dict)
        assert "\n" not in str(error.value)


def test_ipv6_is_served() -> None:
    with socket.socket(socket.AF_INET6) as one:
        try:
            one.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        port = one.getsockname()[1]
    sink = Metrics(f"[::1]:{port}", status=lambda: [DOOR], outputs=dict)
    assert sink.name == f"metrics at [::1]:{port}"
    assert scrape(sink)["mar_edge_frames_total", "door"] == 300
    sink.close()


def test_addresses() -> None:
    assert parse("9464") == parse(":9464") == ("127.0.0.1", 9464)
    assert parse("0.0.0.0:80") == ("0.0.0.0", 80)
    assert parse("[fe80::1%eth0]:80") == ("fe80::1%eth0", 80)
    for wrong in ("host", "::1:80", "host:99999", "http://host:80", "", "host:", "[::1]"):
        with pytest.raises(OutputError, match="is not HOST:PORT. Give for instance 127.0.0.1:9464"):
            parse(wrong)
