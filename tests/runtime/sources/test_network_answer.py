"""Whether a server answers: refused, frozen, full, restarted between two looks, and what is asked of it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from mar_edge.runtime.sources.network import answer
from mar_edge.runtime.sources.network.address import NetworkAddress, parse_address
from mar_edge.runtime.sources.network.answer import Watch, await_answer
from mar_edge.runtime.sources.network.source import NetworkSource
from tests.runtime.sources.network_reading import refused, threads_end


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(answer, "ANSWER_S", 0.2)
    monkeypatch.setattr(answer, "SYN_S", 0.2)
    yield
    assert threads_end()


class Server:
    """Answers every request, or is frozen: accepts nothing, as its system does for it."""

    def __init__(self, *, closes: bool = False, port: int = 0, frozen: bool = False) -> None:
        self.requests: list[bytes] = []
        self._closes = closes
        self._clients: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", port), backlog=0)
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve)
        if not frozen:
            self.thaw()

    def thaw(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._thread.ident is not None:
            self._thread.join()
        for client in self._clients:
            client.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.settimeout(0.5)
            try:
                self.requests.append(client.recv(4096))
                client.sendall(b"RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\n\r\n")
            except OSError:
                pass
            client.close() if self._closes else self._clients.append(client)


def rtsp(port: int) -> NetworkAddress:
    return parse_address(f"rtsp://edge:secret@127.0.0.1:{port}/stream?token=secret")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_a_server_that_comes_back_is_seen_once_it_answers() -> None:
    port = free_port()
    watch = Watch(rtsp(port))
    assert not watch.returned()
    server = Server(port=port, frozen=True)
    assert not watch.returned(), "its system accepts, but it does not answer"
    server.thaw()
    assert any(watch.returned() for _ in range(20))
    watch.close()
    server.stop()


def test_a_server_that_was_there_all_the_time_is_not_back_but_a_restart_is_seen() -> None:
    server = Server()
    watch = Watch(rtsp(server.port))
    assert not any(watch.returned() for _ in range(3))
    assert len(server.requests) == 1, "the connection stays open"
    server.stop()
    again = Server(port=server.port)
    assert watch.returned()
    watch.close()
    again.stop()


def test_a_server_that_closes_after_every_answer_does_not_seem_to_restart() -> None:
    server = Server(closes=True)
    watch = Watch(rtsp(server.port))
    assert not any(watch.returned() for _ in range(3))
    watch.close()
    server.stop()


def test_no_secret_is_sent() -> None:
    server = Server()
    for scheme in ("rtsp", "http"):
        address = parse_address(f"{scheme}://edge:secret@127.0.0.1:{server.port}/secret?token=secret")
        await_answer(address, 1.0, threading.Event())
    server.stop()
    options, head = server.requests
    assert options.startswith(b"OPTIONS rtsp://127.0.0.1:")
    assert head.startswith(b"HEAD / HTTP/1.1")
    assert b"secret" not in options + head and b"Authorization" not in options + head


def test_a_look_up_that_hangs_delays_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    hang = threading.Event()
    looks = []

    def connect(*_: object) -> socket.socket:
        looks.append(1)
        hang.wait(10)
        raise socket.gaierror("no such host")

    monkeypatch.setattr(socket, "create_connection", connect)
    watch = NetworkSource("rtsp://camera.example/stream").watch()
    assert watch is not None
    began_s = time.monotonic()
    assert not watch.returned() and not watch.returned()
    watch.close()
    assert time.monotonic() - began_s < 2
    assert len(looks) == 1, "one thread at most"
    hang.set()


def test_a_server_that_comes_back_while_it_is_connected_to_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its queue of connections is full, so the system of a frozen server drops every request to connect."""
    attempts: list[float] = []
    connect = socket.create_connection

    def counted(address: tuple[str, int], timeout: float) -> socket.socket:
        attempts.append(timeout)
        return connect(address, timeout)

    monkeypatch.setattr(socket, "create_connection", counted)
    server = Server(frozen=True)
    waiting = []
    for _ in range(4):
        waiting.append(socket.socket())
        waiting[-1].setblocking(False)
        waiting[-1].connect_ex(("127.0.0.1", server.port))
    found: list[bool] = []

    def wait() -> None:
        await_answer(rtsp(server.port), 20.0, threading.Event())
        found.append(True)

    asking = threading.Thread(target=wait)
    asking.start()
    time.sleep(0.7)
    assert not found
    for one in waiting:
        one.close()
    server.thaw()
    asking.join(5)
    assert found
    assert len(attempts) >= 3, "the system alone would ask again after 1 s, 3 s, 7 s"
    server.stop()


def test_a_silent_server_is_given_up_in_time_and_at_once_when_closed() -> None:
    server = Server(frozen=True)
    error = refused(NetworkSource(f"rtsp://127.0.0.1:{server.port}/stream", connect_timeout_s=0.3))
    assert error.code == "timeout"
    closing = threading.Event()
    threading.Timer(0.1, closing.set).start()
    began_s = time.monotonic()
    with pytest.raises(TimeoutError):
        await_answer(rtsp(server.port), 30.0, closing)
    assert time.monotonic() - began_s < 5
    server.stop()


def test_what_only_a_proxy_may_reach_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert NetworkSource("http://camera/video").watch() is None
    assert NetworkSource("rtsp://camera/video").watch() is not None
