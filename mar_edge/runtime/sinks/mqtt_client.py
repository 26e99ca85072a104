"""The connection to a broker: paho's client with its thread, made again for ever, and told apart by sessions."""

from __future__ import annotations

import secrets
import socket
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mar_edge.printable import printable
from mar_edge.runtime.sinks.mqtt_address import MqttAddress

if TYPE_CHECKING:
    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTMessageInfo
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

WINDOW = 16
"""Messages that may wait for the broker's acknowledgement at one time, unless it allows fewer."""

_UNSENT = 64
"""Messages without acknowledgement that may wait for a slow connection."""

_KEEP_ALIVE_S = 15
_CONNECT_S = 4.0


class MqttClient:
    """A connection that comes back.

    Nothing waits in it: what was not acknowledged when a connection ended is forgotten, and the caller sends it again when
    `session` has changed. That keeps the order, which paho's own resending would not.

    Args:
        address: the broker.
        will: topic and content that the broker publishes, retained, if this program vanishes.
        wake: called, from the network thread, when there is something to do.
        report: called, from the network thread, with one sentence when the connection is lost or cannot be made.

    Attributes:
        session: number of the present connection, from 1 on; 0 while there is none.
        recovered: whether a problem was reported before this connection.
        window: messages that may wait for the broker's acknowledgement at one time.
        turn: a new session begins only while nobody holds this lock.

    Raises:
        OutputError: if a certificate cannot be used.
    """

    def __init__(
        self,
        address: MqttAddress,
        *,
        will: tuple[str, bytes],
        wake: Callable[[], None],
        report: Callable[[str], None],
    ) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        self.session = 0
        self.recovered = False
        self.window = WINDOW
        self.turn = threading.Lock()
        self._address = address
        self._status = will
        self._wake = wake
        self._report = report
        self._sessions = 0
        self._problem: str | None = None
        self._stopping = False
        self._answered = False  # on the present connection
        self._wrong = False
        self._acknowledged: deque[tuple[int, ReasonCode]] = deque()
        self._unsent: deque[MQTTMessageInfo] = deque()
        # the same at every connection of this process, so that the broker ends the old one, and its will, before the new one
        name = f"mar-edge-{secrets.token_hex(8)}"
        client = Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTProtocolVersion.MQTTv5)
        client.username_pw_set(address.user, address.password)
        if address.tls:
            client.tls_set_context(address.tls_context())
        client.will_set(*will, qos=1, retain=True)
        client.reconnect_delay_set(0.5, 30)  # type: ignore[arg-type] # it adds and doubles it, whole or not
        client.connect_timeout = _CONNECT_S
        client.on_pre_connect = self._on_pre_connect
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        self._client = client

    def start(self) -> None:
        """Connect, in the background."""
        self._client.connect_async(self._address.host, self._address.port, keepalive=_KEEP_ALIVE_S)
        self._client.loop_start()

    def send(self, topic: str, content: bytes, *, retain: bool) -> int:
        """Publish once it can be acknowledged; returns its number in `acknowledgements`."""
        return self._client.publish(topic, content, qos=1, retain=retain).mid

    def send_now(self, topic: str, content: bytes) -> bool:
        """Publish without acknowledgement; returns False if the broker is away, or the connection is too slow."""
        while self._unsent and _is_gone(self._unsent[0]):
            self._unsent.popleft()
        if not self.session or len(self._unsent) >= _UNSENT:
            return False
        info = self._client.publish(topic, content)
        if info.rc:
            return False
        self._unsent.append(info)
        return True

    def acknowledgements(self) -> Iterator[tuple[int, ReasonCode]]:
        """Yield what the broker has answered: the number of each message, and its reason code."""
        while self._acknowledged:
            yield self._acknowledged.popleft()

    def status_is_wrong(self) -> bool:
        """Return, once, whether somebody else has published this program's will since the last call."""
        wrong, self._wrong = self._wrong, False
        return wrong

    def stop(self, goodbye: tuple[str, bytes], deadline: float) -> None:
        """Publish a last message, retained, and disconnect.

        A thread that still waits for the network at the deadline ends by itself after its time-out.

        Args:
            goodbye: topic and content.
            deadline: of `time.monotonic`.
        """
        self._stopping = True
        if self.session:
            info = self._client.publish(*goodbye, qos=1, retain=True)
            with suppress(RuntimeError, ValueError):
                info.wait_for_publish(max(deadline - time.monotonic(), 0.05))
        self._client.disconnect()
        ending = threading.Thread(target=self._client.loop_stop, daemon=True)
        ending.start()
        ending.join(max(deadline - time.monotonic(), 0.1))

    def _on_pre_connect(self, _client: Client, _data: Any) -> None:
        self._answered = False

    def _on_connect(
        self, client: Client, _data: Any, _flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        from paho.mqtt.subscribeoptions import SubscribeOptions

        self._answered = True
        if reason.is_failure:
            self._tell(f"the broker refuses the connection: {reason}. {_connect_advice(str(reason))}")
            return
        with self.turn:
            client.drop_out_messages()
            self._sessions += 1
            self.recovered, self._problem = self._problem is not None, None
            self.window = min(WINDOW, getattr(properties, "ReceiveMaximum", WINDOW))
            self.session = self._sessions
        # its own messages, and what is retained, say nothing new
        client.subscribe(self._status[0], options=SubscribeOptions(1, noLocal=True, retainHandling=2))
        self._wake()

    def _on_connect_fail(self, _client: Client, _data: Any) -> None:
        self._tell(self._why(sys.exc_info()[1]))  # paho calls it while it handles the error

    def _on_disconnect(
        self, _client: Client, _data: Any, _flags: DisconnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if self.session:
            self.session = 0
            self._tell(f"the connection is lost ({reason}); events wait on the disk")
        elif not self._answered:
            tls = "with TLS, and ?cert=...&key=..." if self._address.tls else "without TLS"
            self._tell(f"the connection ends before the broker answers. Check that this port speaks MQTT {tls}")

    def _on_publish(
        self, _client: Client, _data: Any, number: int, reason: ReasonCode, _properties: Properties
    ) -> None:
        self._acknowledged.append((number, reason))
        self._wake()

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        if (message.topic, message.payload) == self._status:
            self._wrong = True
            self._wake()

    def _tell(self, problem: str) -> None:
        """Report a problem once, until it changes."""
        if problem != self._problem and not self._stopping:
            self._problem = problem
            self._report(problem)
        self._wake()

    def _why(self, error: BaseException | None) -> str:
        """Return why no connection can be made, with the next step."""
        place = f"{self._address.host}:{self._address.port}"
        if isinstance(error, ssl.SSLCertVerificationError):
            return (
                f"the certificate of {place} is not accepted: {error.verify_message}. Give its authority with "
                "the option ca=FILE, the host's name as in the certificate, and check this device's clock"
            )
        if isinstance(error, ssl.SSLError):
            return (
                f"{place} refuses TLS: {error.reason or error}. Check that this port speaks TLS, and ?cert=...&key=..."
            )
        if isinstance(error, socket.gaierror):
            return f"there is no host {self._address.host} ({error.strerror}). Check the name and the network"
        if isinstance(error, ConnectionRefusedError):
            return f"nothing listens at {place}. Start the broker, or correct the port"
        if isinstance(error, TimeoutError):
            return f"{place} does not answer within {_CONNECT_S:.0f} s. Check the address and the network"
        return f"cannot connect to {place}: {printable(str(error))}"


def _is_gone(info: MQTTMessageInfo) -> bool:
    """Return whether a message was written to the connection, or lost with it."""
    try:
        return info.is_published()
    except (RuntimeError, ValueError):
        return True


def _connect_advice(reason: str) -> str:
    if reason in ("Not authorized", "Bad user name or password"):
        return "Check the user name and the password, as in mqtt://USER:PASSWORD@HOST"
    if reason == "Unsupported protocol version":
        return "It must speak MQTT 5"
    return "See the broker's log"
