"""Brings names and contents onto the disk, so that they are still there after a power cut."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES, errno.EPERM, errno.EBADF)
"""Errors of file systems that do not sync folders (some in user space or on a network), and of folders we may not read."""


def sync_folder(path: Path) -> None:
    """Bring the names in a folder onto the disk, where its file system can do that.

    Raises:
        OSError: if the disk fails.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise


def sync_tree(folder: Path) -> None:
    """Bring everything in a folder onto the disk: the contents first, then the names.

    Raises:
        OSError: if the disk fails.
    """
    for place, _, names in os.walk(folder, topdown=False):
        for path in (Path(place, name) for name in names):
            if path.is_symlink() or not path.is_file():
                continue
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_folder(Path(place))


def make_folder(path: Path) -> None:
    """Create a folder and the missing ones above it, and bring their names onto the disk.

    Raises:
        OSError: if one cannot be created.
    """
    missing = [place for place in (path, *path.parents) if not place.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for place in missing:
        sync_folder(place.parent)


def check_creatable(folder: Path) -> None:
    """Check before the work that files can be created in a folder, or that it can be created, without creating anything.

    Raises:
        OSError: if they cannot.
    """
    there = next(one for one in (folder, *folder.parents) if one.exists())
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(there))
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(there))
