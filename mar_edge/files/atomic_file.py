"""Writes a file atomically and durably: complete or not at all, also after a kill or a power cut."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from mar_edge.errors import OutputError
from mar_edge.files.ownership import FileKind, check_replaceable, is_stream
from mar_edge.files.syncing import make_folder, sync_folder
from mar_edge.files.unfinished import create_file, is_at, sweep


class NewFile:
    """A file that gets its name only with `finish`; until then an existing file of that name stays.

    Its content is on the disk before its name is. As a context manager it is removed at the end unless it was finished.

    Args:
        path: its path; in an existing folder, and not a link: one there is replaced.
        sweeps: remove what killed writers left in the folder; False if that was done before.

    Attributes:
        file: to write to.
        partial: path until it is finished, for libraries that write to paths. They must keep the file that is there.

    Raises:
        OSError: here and in every method, if it cannot be written.
    """

    def __init__(self, path: Path, *, sweeps: bool = True) -> None:
        if sweeps:
            sweep(path.parent)
        self._path = path
        self._finished = False
        self.partial, descriptor = create_file(path)
        self.file = os.fdopen(descriptor, "wb")

    def __enter__(self) -> NewFile:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file, and remove it if it was not finished."""
        if not self._finished:
            with suppress(OSError):
                self.partial.unlink()
        with suppress(OSError):
            self.file.close()

    def finish(self, keep: Path | None = None, *, replaces: bool = True) -> None:
        """Give the file its name. It stays open, and may be appended to.

        Args:
            keep: new name of the file that it replaces, if there is one; what has that name is replaced.
            replaces: whether an existing file is replaced; otherwise it stays, and `FileExistsError` is raised.
        """
        self.sync()
        if not is_at(self.file.fileno(), self.partial):
            raise OSError(errno.ESTALE, "another program removed it while it was written", str(self._path))
        if keep is not None:
            _keep(self._path, keep)
        if replaces:
            os.replace(self.partial, self._path)
        else:
            _move(self.partial, self._path)
        self._finished = True
        sync_folder(self._path.parent)

    def sync(self) -> None:
        """Bring what was written onto the disk."""
        self.file.flush()
        os.fsync(self.file.fileno())


def write_output(
    path: Path,
    *parts: bytes,
    kind: FileKind,
    force: bool = False,
    advice: str = "Make room, or choose a file you can write to",
) -> None:
    """Write an output file that the user named; see `check_replaceable` for what it may replace.

    Args:
        path: the file; its folder is created. The target of a link is replaced, and the link stays.
        parts: its content, in order.
        kind: its kind.
        force: replace a file of another kind.
        advice: what to do if it cannot be written.

    Raises:
        OutputError: if something else exists there, or it cannot be written.
    """
    check_replaceable(path, kind, force=force)
    try:
        if is_stream(path):
            with path.open("wb") as stream:
                stream.writelines(parts)
        else:
            _write(Path(os.path.realpath(path)), *parts)
    except OSError as error:
        raise OutputError(f"cannot write the {kind.name} {path}: {error.strerror}. {advice}") from error


def write_whole(path: Path, *parts: bytes, advice: str = "Make room, or choose another folder") -> None:
    """Write a file of mar-edge atomically; an existing one is replaced, or kept on an error.

    Args:
        path: the file; its folder is created.
        parts: its content, in order.
        advice: what to do if it cannot be written.

    Raises:
        OutputError: if it cannot be written.
    """
    try:
        _write(path, *parts)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}. {advice}") from error


def _write(path: Path, *parts: bytes) -> None:
    make_folder(path.parent)
    with NewFile(path) as new:
        new.file.writelines(parts)
        new.finish()


def _move(partial: Path, path: Path) -> None:
    """Give a file another name that nothing has."""
    try:
        os.link(partial, path)
    except FileExistsError:
        raise
    except OSError:  # the file system has no hard links; now another program could take the name for a moment
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        os.replace(partial, path)
    else:
        partial.unlink()


def _keep(path: Path, name: Path) -> None:
    """Give a file a second name, so that at every moment there is a complete file at its path."""
    if not path.exists():
        return
    name.unlink(missing_ok=True)
    try:
        os.link(path, name)
    except OSError:  # the file system has no hard links; now there is none at the path for a moment
        os.replace(path, name)
