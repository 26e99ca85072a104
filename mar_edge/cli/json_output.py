"""The output of `--json`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mar_edge.runtime.sinks.sink import Sink


@contextmanager
def json_output(target: str | None, *, force: bool) -> Iterator[Sink | None]:
    """Open the target of `--json`, and close it at the end.

    Args:
        target: a file, `-` for stdout, or None for no JSON.
        force: replace a file that mar-edge did not write.

    Raises:
        OutputError: if it cannot be written.
    """
    if target is None:
        yield None
        return
    from mar_edge.runtime.sinks.json_lines import JsonLines

    lines = JsonLines(target, force=force)
    try:
        yield lines
    finally:
        lines.close()
