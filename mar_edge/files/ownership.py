"""Ownership of files: the only place that decides whether an output may replace an existing file.

It never replaces what the command reads.

An output replaces only its own kind: files that mar-edge wrote before, recognised by a mark in the
content and never by a name. An empty file or folder, or a file of zeros, contains nothing that could be lost, and may be
replaced as well.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mar_edge.errors import OutputError
from mar_edge.files.at_rest import read_at_rest
from mar_edge.files.lost_content import is_blank
from mar_edge.files.unfinished import is_being_written

FLAG_OR_ARGUMENT = "--force (in Python: force=True)"
"""How a file may be replaced that commands and users' own programs write."""


@dataclass(frozen=True)
class FileKind:
    """A kind of file that mar-edge writes.

    Attributes:
        name: as in messages, without the article.
        marked: returns from the content whether mar-edge wrote a file as this kind; reads from the file's start.
        replaced_by: how the user says that a file of another kind may be replaced.
    """

    name: str
    marked: Callable[[BinaryIO], bool]
    replaced_by: str = "--force"


@dataclass(frozen=True)
class FolderKind:
    """A kind of folder that mar-edge writes, and replaces completely.

    Attributes:
        name: as in messages, without the article.
        sign: name of the file in it that identifies the folder.
        contents: returns the names of all files that mar-edge wrote in a folder, relative to it and with `/`; None if
            the sign is not ours.
        replaced_by: see `FileKind`.
    """

    name: str
    sign: str
    contents: Callable[[Path], Collection[str] | None]
    replaced_by: str = "--force"


def check_replaceable(
    path: Path, kind: FileKind | FolderKind, *, force: bool = False, advice: str | None = None
) -> None:
    """Check that an output may be written to a path.

    A file is written through a link, and directly into a character device or a FIFO. A folder is never written through
    a link: it replaces an older folder completely, and a link is not one.

    Args:
        path: path of the output.
        kind: its kind.
        force: allow a file that is not ours, and a folder of ours with foreign files in it; any other folder is
            never replaced.
        advice: the next step, for the error message; by default another name, or what replaces it.

    Raises:
        OutputError: if something else exists there, or it cannot be examined.
    """
    if advice is None:
        advice = f"Choose another name, or replace it with {kind.replaced_by}"
    try:
        if isinstance(kind, FileKind):
            _check_file(path, kind, force, advice)
        else:
            read_at_rest(path, lambda: _check_folder(path, kind, force, advice))
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(
            f"cannot write the {kind.name} {path}: {error.strerror}. Choose a path you can write to"
        ) from error


def check_not_input(output: Path, inputs: Iterable[str | Path | None], *, advice: str = "Choose another name") -> None:
    """Check that an output replaces nothing that the command reads, not even through links, and also with `--force`.

    Args:
        output: a file, or a folder that is replaced completely.
        inputs: files and folders that the command reads; names of other things, and None, are ignored.
        advice: the next step, for the error message.

    Raises:
        OutputError: if it is one of them, or a folder that contains one.
    """
    if is_stream(output):
        return
    place = os.path.realpath(output)
    for one in inputs:
        if one is None or not os.path.lexists(one):
            continue
        real = os.path.realpath(one)
        if real == place or _is_same(output, one):
            raise OutputError(f"{output} is read by this command, so it cannot be its output. {advice}")
        if os.path.isdir(output) and os.path.commonpath([place, real]) == place:
            raise OutputError(
                f"{output} contains {one}, which this command reads, so it cannot be its output. {advice}"
            )


def check_no_other_writer(output: Path) -> None:
    """Check that no other output, of this program or another one, still appends to a file.

    Raises:
        OutputError: if one does: what it appends would be lost with the file that is replaced.
    """
    if not is_stream(output) and is_being_written(output):
        raise OutputError(
            f"{output} is being written by another output or program. Choose another name, or end that one"
        )


def _is_same(one: str | Path, other: str | Path) -> bool:
    try:
        return os.path.samefile(one, other)  # hard links, too
    except OSError:
        return False


def is_stream(path: Path) -> bool:
    """Return whether a path is a character device or a FIFO, which is written to and never replaced."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)


def _check_file(path: Path, kind: FileKind, force: bool, advice: str) -> None:
    found = path.stat()  # of a link's target
    if stat.S_ISDIR(found.st_mode):
        raise OutputError(f"{path} is a folder; name a file in it")
    if is_stream(path):
        return
    if not stat.S_ISREG(found.st_mode):
        raise OutputError(f"{path} is a disk or a socket; choose a file")
    if force or not found.st_size:
        return
    with path.open("rb") as file:
        if not kind.marked(file) and not is_blank(file):
            raise OutputError(f"{path} exists and was not written by mar-edge as a {kind.name}. {advice}")


def _check_folder(path: Path, kind: FolderKind, force: bool, advice: str) -> None:
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise OutputError(f"{path} is a link to {os.readlink(path)}; name that folder itself, or remove the link")
    if not stat.S_ISDIR(found.st_mode):
        if force and stat.S_ISREG(found.st_mode):
            return
        raise OutputError(f"{path} is a file and not a {kind.name}. {advice}")
    if not any(path.iterdir()):
        return
    if force and (path / kind.sign).is_file():
        return
    ours = kind.contents(path)
    if ours is None:
        raise OutputError(
            f"{path} exists and was not written by mar-edge as a {kind.name}, or is damaged. "
            + (advice if (path / kind.sign).is_file() else "Choose another name, or move it away")
        )
    found_files = _files(path)
    if strangers := sorted(name for name in found_files if name not in ours or _is_special(path / name)):
        more = f" and {len(strangers) - 1} more" if strangers[1:] else ""
        raise OutputError(f"{path} contains {strangers[0]}{more}, which mar-edge did not write. {advice}")


def _is_special(path: Path) -> bool:
    """Return whether it is a FIFO, a device or a socket, which mar-edge never writes into a folder."""
    mode = path.lstat().st_mode
    return not (stat.S_ISREG(mode) or stat.S_ISLNK(mode))


def _files(folder: Path) -> set[str]:
    """Return all files and links below a folder, relative to it."""

    def fail(error: OSError) -> None:
        raise error

    found = set()
    for place, folders, files in os.walk(folder, onerror=fail):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        found |= {Path(place, name).relative_to(folder).as_posix() for name in [*files, *links]}
    return found
