"""mosquitto, a real MQTT broker, as a child process on a port of its own."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.conftest import need


def program(name: str) -> str:
    """Return the path of a program of Debian's packages mosquitto and openssl."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    need(found is not None, f"{name} is not installed. Run: apt-get install mosquitto openssl")
    assert found is not None
    return found


def free_port() -> int:
    """Return a port that nothing uses."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_until(true: Callable[[], object], what: str, timeout_s: float = 10) -> None:
    """Wait until something is true, and fail otherwise."""
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, f"{what} took more than {timeout_s:.0f} s"
        time.sleep(0.01)


class Broker:
    """A broker that can be killed and started again on the same port. What it retains is lost with it.

    Args:
        folder: for its configuration.
        *lines: more of its configuration.
        user: name and password that it demands.
    """

    def __init__(self, folder: Path, *lines: str, user: tuple[str, str] | None = None) -> None:
        self.port = free_port()
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        if user is not None:
            passwords = folder / "passwords"
            command = [program("mosquitto_passwd"), "-c", "-b", str(passwords), *user]
            subprocess.run(command, check=True, capture_output=True)
            lines = (*lines, f"password_file {passwords}")
        self.configure(f"allow_anonymous {'false' if user else 'true'}", *lines)

    def configure(self, *lines: str) -> None:
        """Write its configuration, for the next start. As root it would otherwise become a user who can read none of the files."""
        text = [f"listener {self.port} 127.0.0.1", "user root", "persistence false", *lines]
        (self.folder / "mosquitto.conf").write_text("\n".join(text) + "\n")

    def start(self) -> None:
        """Start it, and wait until it listens."""
        assert self.process is None
        with (self.folder / "log").open("ab") as log:
            command = [program("mosquitto"), "-c", str(self.folder / "mosquitto.conf")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._listens, "starting mosquitto")

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0

    def __enter__(self) -> Broker:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill it."""
        if self.process is not None:
            self.kill()


class Listener:
    """A client that remembers everything that is published, in order; it comes back when the broker does.

    Args:
        broker: the broker.
        user: name and password.
    """

    def __init__(self, broker: Broker, user: tuple[str, str] | None = None) -> None:
        self.messages: list[tuple[str, bytes, bool]] = []
        self._ready = threading.Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self.client.username_pw_set(*(user or (None, None)))
        self.client.reconnect_delay_set(0.05, 0.05)  # type: ignore[arg-type]
        self.client.on_connect = lambda client, *_: client.subscribe("#", options=SubscribeOptions(1))
        self.client.on_subscribe = lambda *_: self._ready.set()
        self.client.on_message = lambda _client, _data, one: self.messages.append(
            (one.topic, bytes(one.payload), one.retain)
        )
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()
        assert self._ready.wait(10)

    def texts(self, end: str) -> list[str]:
        """Return the content of all messages whose topic ends so."""
        return [content.decode() for topic, content, _ in self.messages if topic.endswith(end)]

    def objects(self, end: str) -> list[dict[str, Any]]:
        """Return the same as JSON objects."""
        return [json.loads(text) for text in self.texts(end)]

    def close(self) -> None:
        """Disconnect."""
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A running broker that everybody may use."""
    folder = tmp_path / "broker"
    folder.mkdir()
    with Broker(folder) as one:
        yield one


@pytest.fixture
def listener(broker: Broker) -> Iterator[Listener]:
    """A client that hears everything on that broker."""
    one = Listener(broker)
    yield one
    one.close()
