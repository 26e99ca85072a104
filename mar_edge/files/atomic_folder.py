"""Writes folders atomically and durably: a reader sees the old one or the new one, never a mixture."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mar_edge.errors import OutputError
from mar_edge.files.ownership import FolderKind, check_replaceable
from mar_edge.files.syncing import make_folder, sync_folder, sync_tree
from mar_edge.files.unfinished import create_folder, lock, open_folder, sweep

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_CANNOT = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
"""Errors of renameat2 if the kernel or the file system does not support exchanging."""

_CHANGED = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR)
"""Errors of renaming if another process wrote or removed the same folder in that moment."""

_TRIES = 20


@contextmanager
def written_whole(path: Path, kind: FolderKind, *, force: bool = False) -> Iterator[Path]:
    """Yield a folder to fill; it moves to its path when the block succeeds, and is removed otherwise.

    Its content is on the disk before it moves, and the old folder is removed afterwards. What killed processes left in
    the folder above is removed as well.

    Args:
        path: path of the folder; see `check_replaceable` for what is replaced there, or kept.
        kind: its kind.
        force: replace more, see `check_replaceable`.

    Raises:
        OutputError: if something else exists there, or the path cannot be written.
    """
    check_replaceable(path, kind, force=force)
    try:
        make_folder(path.parent)
        _restore(path)
        sweep(path.parent)
        partial, descriptor = create_folder(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}. Choose a folder you can write to") from error
    try:
        yield partial
        sync_tree(partial)
        # a file that was created there meanwhile must not be replaced either
        check_replaceable(path, kind, force=force)
        _publish(partial, path)
        sync_folder(path.parent)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}. Choose a folder you can write to") from error
    finally:
        _remove(partial)  # by now the old folder, or an unfinished one
        os.close(descriptor)


def _remove(path: Path) -> None:
    """Remove what is at a folder's path: a folder, or the file that it replaced."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _publish(partial: Path, path: Path) -> None:
    """Move a folder to its path, and what is there to the folder's."""
    for left in reversed(range(_TRIES)):
        try:
            if os.path.lexists(path):
                _exchange(partial, path)
            else:
                os.replace(partial, path)
            return
        except OSError as error:
            if not left or error.errno not in _CHANGED or not partial.exists():
                raise


def _exchange(first: Path, second: Path) -> None:
    """Exchange two folders, in one step if the file system supports it."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is not None:
        if not renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE):
            return
        number = ctypes.get_errno()
        if number not in _CANNOT:
            raise OSError(number, os.strerror(number), str(second))
    aside = second.parent / f"{_aside_mark(second)}{secrets.token_hex(16)}"
    with _held(second):
        try:
            os.replace(second, aside)
            os.replace(first, second)
        except BaseException:
            if os.path.lexists(aside) and not os.path.lexists(second):
                os.replace(aside, second)
            raise
    os.replace(aside, first)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Lock a folder while it is moved aside, so that no other process moves it back."""
    if path.is_symlink() or not path.is_dir():
        yield
        return
    descriptor = open_folder(path)
    try:
        lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _aside_mark(path: Path) -> str:
    """Return the start of the names that a folder's predecessor has while the two change places in three steps."""
    return f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.mar-edge-old."


def _restore(path: Path) -> None:
    """Move back the folder of a process that was killed between two of the three steps."""
    mark = re.compile(re.escape(_aside_mark(path)) + "[0-9a-f]{32}")
    for aside in [found for found in path.parent.iterdir() if mark.fullmatch(found.name)]:
        with suppress(OSError):
            if aside.lstat().st_uid != os.geteuid():
                continue
            descriptor = open_folder(aside)
            try:
                if not lock(descriptor):
                    continue
                if os.path.lexists(path):
                    shutil.rmtree(aside, ignore_errors=True)
                else:
                    os.replace(aside, path)
            finally:
                os.close(descriptor)
