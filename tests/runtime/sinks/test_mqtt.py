"""MQTT against a real broker: topics, states, and what happens when it refuses, vanishes or hangs."""

from __future__ import annotations

import json
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from mar_edge.errors import OutputError
from mar_edge.runtime.results import Notice, StreamStatus
from mar_edge.runtime.sinks.mqtt import Mqtt
from mar_edge.runtime.sinks.mqtt_address import parse
from mar_edge.runtime.sinks.open import open_mqtt
from tests.fakes.records import ended, prediction, started
from tests.servers.certificates import Authority
from tests.servers.mosquitto import Broker, Listener, broker, free_port, listener, wait_until

__all__ = ["broker", "listener"]

Connect = Callable[..., Mqtt]


@pytest.fixture
def said() -> list[str]:
    """What the operator was told."""
    return []


@pytest.fixture
def connect(tmp_path: Path, said: list[str]) -> Iterator[Connect]:
    """Open a sink for a port of this machine, with a spool of the test's own; it is closed at the end."""
    sinks: list[Mqtt] = []

    def tell(notice: Notice) -> None:
        assert notice.code == "output"
        said.append(notice.message)

    def open_one(port: int, query: str = "", *, login: str = "", scheme: str = "mqtt", host: str = "127.0.0.1") -> Mqtt:
        url = f"{scheme}://{login}{host}:{port}/site/hall?spool={tmp_path / 'spool'}{query}"
        sinks.append(open_mqtt(url, notify=tell))
        return sinks[-1]

    before = threading.active_count()
    yield open_one
    for one in sinks:
        one.close()
    wait_until(lambda: threading.active_count() <= before, "ending the threads")


def ids(listener: Listener) -> list[str]:
    return [one["id"] for one in listener.objects("/door/event")]


def test_every_kind_of_record_has_its_topic(broker: Broker, listener: Listener, connect: Connect) -> None:
    sink = connect(broker.port)
    wait_until(lambda: listener.texts("hall/status"), "online")
    sink.write(prediction())
    sink.write(started(1))
    sink.write(ended(1, "a/b+c"))
    wait_until(lambda: len(listener.messages) >= 5, "all messages")
    assert listener.objects("hall/door/prediction") == [prediction().to_json()]
    assert listener.objects("hall/door/event") == [started(1).to_json()]
    assert listener.objects("hall/a%2Fb%2Bc/event") == [ended(1, "a/b+c").to_json()]
    sink.close()
    wait_until(lambda: "offline" in listener.texts("hall/status"), "offline")
    assert listener.texts("hall/status") == ["online", "offline"]
    later = Listener(broker)
    wait_until(lambda: later.texts("hall/status"), "the retained status")
    assert ("site/hall/status", b"offline", True) in later.messages
    assert not later.texts("/event")
    later.close()


def test_the_state_of_a_stream_is_retained(broker: Broker, connect: Connect) -> None:
    sink = connect(broker.port)
    states = []
    for record in (
        StreamStatus(stream="door", model="m", state="connecting"),
        prediction(),
        Notice(stream="door", code="timeout", message="no answer"),
        prediction(),  # of a frame that came before
        Notice(stream="door", code="slow-source", message="says nothing about the state"),
        Notice(stream="door", code="live", message="back"),
        StreamStatus(stream="door", model="m", state="ended", code="not-found", message="gone"),
    ):
        sink.write(record)
        wait_until(lambda: not sink._sent and not sink._fresh, "the acknowledgement")
        later = Listener(broker)
        wait_until(partial(later.texts, "door/status"), "the retained state")
        found = later.objects("door/status")[-1]
        states.append((found["state"], found["code"], found["message"]))
        later.close()
    assert states == [
        ("connecting", None, None),
        ("live", None, None),
        *[("lost", "timeout", "no answer")] * 3,
        ("live", None, None),
        ("ended", "not-found", "gone"),
    ]


