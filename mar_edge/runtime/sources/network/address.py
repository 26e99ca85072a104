"""Network addresses: what they may be, their options, and how FFmpeg is told to open them."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from typing import Literal, cast
from urllib.parse import urlsplit

from mar_edge.credentials import address_without_credentials
from mar_edge.errors import SourceError
from mar_edge.runtime.video.limits import FORMATS, LATE_FORMATS, container_options

Transport = Literal["tcp", "udp"]

SCHEMES = ("rtsp", "rtsps", "http", "https")
"""Of the addresses that `NetworkSource` reads."""

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_CHOICES = {"transport": ("tcp", "udp"), "verify": ("yes", "no")}
_APPLIES = {"transport": ("rtsp", "rtsps"), "verify": ("rtsps", "https")}

_ADDRESS = re.compile(r"([a-z]+)://\S+", re.IGNORECASE)
# a fragment is never sent to the server, so it cannot conflict with a camera's own query; a password may contain a '#'
_OPTIONS = re.compile(r"#([A-Za-z_]+=[^#@/?]*)$")
_UNSAFE = re.compile(r"[\x00-\x20\x7f]")  # would end the line of a request

# "none" of the decoders: FFmpeg would decode pictures of any size, and for seconds, to learn about a stream.
# 1 us: packets that it reads to learn are frames that arrive late.
_NOTHING_AHEAD = {"codec_whitelist": "none", "analyzeduration": "1"}


@dataclass(frozen=True)
class NetworkAddress:
    """An address as typed, taken apart.

    Attributes:
        url: for FFmpeg, with credentials, without our options.
        name: for people, without credentials.
        scheme: one of `SCHEMES`.
        host, port: of the server.
        transport: of RTSP's pictures.
        verify: whether the certificate of an https or rtsps server must be valid.
    """

    url: str
    name: str
    scheme: str
    host: str
    port: int
    transport: Transport
    verify: bool

    @property
    def rtsp(self) -> bool:
        """Whether a camera is asked through RTSP."""
        return self.scheme in ("rtsp", "rtsps")

    def options(self) -> dict[str, str]:
        """Return the options with which FFmpeg opens it; nothing that the server names can open a local file."""
        if self.rtsp:
            return {
                **container_options(protocol="tcp,udp,rtp,tls", formats=("rtsp", "mpegts")),
                **_NOTHING_AHEAD,
                "rtsp_transport": self.transport,
                "allowed_media_types": "video",
                **self._encryption(),
            }
        return {
            **container_options(
                protocol="http,https,tcp,tls,httpproxy,crypto", formats=(*FORMATS, *LATE_FORMATS, "hls")
            ),
            **_NOTHING_AHEAD,
            **self._encryption(),
            "user_agent": "mar-edge",
        }

    def _encryption(self) -> dict[str, str]:
        if not self.verify:
            return {"tls_verify": "0"}
        # the library within PyAV looks for the system's authorities where only some systems have them
        authorities = ssl.get_default_verify_paths().cafile
        return {"tls_verify": "1", **({"ca_file": authorities} if authorities else {})}


def parse_address(text: str, *, transport: Transport = "tcp", verify_tls: bool = True) -> NetworkAddress:
    """Take an address apart.

    Args:
        text: an address of one of `SCHEMES`. `#transport=udp` or `#verify=no` at its end are options for mar-edge,
            joined by `&`; they take precedence over the arguments.
        transport: see `NetworkAddress`.
        verify_tls: see `NetworkAddress.verify`.

    Raises:
        SourceError: if it is not an address, or an option is unknown.
    """
    text = text.strip()
    match = _OPTIONS.search(text)
    url, typed = (text[: match.start()], match[1]) if match else (text, "")
    name = address_without_credentials(url)
    scheme = (_ADDRESS.fullmatch(url) or ["", ""])[1].lower()
    if scheme not in SCHEMES or _UNSAFE.search(url):
        raise _invalid(f"{name} is not a network address; expected for instance rtsp://192.168.1.10/stream1")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _PORTS[scheme]
    except ValueError:
        host, port = None, 0
    if not host:
        raise _invalid(
            f"{name} has no valid host and port; expected for instance rtsp://192.168.1.10/stream1. "
            "Write special characters in a password as %XX: / as %2F, ? as %3F, # as %23"
        )
    options = _options(name, scheme, typed)
    return NetworkAddress(
        url=scheme + url[len(scheme) :],
        name=name,
        scheme=scheme,
        host=host,
        port=port,
        transport=cast(Transport, options.get("transport", transport)),
        verify=options["verify"] == "yes" if "verify" in options else verify_tls,
    )


def _options(name: str, scheme: str, typed: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in filter(None, typed.split("&")):
        key, _, value = part.partition("=")
        if key not in _CHOICES:
            raise _invalid(f"{name} has no option '{key}'; after '#' may stand {' or '.join(map(_listed, _CHOICES))}")
        if scheme not in _APPLIES[key]:
            raise _invalid(f"{name}: option {key} is for {' and '.join(_APPLIES[key])} addresses; remove it")
        if value not in _CHOICES[key]:
            raise _invalid(f"{name}: {key} is '{value}'; expected {_listed(key)}")
        options[key] = value
    return options


def _listed(key: str) -> str:
    return " or ".join(f"{key}={value}" for value in _CHOICES[key])


def _invalid(message: str) -> SourceError:
    return SourceError(message, retry=False)
