"""Finds the files below a folder that may be videos, and what is left out by its name or because it is a link."""

from __future__ import annotations

import os
import re
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

SYSTEM_NAMES = {
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "__macosx",
    "@eadir",
    "@recycle",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "recycler",
    "system volume information",
    "lost+found",
    "network trash folder",
    "temporary items",
}
"""Files and folders that operating systems and network storage create, in lower case."""

Identity = tuple[int, int] | str
"""Identity that all names of one file or folder share."""

_UNFINISHED = re.compile(
    r".*\.(part(-frag\d+)?|partial|crdownload|download|opdownload|filepart|aria2|ytdl|!ut|!qb|bc!|xltd|tmp|temp)"
)
_BACKUP = re.compile(r".+(~|\.bak|\.swp)")


class LeftOut(NamedTuple):
    """A file or folder that is not read.

    Attributes:
        path: where it is.
        reason: what follows its name in a sentence, such as `is hidden`.
        expected: whether it is obviously not a video of the user: hidden and system files, text, pictures.
    """

    path: Path
    reason: str
    expected: bool = False


@dataclass
class Walk:
    """The content of a folder and its subfolders.

    Links to folders and files are followed, after everything that is not a link. A folder or file with several names
    is taken once.

    Attributes:
        files: regular files, sorted, and links whose target does not exist.
        left_out: the rest.
        folders: those directly below, in which there may be videos.
        shared: files that are in two folders that are read separately, under both names.
    """

    files: list[Path] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    shared: list[tuple[Path, Path]] = field(default_factory=list)


def walk(folder: Path, *, apart: bool = False) -> Walk:
    """Find the files below a folder.

    Args:
        folder: where to start.
        apart: read each folder directly below separately, so that a file may be in several of them.
    """
    found = Walk()
    readers = [_Reader(found, folder, deep=not apart)]
    readers[0].read(folder)
    if apart:
        for home in found.folders:
            readers.append(_Reader(found, folder, deep=True))
            readers[-1].read(home)
    first: dict[Identity, Path] = {}
    for reader in readers:
        for key, path in reader.files.items():
            if first.setdefault(key, path) is not path:
                found.shared.append((first[key], path))
    found.files.sort()
    return found


class _Reader:
    """Reads a folder, and those below it if `deep`, each once."""

    def __init__(self, found: Walk, top: Path, *, deep: bool) -> None:
        self._found, self._top, self._deep = found, top, deep
        self.files: dict[Identity, Path] = {}
        self._folders: dict[Identity, Path] = {}
        self._links: deque[Path] = deque()

    def read(self, folder: Path) -> None:
        if folder.is_symlink() and folder != self._top:
            self._follow(folder)
        else:
            self._enter(folder)
        while self._links:
            self._follow(self._links.popleft())

    def _enter(self, folder: Path) -> None:
        waiting = [folder]
        while waiting:
            folder = waiting.pop()
            try:
                if not self._is_new(folder, self._folders, "folder"):
                    continue
                with os.scandir(folder) as entries:
                    names = sorted(entry.name for entry in entries)
            except OSError as error:
                self._leave_out(folder, f"cannot be read: {error.strerror or error}")
                continue
            below = [path for name in names if (path := folder / name) and self._is_folder_to_enter(path)]
            waiting += reversed(below)

    def _is_folder_to_enter(self, path: Path) -> bool:
        """Return whether a path is a folder to enter next; take or leave it out otherwise."""
        is_folder, is_link = os.path.isdir(path), os.path.islink(path)
        if unwanted := why_unwanted(path, is_folder=is_folder):
            self._found.left_out.append(unwanted)
            return False
        if is_folder and is_link and (target := _above(path)):
            self._leave_out(path, f"is a link back to {target}, which contains it")
            return False
        if path.parent == self._top and (is_folder or (is_link and not path.suffix and not os.path.exists(path))):
            self._found.folders.append(path)
            if not self._deep:
                return False
        if is_link:
            self._links.append(path)
            return False
        if not is_folder:
            self._take(path)
        return is_folder

    def _follow(self, link: Path) -> None:
        try:
            target = os.path.realpath(link, strict=True)
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                self._leave_out(link, f"is a link to {os.readlink(link)}, which does not exist")
            else:
                self._leave_out(link, f"is a link that cannot be followed: {error.strerror or error}")
            return
        if os.path.isdir(target):
            self._enter(link)
        else:
            self._take(link)

    def _take(self, path: Path) -> None:
        if not os.path.isfile(path) and os.path.exists(path):
            self._leave_out(path, "is neither a file nor a folder")
            return
        try:
            if self._is_new(path, self.files, "file"):
                self._found.files.append(path)
        except OSError as error:
            self._leave_out(path, f"cannot be read: {error.strerror or error}")

    def _is_new(self, path: Path, seen: dict[Identity, Path], kind: str) -> bool:
        """Return whether a file or folder is seen for the first time; leave it out otherwise."""
        first = seen.setdefault(identity(path), path)
        if first is not path:
            self._leave_out(path, f"is the same {kind} as {os.path.relpath(first, self._top)}")
        return first is path

    def _leave_out(self, path: Path, reason: str) -> None:
        self._found.left_out.append(LeftOut(path, reason))


def identity(path: Path) -> Identity:
    """Return the identity of a file or folder.

    Raises:
        OSError: if it does not exist or may not be read.
    """
    stat = path.stat()
    return (stat.st_dev, stat.st_ino) if stat.st_ino else os.path.realpath(path)


def why_missing(path: Path) -> str:
    """Return a sentence that states why there is no file at a path."""
    if path.is_symlink():
        return f"{path} is a link to {os.readlink(path)}, which does not exist"
    return f"no such file: {path}"


def _above(link: Path) -> str | None:
    """Return the folder that a link leads back to if it contains the link, which would never end."""
    target = os.path.realpath(link)
    return target if os.path.commonpath([os.path.realpath(link.parent), target]) == target else None


def why_unwanted(path: Path, *, is_folder: bool) -> LeftOut | None:
    """Return why a file or folder is left out by its name; None if it is not."""
    name = path.name.lower()
    if name.startswith("._"):
        return LeftOut(path, "is an AppleDouble file of macOS", expected=True)
    if name.startswith("."):
        return LeftOut(path, "is hidden", expected=True)
    if name in SYSTEM_NAMES:
        return LeftOut(path, "belongs to the operating system", expected=True)
    # Safari keeps partial downloads in a folder
    if name.endswith(".download") if is_folder else _UNFINISHED.fullmatch(name):
        return LeftOut(path, "is an unfinished download or a temporary file")
    return LeftOut(path, "is a backup copy") if not is_folder and _BACKUP.fullmatch(name) else None
