"""JSON lines, to a file or to stdout."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from mar_edge.errors import OptionError, OutputError
from mar_edge.files.atomic_file import NewFile
from mar_edge.files.marks import lines_kind, mark_record
from mar_edge.files.ownership import check_no_other_writer, check_not_input, check_replaceable, is_stream
from mar_edge.files.syncing import check_creatable, make_folder
from mar_edge.runtime.results import Kind, Record, ShownFrame, StreamStatus
from mar_edge.runtime.sinks.rotation import Rotation

SCHEMA = "mar-edge/json-lines/1"
"""Value of `schema`, the second key in the first line of a file; stdout needs none."""

JSON_LINES = lines_kind("file of JSON lines", SCHEMA, "type")


class JsonLines:
    """Writes one JSON object per line.

    An existing file is replaced when the first record arrives, and is left unchanged if it is not a file of JSON lines of
    mar-edge. Of two writers of one file the later one replaces the file of the other. In a folder where no other file can
    be created, the file itself is emptied and written to. A folder that does not exist is created with the first record.

    With `rotate_bytes` nothing is replaced but the oldest file: a file that is full, and one of an earlier run, becomes
    `NAME.1`, the one before it `NAME.2`, and so on. At every moment there is a file under the name itself.

    Args:
        target: a file's path, or `-` for stdout.
        force: replace a file of another kind.
        rotate_bytes: size that no file exceeds; None for no limit.
        keep: number of older files that are kept with `rotate_bytes`.
        inputs: what the program reads, which is never written to.

    Attributes:
        paths: the file, and those of the rotation; none for stdout.

    Raises:
        OptionError: if stdout, a pipe or a device is to be rotated, or a number is less than 1.
        OutputError: if the file cannot be opened, or it or an older one is of another kind, or is one of the inputs.
    """

    def __init__(
        self,
        target: str,
        *,
        force: bool = False,
        rotate_bytes: int | None = None,
        keep: int = 5,
        inputs: Iterable[str | Path | None] = (),
    ) -> None:
        self.target = target
        self.paths: list[Path] = []
        self._abandoned = False
        self._new: NewFile | None = None
        self._file: BinaryIO | None = None
        self._fresh = target != "-"
        self._force = force
        self._size = 0
        self._rotation: Rotation | None = None
        if rotate_bytes is not None and (target == "-" or is_stream(Path(target))):
            what = "stdout" if target == "-" else f"{target}, a pipe or a device,"
            raise OptionError(f"{what} cannot be rotated by size. Name a file, or leave the rotation out")
        if target == "-":
            if sys.stdout is None:  # closed before Python began
                raise OutputError("cannot write JSON lines: stdout is closed. Open it, or choose a file")
            return
        path = Path(target)
        check_replaceable(path, JSON_LINES, force=force)
        self.paths = [path, *(Path(f"{target}.{number}") for number in range(1, keep + 1) if rotate_bytes is not None)]
        inputs = list(inputs)
        for one in self.paths:
            check_not_input(one, inputs)
        try:
            real = Path(os.path.realpath(path))
            if rotate_bytes is not None:
                self._rotation = Rotation(real, JSON_LINES, rotate_bytes=rotate_bytes, keep=keep, force=force)
            if is_stream(path):
                self._fresh = False
                if not path.is_fifo():  # which is opened with the first record: that waits until somebody reads it
                    self._file = path.open("wb")
            elif real.parent.is_dir():
                self._open(real)
            else:
                check_creatable(real.parent)
        except OSError as error:
            raise OutputError(f"cannot write {target}: {error.strerror}. Choose a file you can write to") from error

    def _open(self, path: Path) -> None:
        if path.is_fifo():
            self._file = path.open("wb")
            return
        make_folder(path.parent)
        try:
            self._new = NewFile(path)
        except PermissionError:
            if not path.exists() or self._rotation is not None:
                raise
            self._file = path.open("ab")
        else:
            self._file = self._new.file

    @property
    def fresh(self) -> bool:
        """Whether nothing was written to a file yet."""
        return self._fresh

    def __call__(self, record: dict[str, Any]) -> None:
        """Write a record.

        Raises:
            OutputError: if it cannot be written: the disk is full, or the reader has closed the pipe.
        """
        if self._abandoned:
            return
        try:
            if self.target == "-":
                sys.stdout.write(json.dumps(record) + "\n")
                sys.stdout.flush()
            else:
                self._write(record)
        except OSError as error:
            self._abandon()
            if isinstance(error, BrokenPipeError):
                raise OutputError("the reader of the JSON lines has closed the pipe") from error
            raise OutputError(f"cannot write {self.target}: {error.strerror}") from error
        except OutputError:
            self._abandon()
            raise

    def _write(self, record: dict[str, Any]) -> None:
        line = _line(record)
        if self._rotation is not None and self._rotation.is_full(self._size, len(line)):
            self._retire(self._rotation)
        if self._file is None:
            self._open(Path(os.path.realpath(self.target)))
        assert self._file is not None
        if self._fresh:
            line = _line(mark_record(record, SCHEMA))
            self._begin(self._file, line)
            self._fresh = False
        else:
            _append(self._file, line)
        self._size += len(line)

    def _begin(self, file: BinaryIO, line: bytes) -> None:
        """Write the first line, and give the file its name."""
        if self._rotation is None:
            check_replaceable(Path(self.target), JSON_LINES, force=self._force)  # it may have been created meanwhile
        if self._new is None:
            file.truncate(0)
        _append(file, line)
        if self._new is None:
            return
        older = None
        if self._rotation is not None and self._rotation.keeps_current():
            self._new.sync()  # a full disk is noticed before older files are renamed
            older = self._rotation.make_room()
        self._new.finish(keep=older)

    def _retire(self, rotation: Rotation) -> None:
        """Finish the full file; it keeps its name until the first line of the next one is written."""
        assert self._new is not None
        with self._new:
            self._new.sync()
            rotation.add(self._new.file.fileno())
        self._new, self._file, self._fresh, self._size = None, None, True, 0

    def close(self) -> None:
        """Bring what was written onto the disk, and close the file; stdout stays open.

        Raises:
            OutputError: if the disk fails.
        """
        if self._file is None:
            _release_readers(Path(self.target))
            return
        if self._file.closed:
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


class JsonLinesSink:
    """Writes every record but frames as a line, see `JsonLines`.

    Args:
        target: a file's path, or `-` for stdout.
        force: replace a file of another kind.
        rotate_bytes: size that no file exceeds; None for no limit.
        keep: number of older files that are kept with `rotate_bytes`.
        inputs: what the program reads, which is never written to.

    Attributes:
        name: see `sinks.sink.Sink`.
        wants: see `sinks.sink.Sink`.

    Raises:
        OptionError: if the target cannot be rotated.
        OutputError: if the file cannot be written, is one of the inputs, or is being written by another program.
    """

    wants: frozenset[Kind] = frozenset({"prediction", "event", "notice", "summary"})

    def __init__(
        self,
        target: str,
        *,
        force: bool = False,
        rotate_bytes: int | None = None,
        keep: int = 5,
        inputs: Iterable[str | Path | None] = (),
    ) -> None:
        self.name = "JSON lines on stdout" if target == "-" else f"JSON lines in {target}"
        self._lines = JsonLines(target, force=force, rotate_bytes=rotate_bytes, keep=keep, inputs=inputs)
        try:
            for path in self._lines.paths:
                check_no_other_writer(path)
        except OutputError:
            self._lines.close()
            raise

    def write(self, record: Record) -> None:
        """Write a record as a line.

        Raises:
            OutputError: if it cannot be written.
        """
        failed_at_once = isinstance(record, StreamStatus) and record.code is not None and not record.frames
        if isinstance(record, ShownFrame) or (failed_at_once and self._lines.fresh):
            return  # a run that never had a frame does not replace the results of an earlier one
        self._lines(record.to_json())

    def close(self) -> None:
        """Bring the lines onto the disk; stdout stays open.

        Raises:
            OutputError: if the disk fails.
        """
        self._lines.close()


def _release_readers(path: Path) -> None:
    """Let those who wait for the first line of a pipe see its end; there will be none."""
    if path.is_fifo():
        with suppress(OSError):
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record).encode() + b"\n"


def _append(file: BinaryIO, line: bytes) -> None:
    file.write(line)
    file.flush()
