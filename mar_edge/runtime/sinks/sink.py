"""The interface of sinks: where records go."""

from __future__ import annotations

from typing import Protocol

from mar_edge.runtime.results import Kind, Record


class Sink(Protocol):
    """Something that results are written to. Its outlet calls it from one thread, see `outlet.Outlet`.

    Attributes:
        name: for messages, without credentials.
        wants: kinds of records that it is given; others never reach it.

    A sink that drops records after it took them, as one with a queue of its own, may have `dropped`: a mapping from their
    kind to their number, which is counted with those that its outlet drops.
    """

    name: str
    wants: frozenset[Kind]

    def write(self, record: Record) -> None:
        """Write a record; it may take its time, as no stream waits for it unless that stream waits for its readers.

        Raises:
            OutputError: if it cannot be written. With `retry`, the same record is tried again after a pause; otherwise the
                output is disabled.
        """
        ...

    def close(self) -> None:
        """Finish what was written, within a second; called once, after the last `write`, and after a failure as well.

        Raises:
            OutputError: if that fails.
        """
        ...
