"""Folders that are written whole: a reader sees the old one or the new one, and never half of either."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mar_edge.errors import OutputError
from mar_edge.files.ownership import FolderKind, check_replaceable

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_CANNOT = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
"""What renameat2 answers where the kernel or the file system cannot exchange."""


@contextmanager
def written_whole(path: Path, kind: FolderKind, *, force: bool = False) -> Iterator[Path]:
    """Give a folder to fill; it takes its place when the block ends well, and vanishes when it does not.

    What processes that were killed left beside it goes, too.

    Args:
        path: where the folder is to be; see `check_replaceable` for what is replaced whole there, or kept.
        kind: what it is.
        force: replace more, see `check_replaceable`.

    Raises:
        OutputError: if something else is there, or the place cannot be written.
    """
    check_replaceable(path, kind, force=force)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        partial = Path(tempfile.mkdtemp(prefix=f"{_mark(path)}{os.getpid()}.", dir=path.parent))
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}. Choose a folder you can write to") from error
    try:
        yield partial
        os.chmod(partial, 0o755)
        check_replaceable(path, kind, force=force)  # what somebody put there meanwhile is not ours either
        if os.path.lexists(path):
            _exchange(partial, path)
        else:
            os.replace(partial, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}. Choose a folder you can write to") from error
    finally:
        _remove(partial)  # by now the old folder, or what was never finished


def _remove(path: Path) -> None:
    """Remove what is in a folder's place: a folder, or the file that it replaced."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _exchange(first: Path, second: Path) -> None:
    """Let two folders change places, in one step where the file system can."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is not None:
        if not renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE):
            return
        number = ctypes.get_errno()
        if number not in _CANNOT:
            raise OSError(number, os.strerror(number), str(second))
    aside = first.with_name(f"{first.name}.old")
    try:
        os.replace(second, aside)
        os.replace(first, second)
    except BaseException:
        if aside.exists() and not second.exists():
            os.replace(aside, second)
        raise
    os.replace(aside, first)


def _mark(path: Path) -> str:
    """Return how the names of unfinished folders of this machine begin; the number of the process follows."""
    return f".{path.name}.{platform.node().replace('.', '-')}-"


def _sweep(path: Path) -> None:
    """Remove what processes that are gone left."""
    mark = _mark(path)
    for folder in path.parent.iterdir():
        number = folder.name.removeprefix(mark).split(".")[0]
        if folder.name.startswith(mark) and number.isdigit() and not _lives(int(number)):
            shutil.rmtree(folder, ignore_errors=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
