"""The output of `--json`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mar_edge.runtime.sinks.json_lines import JsonLines


@contextmanager
def json_output(
    target: str | None, *, force: bool, inputs: Iterable[str | Path | None] = ()
) -> Iterator[JsonLines | None]:
    """Open the target of `--json`, and close it at the end.

    Args:
        target: a file, `-` for stdout, or None for no JSON.
        force: replace a file that mar-edge did not write.
        inputs: what the command reads, see `files.ownership.check_not_input`.

    Raises:
        OutputError: if it cannot be written, or is one of the inputs.
    """
    if target is None:
        yield None
        return
    from mar_edge.runtime.sinks.json_lines import JsonLines

    lines = JsonLines(target, force=force, inputs=inputs)
    try:
        yield lines
    finally:
        lines.close()
