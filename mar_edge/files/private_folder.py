"""Folders of caches: others can neither read nor write them, and one that they can write is not trusted."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from mar_edge.files.syncing import make_folder, sync_folder


def make_private(path: Path) -> None:
    """Create a folder that only this user can enter, unless it exists; missing ones above it are as the umask says.

    Raises:
        OSError: if it cannot be created.
    """
    try:
        path.mkdir(mode=0o700)
    except FileNotFoundError:
        make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError:
        if not path.is_dir():
            raise
        return
    sync_folder(path.parent)


def why_untrusted(path: Path) -> str | None:
    """Return what is wrong with an existing folder if others may have written to it; None if only this user and root may.

    Root may write everywhere, so its folders are trusted, and its links. Everybody else is not, not even by root.

    Raises:
        OSError: if it cannot be examined.
    """
    user = os.geteuid()
    for found in (path.lstat(), path.stat()):  # a link, and the folder
        if found.st_uid not in (user, 0):
            return f"belongs to user {found.st_uid}, and mar-edge runs as user {user}"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"can be written by other users (mode {stat.S_IMODE(found.st_mode):04o})"
    return None
