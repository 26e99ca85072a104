"""`mar-edge run` between real servers: a network camera, a broker, a web server and Prometheus."""

from __future__ import annotations

import http.client
import json
import time
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.live.command import Command
from tests.servers.mosquitto import Broker, Listener, broker, free_port, listener, wait_until
from tests.servers.rtsp import RtspServer, need_rtsp
from tests.servers.webhook import Receiver, receiver

__all__ = ["broker", "listener", "receiver"]  # fixtures

DEMO = "demo:realtime=yes,loops=forever,size=320x240,fps=15"


def scrape(port: int) -> dict[tuple[str, str], float]:
    """Return every sample with one label as (name, its value)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return {
        (sample.name, next(iter(sample.labels.values()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if len(sample.labels) == 1
    }


def test_a_camera_that_comes_back_a_broker_a_web_server_and_prometheus(
    tmp_path: Path, broker: Broker, listener: Listener, receiver: Receiver
) -> None:
    need_rtsp()
    port = free_port()
    url = f"mqtt://127.0.0.1:{broker.port}/site?spool={tmp_path}/spool"
    with RtspServer(size="320x240", fps=15) as server:
        camera = f"rtsp://127.0.0.1:{server.port}/stream"
        outputs = ["--mqtt", url, "--metrics", f"127.0.0.1:{port}", "--webhook", receiver.url, "--json", "-"]
        with Command(tmp_path / "run", "run", "--source", camera, "--source", DEMO, *outputs) as command:
            command.until(lambda: len(command.records("prediction", stream=camera)) > 3, "results of the camera")
            command.until(lambda: command.records("event", stream="demo"), "an event of the demo")
            found = scrape(port)
            for stream in (camera, "demo"):
                assert found["mar_edge_inferences_total", stream] >= 4
                assert found["mar_edge_result_age_seconds", stream] < 5

            server.kill()
            command.until(lambda: command.records("warning", stream=camera), "word of the loss")
            lost = len(command.records("prediction", stream="demo"))
            command.until(lambda: len(command.records("prediction", stream="demo")) > lost + 5, "more of the demo")
            seen = len(command.records("prediction", stream=camera))
            server.start()
            back_s = time.monotonic()
            command.until(lambda: command.records("warning", stream=camera)[-1]["code"] == "live", "its return")
            assert time.monotonic() - back_s < 4  # the figure of 2 s is measured alone, see docs/results/live.md
            command.until(lambda: len(command.records("prediction", stream=camera)) > seen + 3, "more of the camera")
            assert scrape(port)["mar_edge_reconnects_total", camera] == 1

            code, took_s = command.stop()
            records = command.records()
            assert code == 130, command.stderr
            assert took_s < 2

    assert "Traceback" not in command.stderr and "\x1b" not in command.stderr
    summaries = {record["stream"]: record for record in records if record["type"] == "summary"}
    assert set(summaries) == {camera, "demo"}
    for stream, summary in summaries.items():
        predictions = [one for one in records if one["type"] == "prediction" and one["stream"] == stream]
        assert summary["inferences"] == len(predictions)
        times_s = [one["time_s"] for one in predictions]
        assert times_s == sorted(times_s)
    events = [record for record in records if record["type"] == "event"]
    starts, ends = ([one["id"] for one in events if one["phase"] == phase] for phase in ("start", "end"))
    assert starts and sorted(starts) == sorted(ends)  # the open one ended with the run

    told = [(one["id"], one["phase"]) for one in events]
    wait_until(lambda: len(listener.objects("/event")) >= len(events), "the events on the broker")
    assert [(one["id"], one["phase"]) for one in listener.objects("/event")] == told
    topics = {topic for topic, _, _ in listener.messages if topic.endswith("/prediction")}
    assert len(topics) == 2
    late = Listener(broker)  # who connects after the end is told what is retained
    wait_until(lambda: late.texts("site/status"), "the retained state")
    assert late.texts("site/status") == ["offline"]
    late.close()

    posted = [json.loads(body) for _, _, body in receiver.requests]
    assert [(one["id"], one["phase"]) for one in posted if one["type"] == "event"] == told
    assert {one["stream"] for one in posted if one["type"] == "warning"} >= {camera}
