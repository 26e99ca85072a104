"""JSON lines, to a file or to stdout."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from mar_edge.errors import OutputError


class JsonLines:
    """Writes one JSON object a line.

    A file that is there keeps its content until the first record comes, and is left alone if it is something else than
    JSON lines.

    Args:
        target: a file's path, or `-` for stdout.

    Raises:
        OutputError: if the file cannot be opened, or holds something else.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self._abandoned = False
        self._file: IO[str]
        try:
            self._file = sys.stdout if target == "-" else _open(Path(target))
        except OSError as error:
            raise OutputError(f"cannot write {target}: {error.strerror}. Choose a file you can write to") from error
        self._fresh = target != "-" and Path(target).is_file()

    def __call__(self, record: dict[str, Any]) -> None:
        """Write a record.

        Raises:
            OutputError: if it cannot be written: a full disk, or a reader that went away.
        """
        if self._abandoned:
            return
        try:
            if self._fresh:
                self._file.truncate(0)
            self._fresh = False
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
        except OSError as error:
            self._abandon()
            if isinstance(error, BrokenPipeError):
                raise OutputError("the reader of the JSON lines went away") from error
            raise OutputError(f"cannot write {self.target}: {error.strerror}") from error

    def close(self) -> None:
        """Close the file; stdout stays open."""
        if self._file is not sys.stdout:
            self._file.close()

    def _abandon(self) -> None:
        """Let go of what is still buffered; Python would try to write it again, and fail again, at exit."""
        self._abandoned = True
        if self._file is sys.stdout:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._file.fileno())
        else:
            with suppress(OSError):
                self._file.close()


def _open(path: Path) -> IO[str]:
    file = path.open("a+", encoding="utf-8", errors="replace") if path.is_file() else path.open("w", encoding="utf-8")
    if path.is_file() and path.stat().st_size:
        file.seek(0)
        if file.read(1) != "{":
            file.close()
            raise OutputError(f"{path} holds something else than JSON lines; choose another name or remove it")
    return file
