"""Several video files, one after another, as one stream."""

from __future__ import annotations

import glob
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from mar_edge.counting import counted
from mar_edge.errors import SourceError, SourceTimeoutError
from mar_edge.reporting import Warnings
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.sources.file import FileSource
from mar_edge.runtime.sources.source import Connection, Source

BETWEEN_FILES_S = 0.1
"""Time from the last frame of a file to the first of the next."""


def natural_order(paths: Iterable[Path]) -> list[Path]:
    """Sort paths as people number them: `take2` before `take10`."""
    return sorted(paths, key=lambda path: ([_rank(part) for part in re.split(r"(\d+)", str(path))], str(path)))


def _rank(part: str) -> tuple[int, int, str]:
    return (0, int(part), "") if part.isdecimal() else (1, 0, part.casefold())


def expand(pattern: str) -> list[Path]:
    """Return the files that match a pattern of `*`, `?`, `[...]` and `**`, in natural order; hidden ones are left out."""
    return natural_order(path for text in glob.iglob(pattern, recursive=True) if (path := Path(text)).is_file())


class FileListSource:
    """Every frame of several video files, one after another. Time goes on from file to file; no window and no event spans two.

    A file that cannot be read is skipped with a warning.

    Args:
        paths: of the files, in order.
        name: for messages and results.
        open_file: returns the source of a file.
    """

    live = False

    def __init__(self, paths: Sequence[Path], *, name: str, open_file: Callable[[Path], Source] = FileSource) -> None:
        self.paths = tuple(paths)
        self.name = name
        self.dropped = 0
        self.warnings = Warnings()
        self._open_file = open_file

    def connect(self) -> Connection:
        """Return a connection that begins with the first file.

        Raises:
            SourceError: if the list is empty.
        """
        if not self.paths:
            raise SourceError(f"{self.name} matches no file", code="not-found", retry=False)
        return _FileListConnection([self._source(path) for path in self.paths], self.name, self.warnings)

    def _source(self, path: Path) -> Source:
        source = self._open_file(path)
        source.warnings = self.warnings
        return source


class _FileListConnection:
    """Reads one file after another; the connection to one is open at a time."""

    def __init__(self, sources: Sequence[Source], name: str, warnings: Warnings) -> None:
        self._waiting = list(reversed(sources))
        self._count = len(sources)
        self._name = name
        self._warnings = warnings
        self._errors: list[SourceError] = []
        self._changing = threading.Lock()
        self._current: Connection | None = None
        self._closed = False
        self._offset_s = 0.0
        self._last_s: float | None = None
        self._begins: str | None = None  # file whose first frame comes next

    def read(self, timeout_s: float) -> Frame | None:
        """Return the next frame of this file or the next; None after the last.

        Raises:
            SourceTimeoutError: if a file delivers none in time.
            SourceError: if no file can be read.
        """
        while not self._closed:
            try:
                current = self._open_next() if self._current is None else self._current
                frame = current.read(timeout_s) if current is not None else None
            except SourceTimeoutError:
                raise
            except SourceError as error:
                self._errors.append(error)
                if self._waiting:
                    self._warnings(f"{error}; continuing with the next file")
                elif self._last_s is not None:
                    self._warnings(str(error))
                self._leave()
                continue
            if current is None:
                self._check_any()
                return None
            if frame is not None:
                self._last_s = frame.time_s + self._offset_s
                cut, self._begins = self._begins, None
                return frame.at(self._last_s, cut=cut and f"{cut} begins at {self._last_s:.2f} s")
            self._leave()
        return None

    def close(self) -> None:
        """Close the open file; no other is opened."""
        with self._changing:
            self._closed = True
            if self._current is not None:
                self._current.close()

    def _open_next(self) -> Connection | None:
        """Connect to the next file; return None if there is none."""
        if not self._waiting:
            return None
        self._offset_s = 0.0 if self._last_s is None else self._last_s + BETWEEN_FILES_S
        following = self._waiting.pop()
        opened = following.connect()
        self._begins = None if self._last_s is None else following.name
        with self._changing:
            self._current = opened
            if self._closed:
                opened.close()
        return opened

    def _leave(self) -> None:
        with self._changing:
            current, self._current = self._current, None
        if current is not None:
            current.close()

    def _check_any(self) -> None:
        """Raise an error if no file could be read."""
        if self._last_s is None and self._errors:
            first = self._errors[0]
            message = str(first) if self._count == 1 else f"none of {counted(self._count, 'file')} of {self._name} can be read; the first: {first}"  # fmt: skip
            raise SourceError(message, code=first.code, retry=False)
