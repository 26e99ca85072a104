"""JSON lines, to a file or to stdout."""

from __future__ import annotations

import errno
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from mar_edge.errors import OutputError
from mar_edge.files.atomic_file import NewFile
from mar_edge.files.marks import lines_kind, mark_record
from mar_edge.files.ownership import check_replaceable, is_stream
from mar_edge.files.syncing import make_folder

SCHEMA = "mar-edge/json-lines/1"
"""Value of `schema`, the second key in the first line of a file; stdout needs none."""

JSON_LINES = lines_kind("file of JSON lines", SCHEMA, "type")


class JsonLines:
    """Writes one JSON object per line.

    An existing file is replaced when the first record arrives, and is left unchanged if it is not a file of JSON lines of
    mar-edge. Of two writers of one file the later one replaces the file of the other. In a folder where no other file can
    be created, the file itself is emptied and written to. A folder that does not exist is created with the first record.

    Args:
        target: a file's path, or `-` for stdout.
        force: replace a file of another kind.

    Raises:
        OutputError: if the file cannot be opened, or is of another kind.
    """

    def __init__(self, target: str, *, force: bool = False) -> None:
        self.target = target
        self._abandoned = False
        self._new: NewFile | None = None
        self._file: BinaryIO | None = None
        self._fresh = target != "-"
        self._force = force
        if target == "-":
            if sys.stdout is None:  # closed before Python began
                raise OutputError("cannot write JSON lines: stdout is closed. Open it, or choose a file")
            return
        path = Path(target)
        check_replaceable(path, JSON_LINES, force=force)
        try:
            if is_stream(path):
                self._fresh = False
                self._file = path.open("wb")
            elif (real := Path(os.path.realpath(path))).parent.is_dir():
                self._open(real)
            else:
                _check_creatable(real.parent)
        except OSError as error:
            raise OutputError(f"cannot write {target}: {error.strerror}. Choose a file you can write to") from error

    def _open(self, path: Path) -> None:
        make_folder(path.parent)
        try:
            self._new = NewFile(path)
        except PermissionError:
            if not path.exists():
                raise
            self._file = path.open("ab")
        else:
            self._file = self._new.file

    def __call__(self, record: dict[str, Any]) -> None:
        """Write a record.

        Raises:
            OutputError: if it cannot be written: the disk is full, or the reader has closed the pipe.
        """
        if self._abandoned:
            return
        try:
            if self._fresh and self._file is None:
                self._open(Path(os.path.realpath(self.target)))
            if self._file is None:
                sys.stdout.write(json.dumps(record) + "\n")
                sys.stdout.flush()
            elif self._fresh:
                self._begin(self._file, mark_record(record, SCHEMA))
                self._fresh = False
            else:
                _write(self._file, record)
        except OSError as error:
            self._abandon()
            if isinstance(error, BrokenPipeError):
                raise OutputError("the reader of the JSON lines has closed the pipe") from error
            raise OutputError(f"cannot write {self.target}: {error.strerror}") from error

    def _begin(self, file: BinaryIO, record: dict[str, Any]) -> None:
        try:
            check_replaceable(Path(self.target), JSON_LINES, force=self._force)  # it may have been created meanwhile
        except OutputError:
            self._abandon()
            raise
        if self._new is None:
            file.truncate(0)
        _write(file, record)
        if self._new is not None:
            self._new.finish()

    def close(self) -> None:
        """Bring what was written onto the disk, and close the file; stdout stays open.

        Raises:
            OutputError: if the disk fails.
        """
        if self._file is None or self._file.closed:
            return
        try:
            with self._new or self._file:
                if self._new is not None and not self._fresh:
                    self._new.sync()
        except OSError as error:
            raise OutputError(f"cannot write {self.target}: {error.strerror}") from error

    def _abandon(self) -> None:
        """Discard what is still buffered; Python would try to write it again, and fail again, at exit."""
        self._abandoned = True
        if self._file is None:
            if self.target == "-":
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
        with suppress(OSError), self._new or self._file:
            pass  # closes it, and removes one without a name


def _check_creatable(folder: Path) -> None:
    """Check before the work that a folder can be created, without creating it.

    Raises:
        PermissionError: if the folder that it would lie in cannot be written to.
    """
    there = next(one for one in folder.parents if one.exists())
    if not os.access(there, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(there))


def _write(file: BinaryIO, record: dict[str, Any]) -> None:
    file.write(json.dumps(record).encode() + b"\n")
    file.flush()
