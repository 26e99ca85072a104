"""What the tests of network sources share: how to read one to its end."""

from __future__ import annotations

import threading
import time

from mar_edge.errors import SourceError
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.sources.network.connection import NetworkConnection
from mar_edge.runtime.sources.network.source import NetworkSource


def lost(connection: NetworkConnection, timeout_s: float = 5.0) -> SourceError:
    """Read until the connection is lost; return why."""
    try:
        while connection.read(timeout_s) is not None:
            pass
    except SourceError as error:
        return error
    raise AssertionError("it ended like a file")


def refused(source: NetworkSource) -> SourceError:
    """Return why it does not open."""
    try:
        source.connect().close()
    except SourceError as error:
        return error
    raise AssertionError("it opened")


def frames(source: NetworkSource, count: int = 1_000_000, timeout_s: float = 5.0) -> list[Frame]:
    """Return its first frames, or all."""
    connection = source.connect()
    read: list[Frame] = []
    try:
        while len(read) < count and (frame := connection.read(timeout_s)) is not None:
            read.append(frame)
    finally:
        connection.close()
    return read


def threads_end(limit_s: float = 3.0) -> bool:
    """Wait until no thread of a network source runs."""
    until_s = time.monotonic() + limit_s
    while any(thread.name.startswith("mar-edge ") for thread in threading.enumerate()):
        if time.monotonic() > until_s:
            return False
        time.sleep(0.01)
    return True
