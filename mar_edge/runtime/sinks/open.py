"""Opens the outputs that a user names."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from mar_edge.runtime.results import Notice, StreamStatus
from mar_edge.runtime.sinks.metrics import Metrics
from mar_edge.runtime.sinks.mqtt import Mqtt
from mar_edge.runtime.sinks.mqtt_address import parse
from mar_edge.runtime.sinks.secret_file import read_secret
from mar_edge.runtime.sinks.webhook import Webhook

WEBHOOK_SECRET = "MAR_EDGE_WEBHOOK_SECRET"
"""Environment variable with the secret that signs webhooks; with `_FILE` at its end, one with the path of a file with it."""

Notify = Callable[[Notice], None]


def open_mqtt(url: str, *, notify: Notify) -> Mqtt:
    """Return the output `mqtt://HOST/TOPIC/PREFIX`, see `Mqtt`.

    Raises:
        OutputError: if the address is invalid, or its files cannot be used.
        MissingExtraError: if paho-mqtt is not installed.
    """
    return Mqtt(parse(url), notify=notify)


def open_webhook(url: str, *, notify: Notify, secret_file: Path | None = None, ca: Path | None = None) -> Webhook:
    """Return the output `https://HOST/PATH`, see `Webhook`.

    Args:
        url: its address.
        notify: called with what an operator should know.
        secret_file: file with the secret that signs; without it the one that the environment variable
            `MAR_EDGE_WEBHOOK_SECRET_FILE` names, or the content of `MAR_EDGE_WEBHOOK_SECRET`; without any, nothing is signed.
        ca: file with the authorities whose certificates are trusted.

    Raises:
        OutputError: if the address is invalid, or a file cannot be used.
        MissingExtraError: if urllib3 is not installed.
    """
    if secret_file is None and (named := os.environ.get(f"{WEBHOOK_SECRET}_FILE")):
        secret_file = Path(named)
    if secret_file is not None:
        secret: bytes | None = read_secret(secret_file, "secret of the webhook")
    else:
        secret = os.environb.get(WEBHOOK_SECRET.encode()) or None
    return Webhook(url, secret=secret, ca=ca, notify=notify)


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
