"""Network cameras and videos at web addresses."""

from __future__ import annotations

import math

from mar_edge.errors import OptionError
from mar_edge.reporting import Warnings
from mar_edge.runtime.sources.network.address import Transport, parse_address
from mar_edge.runtime.sources.network.answer import Watch, through_proxy
from mar_edge.runtime.sources.network.connection import NetworkConnection

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 5.0
PICTURE_TIMEOUT_S = 10.0
"""Most cameras send a key frame, with which decoding begins, at least this often."""


class NetworkSource:
    """Frames of `rtsp://`, `rtsps://`, `http://` and `https://` addresses: cameras, MJPEG, HLS and video files.

    RTSP, MJPEG, HLS without an end and other bodies without a length are live: the newest frame counts, and one that
    nobody has read when the next is decoded is dropped. A video file and HLS with an end wait for the reader, and have the
    times of a local file. Pictures of live frames are converted to RGB when they are asked for.

    What the server sends cannot open local files; a playlist can name other addresses.

    Args:
        address: may end in `#transport=udp`, or for https and rtsps in `#verify=no`.
        transport: of RTSP's pictures: `tcp` passes routers and firewalls and loses nothing; `udp` for cameras without it.
        verify_tls: whether the certificate of an https or rtsps server must be signed by an authority that the system or
            the file in `SSL_CERT_FILE` trusts, for this host.
        connect_timeout_s: time for the server's answer, seconds.
        read_timeout_s: time without any data after which the connection is lost, seconds.
        picture_timeout_s: time for the first picture once data comes, seconds: more than the camera's interval of key frames.

    Attributes:
        name: the address without credentials and options.
        live: whether frames come at their own pace; valid once connected.
        dropped: live frames that were replaced before they were read.
        warnings: what the operator should know.

    Raises:
        SourceError: if it is not such an address, or an option in it is unknown.
        OptionError: if a time-out is not a positive number.
    """

    def __init__(
        self,
        address: str,
        *,
        transport: Transport = "tcp",
        verify_tls: bool = True,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
        picture_timeout_s: float = PICTURE_TIMEOUT_S,
    ) -> None:
        for name, value in (("connect", connect_timeout_s), ("read", read_timeout_s), ("picture", picture_timeout_s)):
            if not (math.isfinite(value) and value > 0):
                raise OptionError(f"{name}_timeout_s is {value}; expected seconds, above 0")
        if transport not in ("tcp", "udp"):
            raise OptionError(f"transport is '{transport}'; expected tcp or udp")
        self._address = parse_address(address, transport=transport, verify_tls=verify_tls)
        self.name = self._address.name
        self.live = True
        self.dropped = 0
        self.warnings = Warnings()
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._picture_timeout_s = picture_timeout_s

    def connect(self) -> NetworkConnection:
        """Open it, and wait for the first picture.

        Raises:
            SourceError: with the cause as `code`, and the next step in the message.
        """
        connection = NetworkConnection(
            self._address,
            warn=self.warnings,
            on_drop=self._count_drop,
            connect_timeout_s=self._connect_timeout_s,
            read_timeout_s=self._read_timeout_s,
            picture_timeout_s=self._picture_timeout_s,
        )
        connection.open()
        self.live = connection.live
        return connection

    def watch(self) -> Watch | None:
        """Return what finds out when the server comes back; None if it cannot be asked, as behind a proxy."""
        return None if through_proxy(self._address) else Watch(self._address)

    def _count_drop(self) -> None:
        self.dropped += 1