def test_a_broker_that_is_away_loses_no_event_and_no_order(
    broker: Broker, listener: Listener, connect: Connect, said: list[str]
) -> None:
    sink = connect(broker.port)
    for number in range(40):
        sink.write(started(number))
    wait_until(lambda: len(ids(listener)) == 40, "the first events")
    broker.kill()
    for number in range(40, 100):
        sink.write(started(number))
        sink.write(prediction())
    wait_until(lambda: any("nothing listens" in one for one in said), "the notice")
    for number in range(100, 120):
        sink.write(started(number))
    dropped = sink.dropped["prediction"]
    assert 50 < dropped <= 60
    broker.start()
    wait_until(lambda: len(set(ids(listener))) == 120, "the events that waited")
    wait_until(lambda: not len(sink._spool), "an empty spool")
    assert list(dict.fromkeys(ids(listener))) == [str(number) for number in range(120)]
    assert [one for one in said if "events wait on the disk" in one]
    assert [
        one for one in said if f"connected again; 80 events wait and will be sent first, {dropped} predictions" in one
    ]
    sink.write(prediction())
    wait_until(lambda: listener.texts("prediction"), "a new prediction")
    assert sink.dropped == {"prediction": dropped, "event": 0, "refused": 0}


def test_what_is_retained_is_there_again_on_a_broker_that_forgot_it(broker: Broker, connect: Connect) -> None:
    sink = connect(broker.port, "&discovery=homeassistant")
    sink.write(prediction())
    broker.kill()
    broker.start()
    first = Listener(broker)
    wait_until(lambda: first.texts("action/config") and first.texts("door/status") and first.texts("hall/status"), "it")
    first.close()


def test_a_broker_that_hangs_holds_nothing_up(broker: Broker, listener: Listener, connect: Connect) -> None:
    sink = connect(broker.port)
    wait_until(lambda: listener.texts("hall/status"), "online")
    assert broker.process is not None
    broker.process.send_signal(signal.SIGSTOP)
    try:
        for number in range(100):
            sink.write(started(number))
            for _ in range(6):
                sink.write(prediction(classes=1000))  # 18 KB, more in all than the system's buffers
        assert sink.dropped["prediction"] > 100
    finally:
        broker.process.send_signal(signal.SIGCONT)
    wait_until(lambda: len(ids(listener)) == 100, "the events")
    assert ids(listener) == [str(number) for number in range(100)]


def test_beyond_its_bound_the_spool_drops_the_oldest_event(broker: Broker, connect: Connect, said: list[str]) -> None:
    broker.kill()
    sink = connect(broker.port, "&spool_events=10")
    for number in range(25):
        sink.write(started(number))
    assert sink.dropped["event"] == 15
    broker.start()
    listener = Listener(broker)
    wait_until(lambda: len(ids(listener)) == 10, "the newest ten")
    assert ids(listener) == [str(number) for number in range(15, 25)]
    assert sum("the spool is full" in one for one in said) == 1
    listener.close()


class Cutter:
    """A relay to the broker that cuts its connection whenever it has passed so many bytes on."""

    def __init__(self, port: int, bytes_each: list[int]) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self._target = port
        self._left = bytes_each
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        for limit in self._left:
            client = self.server.accept()[0]
            with client, socket.create_connection(("127.0.0.1", self._target)) as broker:
                while limit > 0:
                    for one in select.select([client, broker], [], [])[0]:
                        data = one.recv(100)
                        limit = limit - len(data) if data else 0
                        (broker if one is client else client).sendall(data)
        self.server.close()


def test_connections_that_break_at_any_byte_lose_nothing(broker: Broker, listener: Listener, connect: Connect) -> None:
    cutter = Cutter(broker.port, [900, 3333, 7001, 1 << 40])
    sink = connect(cutter.port)
    for number in range(200):
        sink.write(started(number))
    wait_until(lambda: not len(sink._spool), "the acknowledgements", 20)
    assert list(dict.fromkeys(ids(listener))) == [str(number) for number in range(200)]
    assert listener.texts("hall/status").count("online") >= 3
    sink.close()
    cutter.thread.join(10)


def test_a_broker_that_shuts_down_in_order_is_found_again(broker: Broker, connect: Connect, said: list[str]) -> None:
    sink = connect(broker.port)
    sink.write(started(1))
    wait_until(lambda: not len(sink._spool), "the acknowledgement")
    assert broker.process is not None
    broker.process.terminate()
    broker.process.wait()
    broker.process = None
    wait_until(lambda: said, "the notice")
    assert "the connection is lost" in said[0]
    sink.write(started(2))
    broker.start()
    wait_until(lambda: not len(sink._spool), "the acknowledgement")


CHILD = """
import os, signal, sys
from mar_edge.runtime.sinks.open import open_mqtt
from tests.fakes.records import started
sink = open_mqtt(sys.argv[1], notify=lambda notice: None)
for number in range(30):
    sink.write(started(number))
print("written", flush=True)
sys.stdin.read()
"""


