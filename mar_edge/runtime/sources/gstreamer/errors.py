"""What an error of GStreamer means."""

from __future__ import annotations

import re
from typing import Any

from mar_edge.errors import SourceCode

_TEXTS: tuple[tuple[str, SourceCode], ...] = (
    # elements report many causes as the same code, and differ only in their words
    (r"unauthori[sz]ed|not authorized|\b401\b|\b403\b|forbidden", "auth"),
    (r"permission denied|operation not permitted", "permission"),
    (r"connection refused|(failed|could not) to connect|could not connect", "refused"),
    (r"timed? ?out|timeout", "timeout"),
    (r"device or resource busy|device '.*' is busy|\bEBUSY\b", "busy"),
    (r"no such file|no such device|not found|\b404\b|cannot identify device|could not resolve|error resolving", "not-found"),
    (r"not-negotiated|not-linked|missing plug-?in|no decoder|could not determine type", "codec"),
)  # fmt: skip


def cause_of(gst: Any, error: Any, details: str) -> SourceCode:
    """Return the cause of an error message.

    Args:
        gst: the module `Gst`.
        error: a `GLib.Error` with `matches` and `message`.
        details: the debug text that came with it.
    """
    resource, stream, core = gst.ResourceError, gst.StreamError, gst.CoreError
    known: tuple[tuple[Any, Any, SourceCode], ...] = (
        (gst.resource_error_quark(), resource.NOT_AUTHORIZED, "auth"),
        (gst.resource_error_quark(), resource.NOT_FOUND, "not-found"),
        (gst.resource_error_quark(), resource.BUSY, "busy"),
        (gst.stream_error_quark(), stream.CODEC_NOT_FOUND, "codec"),
        (gst.stream_error_quark(), stream.TYPE_NOT_FOUND, "codec"),
        (gst.stream_error_quark(), stream.WRONG_TYPE, "codec"),
        (gst.stream_error_quark(), stream.DECODE, "codec"),
        (gst.stream_error_quark(), stream.DEMUX, "codec"),
        (gst.stream_error_quark(), stream.FORMAT, "codec"),
        (gst.stream_error_quark(), stream.DECRYPT, "codec"),
        (gst.core_error_quark(), core.MISSING_PLUGIN, "codec"),
        (gst.core_error_quark(), core.NEGOTIATION, "codec"),
    )
    for domain, code, cause in known:
        if error.matches(domain, code):
            return cause
    text = f"{error.message} {details}"
    for pattern, cause in _TEXTS:
        if re.search(pattern, text, re.IGNORECASE):
            return cause
    if error.matches(gst.resource_error_quark(), resource.READ):
        return "ended"  # as when a device is unplugged, or a server goes away
    if error.matches(gst.resource_error_quark(), resource.OPEN_READ):
        return "not-found"
    return "unreadable"


def reason_in(details: str) -> str:
    """Return the reason in a debug text, in one line, without the place in GStreamer's source; nothing if there is none."""
    lines = [line.strip() for line in details.splitlines()]
    return " ".join(line for line in lines if line and not re.match(r"^\S+\.(c|cpp|cc|rs)\(\d+\):", line))
