"""Why a network source cannot be opened or was lost: FFmpeg's error as a code, with the next step."""

from __future__ import annotations

import errno
import socket

import av

from mar_edge.errors import SourceCode, SourceError
from mar_edge.runtime.sources.network.address import NetworkAddress
from mar_edge.runtime.video.container import reason_of

_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN)


def why_not_opened(address: NetworkAddress, error: Exception, took_s: float, timeout_s: float) -> SourceError:
    """Return the reason for which an address was not opened.

    FFmpeg's errors hold the whole address with its password. So the result is to be raised outside of the `except`
    block: it must not be chained to them.

    Args:
        address: which was opened.
        error: of FFmpeg.
        took_s: how long it took.
        timeout_s: how long it could take.
    """
    if isinstance(error, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError):
        return _auth(address, isinstance(error, av.error.HTTPForbiddenError))
    if isinstance(error, av.error.HTTPNotFoundError):
        return _error(address, "not-found", "the server has nothing at this path (404). Check the path in its manual")
    if isinstance(error, av.error.ConnectionRefusedError):
        return _refused(address)
    if isinstance(error, av.error.HTTPTooManyRequestsError):
        return _error(
            address, "refused", "the server answers 'too many requests' (429). Close other programs that use it"
        )
    if isinstance(error, av.error.HTTPError | av.error.HTTPClientError):
        return _error(
            address, "refused", f"{reason_of(error)}. If it persists, check the path, and how many clients are allowed"
        )
    if isinstance(error, av.error.TimeoutError) or took_s >= timeout_s:
        return timed_out(address, timeout_s)
    return _foreign(address, error)


def no_answer(address: NetworkAddress, error: Exception, timeout_s: float) -> SourceError:
    """Return why a server does not answer at all.

    Args:
        address: which was asked.
        error: of `answer.await_answer`.
        timeout_s: how long it was waited for.
    """
    if isinstance(error, socket.gaierror):
        return _error(address, "not-found", f"no host '{address.host}' is known. Check its name, or use its IP address")
    if isinstance(error, ConnectionRefusedError):
        return _refused(address)
    if isinstance(error, TimeoutError):
        return timed_out(address, timeout_s)
    if isinstance(error, OSError) and error.errno in _UNREACHABLE:
        return _error(address, "timeout", f"{error.strerror}. Check that this device is in the camera's network")
    return _error(address, "unreadable", f"it cannot be connected to: {reason_of(error)}. Check the address")


def timed_out(address: NetworkAddress, timeout_s: float) -> SourceError:
    """Return that a server did not answer in time."""
    udp = (
        "; with transport=udp, a firewall may block its pictures" if address.rtsp and address.transport == "udp" else ""
    )
    step = f"Check that it is switched on and that its address is right{udp}"
    return _error(address, "timeout", f"no answer in {timeout_s:g} s. {step}")


def stalled(address: NetworkAddress, silent_s: float) -> SourceError:
    """Return that a server sends no more."""
    return _error(address, "stalled", f"connected, but no data for {silent_s:g} s. Check the camera and its network")


def ended(address: NetworkAddress, error: Exception | None = None) -> SourceError:
    """Return that the other side has closed the connection."""
    reason = f" ({reason_of(error)})" if error is not None else ""
    return _error(address, "ended", f"the other side has ended the stream{reason}. Check whether it was restarted")


def undecodable(address: NetworkAddress, reason: str) -> SourceError:
    """Return that the pictures cannot be decoded."""
    return _error(address, "codec", f"{reason}. Choose H.264 or H.265 in the camera's settings")


def _auth(address: NetworkAddress, forbidden: bool) -> SourceError:
    given = "@" in address.url
    seen = "user name or password is wrong" if given else "it asks for a user name and a password"
    # an '@' here would hide the whole sentence: what stands before one in an address is a login
    step = "Write both into the address, before the host, with special characters as %XX (a slash as %2F)"
    if forbidden:
        seen = "this user may not see it (403)" if given else "it does not answer without a user name (403)"
    return _error(address, "auth", f"{seen}. {step}")


def _refused(address: NetworkAddress) -> SourceError:
    return _error(
        address,
        "refused",
        f"nothing listens on port {address.port} of {address.host}. Check the port, and whether its server is running",
    )


def _foreign(address: NetworkAddress, error: Exception) -> SourceError:
    if address.scheme in ("https", "rtsps") and address.verify and isinstance(error, av.error.OSError):
        what = "no secure connection: its certificate is not signed by a trusted authority for this host"
        step = "If it is a camera of your own, give the option verify=no (after a '#'), or its certificate in SSL_CERT_FILE"
        return _error(address, "unreadable", f"{what}. {step}")
    what = "RTSP" if address.rtsp else "a video: expected MJPEG, HLS or a video file"
    return _error(
        address, "unreadable", f"the server does not answer with {what} ({reason_of(error)}). Check the address"
    )


def _error(address: NetworkAddress, code: SourceCode, what: str) -> SourceError:
    return SourceError(f"{address.name}: {what}", code=code)
