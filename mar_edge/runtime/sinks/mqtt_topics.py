"""Topics under one prefix, and what is retained there: the state of every stream, and Home Assistant's discovery."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any, get_args
from urllib.parse import quote

from mar_edge.errors import SourceCode
from mar_edge.runtime.results import Notice, Prediction, State, StreamStatus
from mar_edge.version import __version__

ONLINE = b"online"
OFFLINE = b"offline"

_LONGEST = 200
"""Characters of a topic's level for a stream; of longer names, the rest is a hash."""

_URL = "https://github.com/mar-edge/mar-edge"
_LABEL_LIMIT = 255
"""Characters of a state in Home Assistant."""


def level(stream: str) -> str:
    """Return a stream's name as one level of a topic; different names have different levels.

    Characters that a topic must not contain, and `%`, are written as `%XX`, like in URLs.
    """
    safe = "".join(one if one.isprintable() and one not in "+#/%" else _escaped(one) for one in stream) or "%"
    if len(safe) <= _LONGEST:
        return safe
    digest = hashlib.sha256(stream.encode(errors="surrogatepass")).hexdigest()
    return f"{safe[: _LONGEST - 34]}%~{digest[:32]}"


def _escaped(char: str) -> str:
    return quote(char, safe="", errors="surrogatepass")


def encoded(content: dict[str, Any]) -> bytes:
    """Return an object as JSON."""
    return json.dumps(content, ensure_ascii=False).encode(errors="backslashreplace")


class StreamStates:
    """The state of every stream, as notices, statuses and predictions show it."""

    def __init__(self) -> None:
        self._states: dict[str, tuple[State, str | None]] = {}

    def update(self, record: Prediction | Notice | StreamStatus) -> bytes | None:
        """Return what to publish if a record changes the state of its stream; None otherwise."""
        message: str | None = None
        if isinstance(record, StreamStatus):
            state: tuple[State, str | None] = record.state, record.code
            message = record.message
        elif isinstance(record, Prediction):
            if self._states.get(record.stream, ("connecting", None))[0] != "connecting":
                return None  # a result of a frame that came before the loss
            state = "live", None
        elif record.code == "live":
            state = "live", None
        elif record.code in get_args(SourceCode):
            state, message = ("lost", record.code), record.message
        else:
            return None
        if self._states.get(record.stream) == state:
            return None
        self._states[record.stream] = state
        return encoded(
            {
                "type": "status",
                "stream": record.stream,
                "state": state[0],
                "code": state[1],
                "message": message,
                "since": datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            }
        )


def discovery(stream: str, *, prefix: str, root: str) -> Iterator[tuple[str, bytes]]:
    """Yield topic and content of the messages by which Home Assistant finds a stream's sensors.

    Each is a "single component discovery payload", see https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery.

    Args:
        stream: its name.
        prefix: of mar-edge's topics.
        root: Home Assistant's prefix, `homeassistant` unless changed there.
    """
    base = f"{prefix}/{level(stream)}"
    ident = f"mar_edge_{hashlib.sha256(base.encode()).hexdigest()[:16]}"
    served = {"topic": f"{prefix}/status"}
    live = {
        "topic": f"{base}/status",
        "value_template": "{{ 'online' if value_json.state == 'live' else 'offline' }}",
    }
    label = f"{{{{ value_json.label[:{_LABEL_LIMIT}] }}}}"
    sensors: dict[str, dict[str, Any]] = {
        "action": {
            "name": "Action",
            "icon": "mdi:run",
            "state_topic": f"{base}/prediction",
            "value_template": label,  # without the score, or every prediction would be a new state in its history
            "availability": [served, live],
            "availability_mode": "all",
        },
        "event": {
            "name": "Last event",
            "icon": "mdi:motion-sensor",
            "state_topic": f"{base}/event",
            "value_template": label,
            "json_attributes_topic": f"{base}/event",
            "availability": [served],
            "qos": 1,
        },
        "state": {
            "name": "State",
            "device_class": "enum",
            "options": list(get_args(State)),
            "entity_category": "diagnostic",
            "state_topic": f"{base}/status",
            "value_template": "{{ value_json.state }}",
            "json_attributes_topic": f"{base}/status",
            "availability": [served],
            "qos": 1,
        },
    }
    for name, sensor in sensors.items():
        content = {
            **sensor,
            "unique_id": f"{ident}_{name}",
            "device": {"identifiers": [ident], "name": stream, "manufacturer": "mar-edge", "sw_version": __version__},
            "origin": {"name": "mar-edge", "sw_version": __version__, "support_url": _URL},
        }
        yield f"{root}/sensor/{ident}_{name}/config", encoded(content)