def test_after_kill_9_the_next_start_sends_what_waited(
    broker: Broker, listener: Listener, connect: Connect, said: list[str], tmp_path: Path
) -> None:
    broker.kill()
    url = f"mqtt://127.0.0.1:{broker.port}/site/hall?spool={tmp_path / 'spool'}"
    child = subprocess.Popen([sys.executable, "-c", CHILD, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == b"written\n"
    with pytest.raises(OutputError, match="another program uses the spool"):
        connect(broker.port)
    child.kill()
    child.communicate()
    sink = connect(broker.port)
    sink.write(started(30))
    broker.start()
    wait_until(lambda: len(ids(listener)) == 31, "the events of both")
    assert ids(listener) == [str(number) for number in range(31)]
    wait_until(lambda: any("30 events wait from an earlier run" in one for one in said), "the notice")


def test_the_broker_says_offline_for_a_program_that_was_killed(
    broker: Broker, listener: Listener, tmp_path: Path
) -> None:
    url = f"mqtt://127.0.0.1:{broker.port}/site/hall?spool={tmp_path / 'spool'}"
    child = subprocess.Popen([sys.executable, "-c", CHILD, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    wait_until(lambda: len(ids(listener)) == 30, "the events")
    child.kill()
    child.communicate()
    wait_until(lambda: listener.texts("hall/status") == ["online", "offline"], "the last will")


def test_a_late_offline_of_an_older_connection_is_corrected(
    broker: Broker, listener: Listener, connect: Connect
) -> None:
    connect(broker.port)
    wait_until(lambda: listener.texts("hall/status") == ["online"], "online")
    listener.client.publish("site/hall/status", "offline", qos=1, retain=True)
    wait_until(lambda: listener.texts("hall/status") == ["online", "offline", "online"], "online again")


def test_closing_while_the_broker_is_away_keeps_the_events(connect: Connect, tmp_path: Path) -> None:
    port = free_port()
    sink = connect(port)
    sink.write(started(1))
    sink.close()
    again = connect(port)
    assert len(again._spool) == 1


def test_events_wait_in_the_cache_unless_a_folder_is_named(device_cache: Path) -> None:
    sink = open_mqtt(f"mqtt://me:s3cret@127.0.0.1:{free_port()}/x", notify=lambda _: None)
    sink.write(started(1))
    sink.close()
    (folder,) = (device_cache / "spool").iterdir()
    assert folder.name.startswith("127.0.0.1-")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not [path for path in folder.iterdir() if b"s3cret" in path.read_bytes()]


def test_a_wrong_password_is_named_and_shown_nowhere(connect: Connect, said: list[str], tmp_path: Path) -> None:
    with Broker(tmp_path, user=("door", "right")) as broker:
        wrong = connect(broker.port, login="door:wr0ng@")
        wait_until(lambda: said, "the refusal")
        assert "the broker refuses the connection: Not authorized. Check the user name and the password" in said[0]
        wrong.close()
        assert not [one for one in (*said, wrong.name) if "wr0ng" in one]
        (tmp_path / "password").write_text("right\n")
        connect(broker.port, f"&password_file={tmp_path / 'password'}", login="door@").write(started(1))
        listener = Listener(broker, ("door", "right"))
        wait_until(lambda: listener.texts("hall/status"), "online")
        listener.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority."""
    return Authority(tmp_path_factory.mktemp("tls") / "authority")


# paho leaves a socket whose handshake failed to the garbage collector, which warns of it
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_tls_checks_the_broker_and_shows_a_certificate(
    connect: Connect, said: list[str], tmp_path: Path, authority: Authority
) -> None:
    certificate, key = authority.sign("broker", "DNS:localhost")
    mine, my_key = authority.sign("device", "DNS:device")
    files = (f"cafile {authority.file}", f"certfile {certificate}", f"keyfile {key}", "require_certificate true")
    with Broker(tmp_path, *files) as broker:
        ours = f"&cert={mine}&key={my_key}"
        trusting = f"{ours}&ca={authority.file}"
        for query, host, message in (
            (ours, "localhost", "is not accepted: .*certificate.*option ca=FILE"),
            (trusting, "127.0.0.1", "is not accepted: .*IP address mismatch"),
            (f"&ca={authority.file}", "localhost", "before the broker answers. .* with TLS, and .cert="),
        ):
            said.clear()
            sink = connect(broker.port, query, scheme="mqtts", host=host)
            wait_until(lambda: said, "the refusal")
            sink.close()
            assert re.search(message, said[0]), said
        said.clear()
        sink = connect(broker.port, trusting, scheme="mqtts", host="localhost")
        sink.write(started(1))
        wait_until(lambda: not len(sink._spool), "the acknowledgement")
        assert not said


def test_a_topic_that_is_refused_waits_and_holds_no_other_up(connect: Connect, said: list[str], tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.write_text("topic read #\ntopic write site/hall/status\ntopic write site/hall/window/event\n")
    with Broker(tmp_path, f"acl_file {rules}") as broker:
        listener = Listener(broker)
        sink = connect(broker.port)
        for number in range(20):  # more than may be on their way
            sink.write(started(number))
        sink.write(started(99, "window"))
        wait_until(lambda: listener.objects("/window/event"), "the event of the other stream")
        wait_until(lambda: said, "the notice")
        assert len(said) == 1
        assert "refuses site/hall/door/event: Not authorized. Allow this user to write to it; events wait" in said[0]
        assert not ids(listener)
        broker.kill()
        rules.write_text("topic readwrite #\n")
        broker.start()
        wait_until(lambda: len(ids(listener)) == 20, "the events")
        assert ids(listener) == [str(number) for number in range(20)]
        assert sink.dropped["refused"] == 0
        listener.close()


@pytest.fixture
def strict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """A broker on which nobody may write but to the status, until `rules` says more; what it refuses is retried at once."""
    monkeypatch.setattr("mar_edge.runtime.sinks.mqtt._RETRY_S", 0.1)
    (tmp_path / "rules").write_text("topic read #\ntopic write site/hall/status\n")
    with Broker(tmp_path, f"acl_file {tmp_path / 'rules'}") as one:
        yield one


def test_refused_events_are_tried_again_on_the_same_connection(
    strict: Broker, connect: Connect, said: list[str], tmp_path: Path
) -> None:
    listener = Listener(strict)
    sink = connect(strict.port)
    sink.write(started(1))
    wait_until(lambda: said, "the notice")
    (tmp_path / "rules").write_text("topic readwrite #\n")
    assert strict.process is not None
    strict.process.send_signal(signal.SIGHUP)  # mosquitto reads its rules again
    wait_until(lambda: ids(listener) == ["1"], "the event")
    assert listener.texts("hall/status") == ["online"]
    listener.close()


def test_refused_events_cost_nothing_while_the_broker_is_away(
    strict: Broker, connect: Connect, said: list[str]
) -> None:
    connect(strict.port).write(started(1))
    wait_until(lambda: said, "the notice")
    strict.kill()
    wait_until(lambda: "nothing listens" in said[-1], "the notice")
    used = time.process_time()
    time.sleep(0.7)
    assert time.process_time() - used < 0.35  # it waits, and does not spin


def test_home_assistant_finds_the_sensors_of_every_stream(broker: Broker, connect: Connect) -> None:
    sink = connect(broker.port, "&discovery=homeassistant")
    for stream in ("door", "a/b", "door"):
        sink.write(started(1, stream))
    wait_until(lambda: not sink._fresh and not sink._sent, "the acknowledgements")
    later = Listener(broker)
    wait_until(lambda: len(later.objects("/config")) == 6, "six retained messages")
    configs = {topic: json.loads(content) for topic, content, retained in later.messages if topic.endswith("/config")}
    assert len({one["unique_id"] for one in configs.values()}) == 6
    assert {one["device"]["name"] for one in configs.values()} == {"door", "a/b"}
    for topic, one in configs.items():
        assert topic == f"homeassistant/sensor/{one['unique_id']}/config"
        assert one["availability"][0] == {"topic": "site/hall/status"}
        assert one["origin"]["name"] == "mar-edge"
    action = next(one for one in configs.values() if one["name"] == "Action" and one["device"]["name"] == "a/b")
    assert action["state_topic"] == "site/hall/a%2Fb/prediction"
    later.close()


def test_addresses_are_parsed_before_anything_starts() -> None:
    before = threading.active_count()
    with pytest.raises(OutputError, match="cannot use the certificate"):
        Mqtt(parse("mqtts://host?ca=/missing.pem"))
    assert threading.active_count() == before


def test_a_port_that_speaks_something_else_is_named(connect: Connect, said: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect(server.getsockname()[1])
        server.accept()[0].close()
        wait_until(lambda: said, "the notice")
    assert "the connection ends before the broker answers. Check that this port speaks MQTT without TLS" in said[0]
