"""Unfinished files and folders: how they are named, whether their writer lives, and how remains are removed.

A writer gives what it fills a name that nobody can guess, beside the final one, and holds a lock (flock) on it. The
kernel releases the lock when the process ends, however it ends, so the lock shows whether the writer lives: also across
containers that share a volume, which have separate process ids. Where a file system has no such locks, remains stay.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

SUFFIX = ".mar-edge-partial"
"""End of the names of unfinished files and folders."""

_SHOWN = 40
"""Characters of the final name that the unfinished one shows: the whole name may be as long as the file system allows."""

_NAME = re.compile(rf"\..{{0,{_SHOWN}}}\.[0-9a-f]{{32}}{re.escape(SUFFIX)}", re.DOTALL)
"""Our exact mark; nothing with another name is ever removed."""

_TRIES = 100


def create_file(path: Path) -> tuple[Path, int]:
    """Create an unfinished file beside a path, and lock it. Links are never followed, and the umask is respected.

    Returns:
        Its path, and a descriptor to write to; closing it releases the lock.

    Raises:
        OSError: if it cannot be created.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return _create(path, lambda partial: os.open(partial, flags, 0o666))


def create_folder(path: Path) -> tuple[Path, int]:
    """Create an unfinished folder beside a path, and lock it; see `create_file`."""

    def make(partial: Path) -> int:
        partial.mkdir()
        return open_folder(partial)

    return _create(path, make)


def open_folder(path: Path) -> int:
    """Open a folder to lock it; not through a link.

    Raises:
        OSError: if it cannot be opened.
    """
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def lock(descriptor: int) -> bool | None:
    """Lock an open file or folder until its descriptor is closed; False if another holds it, None if that is unknown."""
    import fcntl  # here, as it exists only on POSIX

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # the file system has no such locks
        return None
    return True


def is_being_written(path: Path) -> bool:
    """Return whether a file's writer lives: it keeps its lock after the file has its name, until it is closed."""
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # the file system has no such locks
        return False
    finally:
        os.close(descriptor)
    return False


def is_at(descriptor: int, path: Path) -> bool:
    """Return whether an open file or folder is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def sweep(folder: Path) -> None:
    """Remove the unfinished files and folders in a folder whose writers were killed.

    Only what carries our exact mark, belongs to this user and is not locked is removed.
    """
    with suppress(OSError):
        with os.scandir(folder) as entries:
            found = [Path(entry.path) for entry in entries if _NAME.fullmatch(entry.name)]
        for path in found:
            with suppress(OSError):
                _remove_abandoned(path)


def _create(path: Path, make: Callable[[Path], int]) -> tuple[Path, int]:
    for _ in range(_TRIES):
        partial = path.parent / f".{path.name[:_SHOWN]}.{secrets.token_hex(16)}{SUFFIX}"
        descriptor = make(partial)
        if lock(descriptor) is not False and is_at(descriptor, partial):
            return partial, descriptor
        os.close(descriptor)  # another writer swept it before it was locked
    raise OSError(errno.EBUSY, "its unfinished files are removed by another program", str(path))


def _remove_abandoned(path: Path) -> None:
    found = path.lstat()
    if found.st_uid != os.geteuid() or not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)):
        return
    if stat.S_ISDIR(found.st_mode):
        descriptor = open_folder(path)
    else:  # to be written to: network file systems lock no other files
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if lock(descriptor) and is_at(descriptor, path):
            if stat.S_ISDIR(found.st_mode):
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
    finally:
        os.close(descriptor)
