"""Whether a server answers, asked without a login: before FFmpeg opens an address, and while a lost one is waited for."""

from __future__ import annotations

import os
import select
import socket
import threading
import time

from mar_edge.runtime.sources.network.address import NetworkAddress

SYN_S = 2.0
"""One attempt to connect. The system asks again after 1 s, but then only after 3, 7 and 15 s; another attempt asks at once."""

ANSWER_S = 0.6
"""How long a look waits for an answer."""

_STEP_S = 0.1
_ENDS_S = 0.3


def through_proxy(address: NetworkAddress) -> bool:
    """Whether FFmpeg asks a proxy for this address, so that its server may be out of reach."""
    return not address.rtsp and bool(os.environ.get("http_proxy"))


def await_answer(address: NetworkAddress, timeout_s: float, closing: threading.Event) -> None:
    """Wait until a server answers, or no one wants to know any more.

    FFmpeg alone would miss a server that comes back while it connects: it asks once, and the system too rarely again.

    Args:
        address: of the server.
        timeout_s: how long to wait; the look-up of a name may take longer.
        closing: ends the wait.

    Raises:
        OSError: if it does not, or the system knows no way to it; `TimeoutError` if the time is up.
    """
    end_s = time.monotonic() + timeout_s
    while True:
        try:
            ask(address, end_s, closing).close()
            return
        except TimeoutError:
            if closing.is_set() or time.monotonic() >= end_s:
                raise


def ask(address: NetworkAddress, end_s: float, closing: threading.Event) -> socket.socket:
    """Connect, and wait until the server answers a request that needs no login; return the connection.

    A frozen server's system accepts connections, so that alone says nothing. One that closes the connection answers, too.
    A server behind TLS is only connected to.

    Args:
        address: of the server.
        end_s: `time.monotonic()` at which the time is up.
        closing: ends the wait.

    Raises:
        OSError: see `await_answer`.
    """
    connection = socket.create_connection(
        (address.host, address.port), min(SYN_S, max(0.001, end_s - time.monotonic()))
    )
    try:
        if address.scheme in ("rtsp", "http"):
            connection.sendall(_request(address))
            while not _readable(connection, min(_STEP_S, end_s - time.monotonic())):
                if closing.is_set() or time.monotonic() >= end_s:
                    raise TimeoutError(f"no answer from {address.host}")
    except BaseException:
        connection.close()
        raise
    return connection


class Watch:
    """Finds out when a server that could not be used comes back, by a look every now and then.

    An RTSP connection that was answered stays open: its end shows a restart between two looks.

    Args:
        address: of the server.
    """

    def __init__(self, address: NetworkAddress) -> None:
        self._address = address
        self._closing = threading.Event()
        self._changing = threading.Lock()
        self._connection: socket.socket | None = None
        self._look: threading.Thread | None = None
        self._was_away = self._back = False

    def returned(self) -> bool:
        """Look; return whether the server was away since the watch began, and now answers. Takes less than a second."""
        if self._look is None or not self._look.is_alive():
            name = f"mar-edge looks for {self._address.name}"  # in a thread, as the look-up of a name may hang
            self._look = threading.Thread(target=self._run, name=name, daemon=True)
            self._look.start()
        self._look.join(ANSWER_S + _STEP_S)
        return self._back

    def close(self) -> None:
        """Look no more; does not wait."""
        with self._changing:
            self._closing.set()
            self._disconnect()

    def _run(self) -> None:
        kept = self._connection
        if kept is not None:
            if not _is_over(kept):
                return
            self._was_away = True
            with self._changing:
                self._disconnect()
        try:
            connection = ask(self._address, time.monotonic() + ANSWER_S, self._closing)
        except (OSError, ValueError):  # ValueError: what cannot be a host's name
            self._was_away = True
            return
        self._back = self._was_away
        # one that is closed after every answer shows nothing
        keep = self._address.scheme == "rtsp" and not _is_over(connection, _ENDS_S)
        with self._changing:
            if keep and not self._closing.is_set():
                self._connection = connection
            else:
                connection.close()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _is_over(connection: socket.socket, within_s: float = 0.0) -> bool:
    """Return whether the other side closes a connection within some seconds; reads what it has sent."""
    end_s = time.monotonic() + within_s
    try:
        while _readable(connection, end_s - time.monotonic()):
            if not connection.recv(4096):
                return True
    except (OSError, ValueError):  # ValueError: closed here
        return True
    return False


def _readable(connection: socket.socket, timeout_s: float) -> bool:
    poll = select.poll()  # unlike select it takes any number of open files
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(1000 * max(0.0, timeout_s)))


def _request(address: NetworkAddress) -> bytes:
    host = f"[{address.host}]" if ":" in address.host else address.host
    if address.rtsp:
        return f"OPTIONS rtsp://{host}:{address.port}/ RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: mar-edge\r\n\r\n".encode()
    return f"HEAD / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: mar-edge\r\nConnection: close\r\n\r\n".encode()
