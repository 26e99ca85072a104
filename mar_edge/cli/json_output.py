"""Where `--json` goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mar_edge.runtime.sinks.sink import Sink


@contextmanager
def json_output(target: str | None, *, force: bool) -> Iterator[Sink | None]:
    """Open what `--json` names, and close it at the end.

    Args:
        target: a file, `-` for stdout, or None for no JSON.
        force: replace a file that is not ours.

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
