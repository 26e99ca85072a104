"""Files whose hash was checked, and whether they are still the same when they have been loaded by their path."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

_SETTLED_NS = 100_000_000
"""A file that was written at least this long before it was hashed cannot have been written again with the same time stamp."""


class _State(NamedTuple):
    device: int
    inode: int
    size: int
    written_ns: int
    changed_ns: int


@dataclass(frozen=True)
class CheckedFile:
    """A file at the moment it was hashed.

    Attributes:
        path: the file.
        sha256: in hexadecimal.
    """

    path: Path
    sha256: str
    _state: _State
    _settled: bool

    @classmethod
    def read(cls, path: Path) -> CheckedFile:
        """Hash a file.

        Raises:
            OSError: if it cannot be read.
        """
        now = time.time_ns()
        with path.open("rb") as file:
            before = _state(os.fstat(file.fileno()))
            sha256 = hash_open(file)
            settled = before == _state(os.fstat(file.fileno())) and now - before.changed_ns > _SETTLED_NS
        return cls(path, sha256, before, settled)

    def is_unchanged(self) -> bool:
        """Return whether the path still leads to the bytes that were hashed.

        A file that was replaced or written to counts as changed, even if its bytes are the same.

        Raises:
            OSError: if it cannot be read.
        """
        now = _state(os.stat(self.path))
        if now[:4] != self._state[:4]:
            return False
        if self._settled and now == self._state:
            return True
        # a link to it, or its permissions, may have changed; or it is too new for its time stamp to show a change
        return CheckedFile.read(self.path).sha256 == self.sha256


def hash_open(file: BinaryIO) -> str:
    """Return the sha256 of the rest of an open file in hexadecimal.

    Raises:
        OSError: if it cannot be read.
    """
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _state(found: os.stat_result) -> _State:
    return _State(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
