"""The output of `--json`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mar_edge.runtime.sinks.json_lines import JsonLines


def open_lines(target: str, *, force: bool, inputs: Iterable[str | Path | None]) -> JsonLines:
    """Return a writer to the target of `--json`; see `json_output`."""
    from mar_edge.errors import OutputError
    from mar_edge.files.ownership import check_not_input
    from mar_edge.runtime.sinks.json_lines import JsonLines

    lines = JsonLines(target, force=force)
    try:
        if target != "-":
            check_not_input(Path(target), inputs)
    except OutputError:
        lines.close()
        raise
    return lines


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
    lines = open_lines(target, force=force, inputs=inputs)
    try:
        yield lines
    finally:
        lines.close()
