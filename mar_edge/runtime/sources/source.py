"""The interface of sources: how to connect, and how to read one connection."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, runtime_checkable

from mar_edge.reporting import Warnings
from mar_edge.runtime.frame import Frame


class Connection(Protocol):
    """One opening of a source. `close` may be called by any thread, and more than once; `read` by one thread."""

    def read(self, timeout_s: float) -> Frame | None:
        """Wait for the next frame.

        Args:
            timeout_s: how long to wait at most. A source that cannot be interrupted says so in its documentation.

        Returns:
            The next frame, of a camera the newest one; None at the end of the recording, and after `close`.

        Raises:
            SourceTimeoutError: if none came in that time; `read` may be called again.
            SourceError: if the connection is lost or cannot be read; it is of no further use.
        """
        ...

    def close(self) -> None:
        """Release what it holds; a `read` that waits in another thread returns None soon."""
        ...


class Source(Protocol):
    """Something to connect to: a camera, a file, a network stream. It knows nothing of retries, see `streams.reader`.

    Attributes:
        name: for messages and for the `stream` field of results, without credentials.
        live: whether frames come at their own pace, and are lost if nobody takes them; a file waits. Valid once
            connected.
        dropped: frames of a live source that were replaced before they were read, over all its connections.
        warnings: what the operator should know, the newest 100 that were not read yet.
    """

    name: str
    live: bool
    dropped: int
    warnings: Warnings

    def connect(self) -> Connection:
        """Open it; waits until it is open or has failed. It may be called again after the connection is closed.

        Raises:
            SourceError: if it cannot be opened; `code` and `retry` say why, and whether to try again.
        """
        ...


@runtime_checkable
class Scripted(Protocol):
    """A source that knows what it shows: its frames have a `truth`.

    Attributes:
        idle_truth: label of its script between events, such as gestures; None if each part of the script is a state that lasts.
    """

    idle_truth: str | None


class Watch(Protocol):
    """Finds out when a lost source comes back."""

    def returned(self) -> bool:
        """Return whether it was away since the watch began, and is back; within a second."""
        ...

    def close(self) -> None:
        """Release what it holds; does not wait."""
        ...


@runtime_checkable
class Watchable(Protocol):
    """A source that can tell cheaply when its device or server is back, without connecting."""

    def watch(self) -> Watch | None:
        """Begin to watch; None if it cannot tell."""
        ...


class Reading:
    """A connection as a context manager that can be iterated over, for those who read a source in their own loop.

    Args:
        source: what to connect to.
        timeout_s: a source without a frame for this time raises `SourceTimeoutError`.
    """

    def __init__(self, source: Source, timeout_s: float = 5.0) -> None:
        self._connection = source.connect()
        self._timeout_s = timeout_s

    def __enter__(self) -> Reading:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._connection.close()

    def __iter__(self) -> Reading:
        """Return itself."""
        return self

    def __next__(self) -> Frame:
        """Return the next frame.

        Raises:
            SourceError: see `Connection.read`.
        """
        frame = self._connection.read(self._timeout_s)
        if frame is None:
            raise StopIteration
        return frame
