"""Writes folders atomically: a reader sees the old one or the new one, never a mixture."""

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
"""Errors of renameat2 if the kernel or the file system does not support exchanging."""


@contextmanager
def written_whole(path: Path, kind: FolderKind, *, force: bool = False) -> Iterator[Path]:
    """Yield a folder to fill; it moves to its path when the block succeeds, and is removed otherwise.

    Remains of killed processes are removed as well.

    Args:
        path: path of the folder; see `check_replaceable` for what is replaced there, or kept.
        kind: its kind.
        force: replace more, see `check_replaceable`.

    Raises:
        OutputError: if something else exists there, or the path cannot be written.
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
        check_replaceable(
            path, kind, force=force
        )  # a file that was created there meanwhile must not be replaced either
        if os.path.lexists(path):
            _exchange(partial, path)
        else:
            os.replace(partial, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}. Choose a folder you can write to") from error
    finally:
        _remove(partial)  # by now the old folder, or an unfinished one


def _remove(path: Path) -> None:
    """Remove what is at a folder's path: a folder, or the file that it replaced."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _exchange(first: Path, second: Path) -> None:
    """Exchange two folders, in one step if the file system supports it."""
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
    """Return the prefix of the names of unfinished folders of this machine; the process id follows."""
    return f".{path.name}.{platform.node().replace('.', '-')}-"


def _sweep(path: Path) -> None:
    """Remove remains of processes that no longer exist."""
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
