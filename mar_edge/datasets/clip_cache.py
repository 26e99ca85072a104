"""Stores decoded videos on disk: one file each, memory-mapped when read, either complete or absent.

A file contains its frames uint8 (N, h, w, 3) from its first byte on, then their times float64 (N,), then a trailer.
"""

from __future__ import annotations

import errno
import math
import os
import re
import secrets
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import OutputError
from mar_edge.files.regular_file import open_regular

SUFFIX = ".clip"
PARTIAL = ".partial"

ABANDONED_S = 3600.0
"""A partial file that was not written to for this time was left by a killed process."""

_PARTIAL_NAME = re.compile(rf".+{re.escape(SUFFIX)}\.\d+-[0-9a-f]+{re.escape(PARTIAL)}")
"""Names of our partial files; other files in the folder are never removed."""

_MAGIC = b"marclip1"
_TRAILER = struct.Struct("<8sQQQd")  # magic, frames, height, width, duration in seconds


@dataclass(frozen=True)
class CachedClip:
    """What a file of the cache contains.

    Attributes:
        frames: N.
        height_px, width_px: of every frame.
        duration_s: from the first frame to the end of the last.
    """

    frames: int
    height_px: int
    width_px: int
    duration_s: float

    @property
    def size_bytes(self) -> int:
        """Size of the complete file."""
        return self.frames * (3 * self.height_px * self.width_px + 8) + _TRAILER.size


class ClipWriter:
    """Writes a file of the cache; it gets its name only with `finish`.

    Args:
        path: the file.

    Raises:
        OutputError: here and in every method, if it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # several processes may write the same clip; the last one to finish wins, and they are equal
        self._partial = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}{PARTIAL}")
        self._times_s: list[float] = []
        self._shape: tuple[int, ...] = ()
        try:
            self._file = self._partial.open("wb")
        except OSError as error:
            raise self._failure(error) from error

    def __enter__(self) -> ClipWriter:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what was not finished."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._partial.unlink()

    @property
    def frames(self) -> int:
        """Frames written so far."""
        return len(self._times_s)

    @property
    def times_s(self) -> NDArray[np.float64]:
        """Times of the frames written so far, float64 (N,)."""
        return np.array(self._times_s)

    def add(self, picture: NDArray[np.uint8], time_s: float) -> None:
        """Write a frame.

        Args:
            picture: uint8 (h, w, 3), of the same size every time.
            time_s: its time in seconds.
        """
        if self._shape not in ((), picture.shape):
            raise ValueError(f"a frame of shape {picture.shape} after others of shape {self._shape}")
        self._shape = picture.shape
        self._times_s.append(time_s)
        self._write(np.ascontiguousarray(picture).data)

    def finish(self, duration_s: float) -> CachedClip:
        """Give the file its name.

        Args:
            duration_s: from the first frame to the end of the last.
        """
        clip = CachedClip(len(self._times_s), self._shape[0], self._shape[1], duration_s)
        self._write(np.asarray(self._times_s, dtype="<f8").data)
        self._write(_TRAILER.pack(_MAGIC, clip.frames, clip.height_px, clip.width_px, duration_s))
        try:
            self._file.flush()
            os.fsync(self._file.fileno())  # the name must not be on disk before the content
            self._file.close()
            os.replace(self._partial, self._path)
        except OSError as error:
            raise self._failure(error) from error
        return clip

    def _write(self, data: memoryview | bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> OutputError:
        reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror or str(error)
        return OutputError(f"cannot write {self._path}: {reason}")


def look_up(path: Path) -> CachedClip | None:
    """Return what a file of the cache contains, from its trailer; None if it is missing, incomplete or damaged."""
    try:
        with open(open_regular(path), "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TRAILER.size))
            return _check(file.read(), size)
    except OSError:
        return None


def map_clip(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.float64]] | None:
    """Map a file of the cache into memory; None if it is missing, incomplete or damaged.

    Returns:
        Frames uint8 (N, h, w, 3), read from disk as they are used, and their times float64 (N,).
    """
    try:
        with open(open_regular(path), "rb") as file:
            data = np.memmap(file, dtype=np.uint8, mode="r")
    except (OSError, ValueError):  # an empty file cannot be mapped
        return None
    clip = _check(data[-_TRAILER.size :].tobytes(), data.size)
    if clip is None:
        return None
    shape = (clip.frames, clip.height_px, clip.width_px, 3)
    end = int(np.prod(shape))
    times_s = np.frombuffer(data[end : -_TRAILER.size].tobytes(), dtype="<f8")
    if not np.isfinite(times_s).all() or (np.diff(times_s) < 0).any():
        return None
    return data[:end].reshape(shape).view(np.ndarray), times_s


def remove_abandoned(folder: Path) -> None:
    """Remove partial files of killed processes; files that another process is writing stay."""
    with suppress(OSError):
        for path in (path for path in folder.iterdir() if _PARTIAL_NAME.fullmatch(path.name)):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > ABANDONED_S:
                    path.unlink()


def _check(trailer: bytes, size: int) -> CachedClip | None:
    if len(trailer) != _TRAILER.size:
        return None
    magic, frames, height, width, duration_s = _TRAILER.unpack(trailer)
    clip = CachedClip(frames, height, width, duration_s)
    sound = magic == _MAGIC and min(frames, height, width) > 0 and clip.size_bytes == size
    return clip if sound and math.isfinite(duration_s) and duration_s >= 0 else None
