"""MQTT 5: predictions, events and states on a broker; events wait on disk while it is away."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from mar_edge.counting import counted
from mar_edge.extras import require
from mar_edge.printable import printable
from mar_edge.runtime.device import cache
from mar_edge.runtime.results import EventEnded, EventStarted, Kind, Notice, Prediction, Record, StreamStatus
from mar_edge.runtime.sinks.mqtt_address import MqttAddress
from mar_edge.runtime.sinks.mqtt_client import MqttClient
from mar_edge.runtime.sinks.mqtt_topics import OFFLINE, ONLINE, StreamStates, discovery, encoded, level
from mar_edge.runtime.sinks.notify import Notify, no_notice
from mar_edge.runtime.sinks.spool import Spool

if TYPE_CHECKING:
    from paho.mqtt.reasoncodes import ReasonCode

_CLOSING_S = 0.9
_RETRY_S = 5.0
"""Time after which an event is sent again that the broker refused, but may accept later."""

_FOR_GOOD = {"Topic name invalid", "Payload format invalid"}
"""Refusals that no later attempt changes."""


class Mqtt:
    """Publishes on a broker.

    `write` returns after an event is on the disk; a thread of this object publishes what waits there, in order, and removes an
    event only after the broker has acknowledged it. So an event may arrive twice; its `id` and `phase` tell. The connection
    has a thread of its own, too, and is made again whenever it is lost.

    Args:
        address: the broker, see `mqtt_address.parse`.
        notify: called with what an operator should know, from the publishing thread; it must not raise.

    Attributes:
        dropped: records that were dropped: `prediction` while the broker was away or too slow, `event` beyond the spool's
            bound, `refused` for events that the broker will never accept.

    Raises:
        OutputError: if a certificate or the spool cannot be used.
        MissingExtraError: if paho-mqtt is not installed.
    """

    wants: frozenset[Kind] = frozenset({"prediction", "event", "notice", "summary"})

    def __init__(self, address: MqttAddress, *, notify: Notify = no_notice) -> None:
        require("paho", "mqtt", called="paho-mqtt")
        self.name = address.name
        self.dropped = {"prediction": 0, "event": 0, "refused": 0}
        self._address = address
        self._notify = notify
        self._reports: deque[str] = deque()
        self._states = StreamStates()
        self._introduced: set[str] = set()  # streams that Home Assistant knows
        self._retained: dict[str, bytes] = {f"{address.prefix}/status": ONLINE}
        self._fresh: dict[str, bytes] = {}  # of those, what is to be published
        self._mutex = threading.Lock()  # of the two above
        self._sent: dict[int, tuple[int, str]] = {}  # message id: (id in the spool or 0, topic)
        self._last = 0  # id in the spool of the newest one that was sent
        self._session = 0
        self._retry_at: float | None = None
        self._refused: set[str] = set()  # topics
        self._told = 0  # of the dropped predictions
        self._closing = False
        self._wake = threading.Event()
        self._client = MqttClient(
            address,
            will=(f"{address.prefix}/status", OFFLINE),
            wake=self._wake.set,
            report=self._say,
        )
        self._spool = Spool(
            (address.spool or cache.folder("spool")) / address.key_of_spool,
            max_messages=address.spool_events,
            max_bytes=address.spool_bytes,
            say=self._say,
        )
        if len(self._spool):
            self._say(
                f"{counted(len(self._spool), 'event', 'waits', 'wait')} from an earlier run, and will be sent first"
            )
        self._thread = threading.Thread(target=self._publish, name="mar-edge mqtt", daemon=True)
        self._thread.start()
        self._client.start()

    def write(self, record: Record) -> None:
        """Publish a record, or store it if it is an event. It waits for the disk alone, never for the broker."""
        base = f"{self._address.prefix}/{level(record.stream)}"
        if isinstance(record, (EventStarted, EventEnded)):
            self._introduce(record.stream)
            dropped = self._spool.append(f"{base}/event", encoded(record.to_json()))
            if dropped:
                if not self.dropped["event"]:
                    self._say("the spool is full; the oldest events are dropped and counted. Check the broker")
                self.dropped["event"] += dropped
        elif isinstance(record, (Prediction, Notice, StreamStatus)):
            if (status := self._states.update(record)) is not None:
                self._introduce(record.stream)
                self._retain(f"{base}/status", status)
            if isinstance(record, Prediction) and not self._client.send_now(
                f"{base}/prediction", encoded(record.to_json())
            ):
                self.dropped["prediction"] += 1
        self._wake.set()

    def close(self) -> None:
        """Publish what waits for up to a second, say `offline`, and disconnect; events that remain stay in the spool."""
        deadline = time.monotonic() + _CLOSING_S
        while (
            self._client.session
            and (self._sent or self._fresh or len(self._spool))
            and time.monotonic() < deadline - 0.3
        ):
            time.sleep(0.01)
        self._closing = True
        self._wake.set()
        self._thread.join(max(deadline - time.monotonic(), 0.1))
        self._client.stop((f"{self._address.prefix}/status", OFFLINE), deadline)
        self._take_acknowledgements()
        self._spool.close()
        self._deliver_reports()

    def _introduce(self, stream: str) -> None:
        """Tell Home Assistant about a stream, once."""
        if self._address.discovery is None or stream in self._introduced:
            return
        self._introduced.add(stream)
        for topic, content in discovery(stream, prefix=self._address.prefix, root=self._address.discovery):
            self._retain(topic, content)

    def _retain(self, topic: str, content: bytes) -> None:
        with self._mutex:
            self._retained[topic] = self._fresh[topic] = content

    def _publish(self) -> None:
        """Run the publishing thread."""
        while not self._closing:
            self._wake.wait(None if self._retry_at is None else max(self._retry_at - time.monotonic(), 0))
            self._wake.clear()
            self._take_acknowledgements()
            with self._client.turn:
                if self._client.session:
                    if self._client.session != self._session:
                        self._begin()
                    self._send_retained()
                    self._send_events()
                else:
                    self._retry_at = None  # all of them are sent again on the next connection
            self._deliver_reports()

    def _begin(self) -> None:
        """Start over on a new connection: what was not acknowledged on the old one is sent again."""
        self._session = self._client.session
        self._sent.clear()
        self._last = 0
        self._retry_at = None
        with self._mutex:
            self._fresh = dict(self._retained)
        lost, self._told = self.dropped["prediction"] - self._told, self.dropped["prediction"]
        if self._client.recovered:
            waiting, gone = len(self._spool), self.dropped["event"]
            self._say(
                f"connected again; {counted(waiting, 'event', 'waits', 'wait')} and will be sent first, "
                f"{counted(lost, 'prediction', 'was', 'were')} dropped"
                + (f", and {counted(gone, 'event')} since the start" if gone else "")
            )

    def _send_retained(self) -> None:
        if self._client.status_is_wrong():  # the will of an older connection arrived late
            self._retain(f"{self._address.prefix}/status", ONLINE)
        while len(self._sent) < self._client.window:
            with self._mutex:
                if not self._fresh:
                    return
                topic = next(iter(self._fresh))
                content = self._fresh.pop(topic)
            self._sent[self._client.send(topic, content, retain=True)] = 0, topic

    def _send_events(self) -> None:
        if self._retry_at is not None and time.monotonic() >= self._retry_at:
            self._retry_at, self._last = None, 0
        on_their_way = {spooled for spooled, _ in self._sent.values()}
        while (room := self._client.window - len(self._sent)) > 0 and (found := self._spool.after(self._last, room)):
            for message in found:
                self._last = message.id
                if message.id not in on_their_way:
                    number = self._client.send(message.topic, message.payload, retain=False)
                    self._sent[number] = message.id, message.topic

    def _take_acknowledgements(self) -> None:
        done = []
        for number, reason in self._client.acknowledgements():
            if number not in self._sent:
                continue
            spooled, topic = self._sent.pop(number)
            if not reason.is_failure:
                self._refused.discard(topic)
            elif topic not in self._refused:
                self._refused.add(topic)
                self._say(f"the broker refuses {printable(topic)}: {reason}. {_advice(reason)}")
            if not spooled:
                continue
            if reason.is_failure and str(reason) not in _FOR_GOOD:
                self._retry_at = self._retry_at or time.monotonic() + _RETRY_S
            else:
                self.dropped["refused"] += reason.is_failure
                done.append(spooled)
        if done:
            self._spool.remove(done)

    def _say(self, message: str) -> None:
        self._reports.append(message)

    def _deliver_reports(self) -> None:
        while self._reports:
            self._notify(Notice(stream=self.name, code="output", message=f"{self.name}: {self._reports.popleft()}"))


def _advice(reason: ReasonCode) -> str:
    if str(reason) == "Not authorized":
        return "Allow this user to write to it; events wait until then"
    return "See the broker's log"
