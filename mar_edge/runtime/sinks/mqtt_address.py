"""The address of a broker, with its options: `mqtts://user:password@host:8883/topic/prefix?ca=ca.pem`."""

from __future__ import annotations

import difflib
import hashlib
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from mar_edge.credentials import address_without_credentials
from mar_edge.errors import OutputError
from mar_edge.runtime.sinks.secret_file import read_secret

PREFIX = "mar-edge"
PORTS = {"mqtt": 1883, "mqtts": 8883}
OPTIONS = ("ca", "cert", "key", "password_file", "discovery", "spool", "spool_events", "spool_mb")


@dataclass(frozen=True)
class MqttAddress:
    """Where and how to reach a broker.

    Attributes:
        host: its name or number.
        port: its port.
        prefix: first levels of all topics, without slashes at the ends.
        tls: whether the connection is encrypted.
        user: login name; None for none.
        password: its password.
        ca: file with the authorities whose certificates are trusted; None for those of the system.
        cert, key: files with this client's certificate and its key; the key may be in `cert`.
        discovery: topic prefix of Home Assistant's discovery; None for none.
        spool: folder for the events that wait; None for the one in this device's cache.
        spool_events, spool_bytes: bounds of the spool.
    """

    host: str
    port: int
    prefix: str = PREFIX
    tls: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    discovery: str | None = None
    spool: Path | None = None
    spool_events: int = 10_000
    spool_bytes: int = 16 << 20

    @property
    def name(self) -> str:
        """For messages and for the spool: without credentials and options."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}/{self.prefix}"

    @property
    def key_of_spool(self) -> str:
        """Name of the spool's folder: the same for the same broker and prefix."""
        digest = hashlib.sha256(f"{self.host.lower()}\n{self.port}\n{self.prefix}".encode()).hexdigest()
        return f"{re.sub(r'[^A-Za-z0-9.-]', '_', self.host)[:60]}-{self.port}-{digest[:16]}"

    def tls_context(self) -> ssl.SSLContext:
        """Return how to encrypt; the broker's certificate and its name are checked.

        Raises:
            OutputError: if a file cannot be used.
        """
        file = self.ca
        try:
            context = ssl.create_default_context(cafile=file)
            if self.cert is not None:
                file = self.cert if self.key is None else f"{self.cert} with the key {self.key}"
                context.load_cert_chain(self.cert, self.key, password=_no_password)
        except (OSError, ValueError) as error:
            raise OutputError(
                f"cannot use the certificate {file}: {error}. Give a PEM file; a key must not be encrypted"
            ) from error
        return context


def parse(url: str) -> MqttAddress:
    """Return the address that a user typed.

    Args:
        url: `mqtt://` or `mqtts://`, with the options in `OPTIONS` as its query. Special characters of a user name, a
            password and an option are written as in every URL, as `%40` for `@`.

    Raises:
        OutputError: if it is invalid; the message names the mistake, and shows no credentials.
    """
    shown = address_without_credentials(url)

    def fail(problem: str) -> OutputError:
        return OutputError(f"'{shown}' is not the address of a broker: {problem}")

    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise fail("its host or port is invalid; write special characters of a password as %XX") from None
    if parts.scheme not in PORTS:
        raise fail("it must begin with mqtt:// or mqtts://")
    host = parts.hostname
    if not host or port == 0:
        raise fail("give mqtt://HOST:PORT/TOPIC/PREFIX")
    try:
        host.encode("idna")
    except UnicodeError:
        raise fail("its host is not a valid name") from None
    if parts.fragment:
        raise fail("write # as %23; in topics it is not allowed")
    options = _options(parts.query, tls=parts.scheme == "mqtts", fail=fail)
    if (user := _unquoted(parts.username)) is None and "password_file" in options:
        raise fail("password_file needs a user name, as in mqtt://USER@HOST")
    password = _password(options["password_file"]) if "password_file" in options else _unquoted(parts.password)
    return MqttAddress(
        host=host,
        port=port or PORTS[parts.scheme],
        prefix=_topic(unquote(parts.path), fail) or PREFIX,
        tls=parts.scheme == "mqtts",
        user=user,
        password=password,
        ca=options.get("ca"),
        cert=options.get("cert"),
        key=options.get("key"),
        discovery=_topic(options["discovery"], fail) if "discovery" in options else None,
        spool=Path(options["spool"]).expanduser() if "spool" in options else None,
        spool_events=_whole("spool_events", options, 10_000, fail),
        spool_bytes=_whole("spool_mb", options, 16, fail) << 20,
    )


def _options(query: str, *, tls: bool, fail: Callable[[str], OutputError]) -> dict[str, str]:
    options: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in OPTIONS:
            near = difflib.get_close_matches(key, OPTIONS, n=1, cutoff=0)[0]
            raise fail(f"unknown option '{key}'; did you mean '{near}'? Options: {', '.join(OPTIONS)}")
        if key in options:
            raise fail(f"the option '{key}' is given twice")
        if not value:
            raise fail(f"the option '{key}' has no value")
        options[key] = value
    if not tls and (wrong := {"ca", "cert", "key"} & options.keys()):
        raise fail(f"the option '{min(wrong)}' needs mqtts://")
    if "key" in options and "cert" not in options:
        raise fail("the option 'key' needs 'cert'")
    return options


def _whole(name: str, options: Mapping[str, str], default: int, fail: Callable[[str], OutputError]) -> int:
    text = options.get(name, str(default))
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise fail(f"{name} must be a whole number from 1 on")
    return int(text)


def _topic(text: str, fail: Callable[[str], OutputError]) -> str:
    """Return a topic prefix without slashes at its ends."""
    text = text.strip("/")
    if re.search(r"[+#]", text) or text.startswith("$") or not text.isprintable():
        raise fail("a topic must not contain +, # or control characters, nor begin with $")
    if len(text.encode()) > 1000:
        raise fail("its topic is longer than 1000 bytes")
    return text


def _unquoted(text: str | None) -> str | None:
    return None if text is None else unquote(text)


def _password(path: str) -> str:
    try:
        return read_secret(Path(path).expanduser(), "password").decode()
    except UnicodeDecodeError as error:
        raise OutputError(f"the password in {path} is not UTF-8") from error


def _no_password() -> str:
    """Never ask on the terminal for the password of a key."""
    return ""
