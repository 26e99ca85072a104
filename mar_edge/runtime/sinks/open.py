"""Opens the outputs that a user names."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from mar_edge.runtime.results import Kind, StreamStatus
from mar_edge.runtime.sinks.event_clips import EventClips
from mar_edge.runtime.sinks.json_lines import JsonLinesSink
from mar_edge.runtime.sinks.metrics import Metrics
from mar_edge.runtime.sinks.mqtt import Mqtt
from mar_edge.runtime.sinks.mqtt_address import parse
from mar_edge.runtime.sinks.notify import Notify
from mar_edge.runtime.sinks.recording import Recording
from mar_edge.runtime.sinks.secret_file import read_secret
from mar_edge.runtime.sinks.webhook import Webhook

__all__ = [
    "EventClips",
    "JsonLinesSink",
    "Metrics",
    "Mqtt",
    "Recording",
    "Webhook",
    "open_metrics",
    "open_mqtt",
    "open_webhook",
]

WEBHOOK_SECRET = "MAR_EDGE_WEBHOOK_SECRET"
"""Environment variable with the secret that signs webhooks; with `_FILE` at its end, one with the path of a file with it."""


def open_mqtt(url: str, *, notify: Notify) -> Mqtt:
    """Return the output `mqtt://HOST/TOPIC/PREFIX`, see `Mqtt`.

    Raises:
        OutputError: if the address is invalid, or its files cannot be used.
        MissingExtraError: if paho-mqtt is not installed.
    """
    return Mqtt(parse(url), notify=notify)


def open_webhook(
    url: str,
    *,
    notify: Notify,
    secret: bytes | None = None,
    wants: frozenset[Kind] = frozenset({"event", "notice"}),
    ca: Path | None = None,
) -> Webhook:
    """Return the output `https://HOST/PATH`, see `Webhook`.

    Args:
        url: its address.
        notify: called with what an operator should know.
        secret: signs every request; without it the content of the file that the environment variable
            `MAR_EDGE_WEBHOOK_SECRET_FILE` names, or of `MAR_EDGE_WEBHOOK_SECRET`; without any, nothing is signed.
        wants: kinds of records that are sent.
        ca: file with the authorities whose certificates are trusted.

    Raises:
        OutputError: if the address is invalid, or a file cannot be used.
        MissingExtraError: if urllib3 is not installed.
    """
    if secret is None and (named := os.environ.get(f"{WEBHOOK_SECRET}_FILE")):
        secret = read_secret(Path(named), "secret of the webhook")
    return Webhook(
        url, secret=secret or os.environb.get(WEBHOOK_SECRET.encode()) or None, wants=wants, ca=ca, notify=notify
    )


def open_metrics(
    address: str,
    *,
    status: Callable[[], list[StreamStatus]],
    outputs: Callable[[], Mapping[str, Mapping[str, int]]],
) -> Metrics:
    """Return the output that serves Prometheus at `HOST:PORT`, see `Metrics`.

    Raises:
        OutputError: if the address is invalid or in use.
        MissingExtraError: if prometheus-client is not installed.
    """
    return Metrics(address, status=status, outputs=outputs)
