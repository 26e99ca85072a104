"""Reads folders that another process may replace in that moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mar_edge.errors import MarEdgeError

_Result = TypeVar("_Result")

_TRIES = 20


def read_at_rest(folder: Path, read: Callable[[], _Result]) -> _Result:
    """Read a folder, and again if that failed because it was replaced meanwhile: files of the old and the new one were mixed.

    Args:
        folder: the folder.
        read: reads it, and raises an error if it is not as expected.
    """
    for _ in range(_TRIES):
        before = _stamp(folder)
        try:
            return read()
        except (MarEdgeError, OSError):
            if _stamp(folder) == before:
                raise
    return read()


def _stamp(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.lstat()
    except OSError:
        return None
    return found.st_ino, found.st_ctime_ns
