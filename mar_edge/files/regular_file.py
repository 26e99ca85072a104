"""Opens and reads files that somebody else named: regular files only, without waiting, up to a size."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

SMALL_BYTES = 16 << 20
"""Limit of descriptions, settings and measurements: manifests, recipes, profiles, JSON. Ours have a few KB."""

LIST_BYTES = 256 << 20
"""Limit of lists of videos: more than a million lines."""

CACHE_BYTES = 1 << 30
"""Limit of what a library keeps for itself, such as measured kernels."""

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_CLOEXEC", 0)
_KINDS = (
    (stat.S_ISFIFO, "a named pipe (FIFO)"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a disk"),
    (stat.S_ISSOCK, "a socket"),
)


class UnsuitableFileError(OSError):
    """Something that is not read as a file: a FIFO, a device, a socket, a folder, or a file that is too large."""

    def __str__(self) -> str:
        """Return the reason alone; the callers name the file."""
        return self.strerror or ""


def open_regular(path: Path | str) -> int:
    """Open a regular file, or a link to one, for reading. It never waits, as opening a FIFO does.

    The file is examined after it is opened as well, so that it cannot be exchanged in between.

    Returns:
        The descriptor; the caller closes it.

    Raises:
        OSError: if there is none, or it is something else, which `strerror` names.
    """
    _refuse_others(os.stat(path).st_mode, path)  # before it is opened: opening a device may have effects
    handle = os.open(path, _FLAGS)
    try:
        _refuse_others(os.fstat(handle).st_mode, path)
    except BaseException:
        os.close(handle)
        raise
    return handle


def read_limited(path: Path | str, limit_bytes: int = SMALL_BYTES) -> bytes:
    """Read a regular file.

    Raises:
        OSError: if it cannot be read, is not a regular file, or is larger than the limit.
    """
    with open(open_regular(path), "rb") as file:
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        size = f"{limit_bytes >> 20} MB" if limit_bytes >> 20 else f"{limit_bytes} bytes"
        raise UnsuitableFileError(errno.EFBIG, f"it is larger than {size}", str(path))
    return data


def read_text(path: Path | str, limit_bytes: int = SMALL_BYTES, *, encoding: str = "utf-8") -> str:
    """Read a regular file as text, with line ends as Python has them.

    Raises:
        OSError: if it cannot be read, is not a regular file, or is larger than the limit.
        UnicodeDecodeError: if it is not text.
    """
    return read_limited(path, limit_bytes).decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


def why_special(path: Path) -> str | None:
    """Return what something at a path is if it is neither a file nor a folder; None otherwise, or if there is nothing."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return None
    return None if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else f"is {_kind(mode)}, not a file"


def _kind(mode: int) -> str:
    return next((name for is_kind, name in _KINDS if is_kind(mode)), "a special file")


def _refuse_others(mode: int, path: Path | str) -> None:
    if stat.S_ISDIR(mode):
        raise UnsuitableFileError(errno.EISDIR, "it is a folder, not a file", str(path))
    if not stat.S_ISREG(mode):
        raise UnsuitableFileError(errno.EINVAL, f"it is {_kind(mode)}, not a file", str(path))
