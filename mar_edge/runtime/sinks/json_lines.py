"""JSON lines, to a file or to stdout."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from mar_edge.errors import OutputError
from mar_edge.files.marks import lines_kind, mark_record
from mar_edge.files.ownership import check_replaceable

SCHEMA = "mar-edge/json-lines/1"
"""Value of `schema`, the second key in the first line of a file; stdout needs none."""

JSON_LINES = lines_kind("file of JSON lines", SCHEMA, "type")


class JsonLines:
    """Writes one JSON object per line.

    An existing file keeps its content until the first record arrives, and is left unchanged if it is not a file of
    JSON lines of mar-edge.

    Args:
        target: a file's path, or `-` for stdout.
        force: replace a file of another kind.

    Raises:
        OutputError: if the file cannot be opened, or is of another kind.
    """

    def __init__(self, target: str, *, force: bool = False) -> None:
        self.target = target
        self._abandoned = False
        self._file: IO[str]
        self._fresh = False
        if target == "-":
            if sys.stdout is None:  # closed before Python began
                raise OutputError("cannot write JSON lines: stdout is closed. Open it, or choose a file")
            self._file = sys.stdout
            return
        path = Path(target)
        check_replaceable(path, JSON_LINES, force=force)
        try:
            self._fresh = path.is_file() or not path.exists()
            self._file = path.open("a" if self._fresh else "w", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"cannot write {target}: {error.strerror}. Choose a file you can write to") from error

    def __call__(self, record: dict[str, Any]) -> None:
        """Write a record.

        Raises:
            OutputError: if it cannot be written: the disk is full, or the reader has closed the pipe.
        """
        if self._abandoned:
            return
        try:
            if self._fresh:
                self._file.truncate(0)
                record = mark_record(record, SCHEMA)
            self._fresh = False
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
        except OSError as error:
            self._abandon()
            if isinstance(error, BrokenPipeError):
                raise OutputError("the reader of the JSON lines has closed the pipe") from error
            raise OutputError(f"cannot write {self.target}: {error.strerror}") from error

    def close(self) -> None:
        """Close the file; stdout stays open."""
        if self._file is not sys.stdout:
            self._file.close()

    def _abandon(self) -> None:
        """Discard what is still buffered; Python would try to write it again, and fail again, at exit."""
        self._abandoned = True
        if self._file is sys.stdout:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._file.fileno())
        else:
            with suppress(OSError):
                self._file.close()
