"""Rotation of a file of lines by its size, with the names that logrotate gives: `out.jsonl`, `out.jsonl.1`, ..."""

from __future__ import annotations

import os
from pathlib import Path

from mar_edge.errors import OptionError, OutputError
from mar_edge.files.ownership import FileKind, check_replaceable
from mar_edge.files.syncing import sync_folder


class Rotation:
    """When a file is full, and what its older files are called. `.1` is the newest of them.

    Files that are not ours are never renamed, replaced or removed, unless `force` is given.

    Args:
        path: the file that is written to; not a link.
        kind: its kind, and that of its older files.
        rotate_bytes: size that no file exceeds; only a single line may be longer.
        keep: number of older files that are kept; the oldest one is replaced when there are more.
        force: replace files of another kind.

    Raises:
        OptionError: if `rotate_bytes` or `keep` is less than 1.
        OutputError: if a name that it needs is taken by a file of another kind.
    """

    def __init__(self, path: Path, kind: FileKind, *, rotate_bytes: int, keep: int, force: bool) -> None:
        if rotate_bytes < 1 or keep < 1:
            raise OptionError(
                f"rotation needs a size and a number of files of at least 1; it was given {rotate_bytes} and {keep}"
            )
        self._path = path
        self._kind = kind
        self._rotate_bytes = rotate_bytes
        self._force = force
        self._older = [Path(f"{path}.{number}") for number in range(1, keep + 1)]
        self._ours: set[tuple[int, ...]] = set()
        self._check()

    def is_full(self, size: int, line_bytes: int) -> bool:
        """Return whether a line no longer fits into the file, which has `size` bytes."""
        return size > 0 and size + line_bytes > self._rotate_bytes

    def add(self, file: int) -> None:
        """Remember an open file of ours, which was written to for the last time."""
        self._ours.add(_identity(os.fstat(file)))

    def keeps_current(self) -> bool:
        """Return whether the file under the name itself is ours and worth keeping; an empty one is not.

        Raises:
            OutputError: if it is of another kind, and `force` is not given.
        """
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return False
        if _identity(found) in self._ours:
            return True
        try:
            check_replaceable(self._path, self._kind)
        except OutputError:
            if self._force:
                return False
            raise
        return found.st_size > 0

    def make_room(self) -> Path:
        """Free the name of the newest older file: rename those there are, and replace the oldest one if all are there.

        Returns:
            That name.

        Raises:
            OutputError: if a file of another kind has taken one of the names meanwhile.
            OSError: if they cannot be renamed.
        """
        self._check()
        if self._older[0].exists() and self._older[0].samefile(self._path):  # a writer was killed at this point
            return self._older[0]
        last = len(self._older) - 1
        free = next((index for index, path in enumerate(self._older) if not os.path.lexists(path)), last)
        for index in range(free, 0, -1):
            os.replace(self._older[index - 1], self._older[index])
            sync_folder(self._path.parent)
        return self._older[0]

    def _check(self) -> None:
        """Check the older files; each is read only once, as it may be large."""
        for path in self._older:
            try:
                identity = _identity(path.stat())
            except FileNotFoundError:
                continue
            if identity not in self._ours:
                check_replaceable(path, self._kind, force=self._force)
                self._ours.add(identity)


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
