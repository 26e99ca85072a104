"""Webhooks: every record as a signed HTTP POST of its JSON."""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
import time
import uuid
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from mar_edge.errors import OutputError
from mar_edge.extras import require
from mar_edge.printable import printable
from mar_edge.runtime.results import EventEnded, EventStarted, Kind, Notice, Record, ShownFrame
from mar_edge.runtime.sinks.notify import Notify, no_notice
from mar_edge.version import __version__

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

SIGNATURE = "X-Mar-Edge-Signature"
TIMEOUT_S = 5.0

_LATER = {408, 425, 429}
"""Refusals that a later attempt may change; so may all from 500 on."""

_MOST_WAIT_S = 3600.0
_MOST_ANSWER_BYTES = 64 << 10


class Webhook:
    """Posts records to one address.

    An answer of 2xx is a success. No answer, 408, 425, 429 and 5xx raise an error with `retry`, so that the outlet tries the
    same record again; not before the moment that `Retry-After` asks for. Any other answer drops that record alone, and says
    so. Redirects are not followed: the body and its signature are for the address that was given.

    Args:
        url: `http://` or `https://`; a user name and a password in it are sent as basic authentication.
        secret: signs every request; None for no signature.
        wants: kinds of records that are posted; frames cannot be.
        ca: file with the authorities whose certificates are trusted; None for those of the system.
        timeout_s: for connecting, and for each read of the answer.
        notify: called with what an operator should know, from the thread that calls `write`.

    Attributes:
        dropped: records that were dropped: `refused` by the receiver.

    Raises:
        OutputError: if the address or the file cannot be used.
        MissingExtraError: if urllib3 is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        secret: bytes | None = None,
        wants: frozenset[Kind] = frozenset({"event", "notice"}),
        ca: Path | None = None,
        timeout_s: float = TIMEOUT_S,
        notify: Notify = no_notice,
    ) -> None:
        require("urllib3", "webhook")
        import urllib3

        self.name = _name(url)
        self.wants = wants - {"frame"}
        self.dropped = {"refused": 0}
        self._secret = secret
        self._notify = notify
        self._not_before = 0.0
        self._refusal: int | None = None
        self._key: tuple[Record, str] | None = None
        try:
            parsed = urllib3.util.parse_url(url)
            context = ssl.create_default_context(cafile=ca) if parsed.scheme == "https" else None
        except urllib3.exceptions.LocationParseError as error:
            raise OutputError("this is not the address of a webhook. Give https://HOST/PATH") from error
        except OSError as error:
            raise OutputError(f"cannot use the certificates {ca}: {error}. Give a PEM file") from error
        self._url = parsed._replace(auth=None, fragment=None).url
        headers = {"Content-Type": "application/json", "User-Agent": f"mar-edge/{__version__}"}
        if parsed.auth is not None:
            headers |= urllib3.util.make_headers(basic_auth=unquote(parsed.auth))
        self._pool = urllib3.PoolManager(
            num_pools=1,
            headers=headers,
            timeout=urllib3.Timeout(connect=timeout_s, read=timeout_s),
            retries=False,
            **({} if context is None else {"ssl_context": context}),
        )

    def write(self, record: Record) -> None:
        """Post a record.

        Raises:
            OutputError: with `retry`, if the receiver is away, too slow or asks to come back later.
        """
        if isinstance(record, ShownFrame) or record.stream == self.name:  # what is said about this output itself
            return
        if (wait_s := self._not_before - time.monotonic()) > 0:
            raise OutputError(f"{self.name} asks for a pause; next attempt in {wait_s:.0f} s", retry=True)
        body = json.dumps(record.to_json(), ensure_ascii=False).encode(errors="backslashreplace")
        status = self._post(body, self._idempotency_key(record))
        if 200 <= status < 300:
            self._refusal = None
        else:
            self.dropped["refused"] += 1
            if status != self._refusal:
                self._refusal = status
                self._say(f"it answers {status}, so a record was dropped. {_advice(status)}")

    def close(self) -> None:
        """Close the connection."""
        self._pool.clear()

    def _post(self, body: bytes, key: str) -> int:
        """Post once; returns the answer's status, which is not one to retry."""
        import urllib3

        headers = {**self._pool.headers, "Idempotency-Key": key}
        if self._secret is not None:
            headers[SIGNATURE] = sign(body, self._secret, int(time.time()))
        try:
            answer = self._pool.request("POST", self._url, body=body, headers=headers, preload_content=False)
            self._finish(answer)
        except urllib3.exceptions.HTTPError as error:
            raise OutputError(f"cannot post to {self.name}: {_why(error)}", retry=True) from error
        if answer.status in _LATER or answer.status >= 500:
            self._not_before = time.monotonic() + _retry_after_s(answer.headers.get("Retry-After"))
            raise OutputError(
                f"{self.name} answers {answer.status} {printable(answer.reason or '')}".rstrip(), retry=True
            )
        return answer.status

    def _finish(self, answer: BaseHTTPResponse) -> None:
        """Read what is left of an answer, so that the connection can be used again; close it if that is too much."""
        answer.read(_MOST_ANSWER_BYTES)
        answer.close()

    def _idempotency_key(self, record: Record) -> str:
        """Return a key that is the same for every attempt."""
        if isinstance(record, (EventStarted, EventEnded)):
            return f"{record.id}:{record.to_json()['phase']}"
        if self._key is None or self._key[0] is not record:
            self._key = record, str(uuid.uuid4())
        return self._key[1]

    def _say(self, message: str) -> None:
        self._notify(Notice(stream=self.name, code="output", message=f"{self.name}: {message}"))


def sign(body: bytes, secret: bytes, time_s: int) -> str:
    """Return the signature of a body: `t=TIME,v1=HEX`, an HMAC-SHA256 over `TIME.BODY`."""
    return f"t={time_s},v1={hmac.new(secret, b'%d.' % time_s + body, hashlib.sha256).hexdigest()}"


def _name(url: str) -> str:
    """Return scheme and host alone: the path of a webhook is often its secret."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise OutputError(
            "this is not the address of a webhook. Give https://HOST/PATH; write special characters of a password as %XX"
        )
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


def _retry_after_s(header: str | None) -> float:
    """Return how long to wait: the header contains seconds, or a moment (RFC 9110, 10.2.3)."""
    if header is None:
        return 0.0
    try:
        wait_s = float(int(header))
    except ValueError:
        try:
            wait_s = parsedate_to_datetime(header).timestamp() - time.time()
        except ValueError:
            return 0.0
    return min(max(wait_s, 0.0), _MOST_WAIT_S)


def _why(error: Exception) -> str:
    """Return why nothing was answered, with the next step."""
    from urllib3 import exceptions

    if isinstance(error, exceptions.SSLError):
        return f"TLS failed ({error}). Check its certificate, the authorities that are trusted, and this device's clock"
    if isinstance(error, exceptions.NameResolutionError):
        return "there is no such host. Check the name and the network"
    if isinstance(error, exceptions.NewConnectionError):
        return "nothing listens there, or the network is down. Check the address"
    if isinstance(error, exceptions.ConnectTimeoutError):
        return "it cannot be reached in time. Check the address and the network"
    if isinstance(error, exceptions.ReadTimeoutError):
        return "it does not answer in time"
    return f"the connection broke ({type(error).__name__})"


def _advice(status: int) -> str:
    if 300 <= status < 400:
        return "It redirects, and redirects are not followed. Give the address that it redirects to"
    if status in (401, 403):
        return "Check the address, its credentials and the signing secret"
    return "Check the address, and what the receiver accepts"
