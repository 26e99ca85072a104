"""Stores decoded videos on disk: one file each, memory-mapped when read, either complete or absent.

A file contains its frames uint8 (N, h, w, 3) from its first byte on, then their times float64 (N,), then a trailer.
"""

from __future__ import annotations

import errno
import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import OutputError
from mar_edge.files.atomic_file import NewFile
from mar_edge.files.private_folder import make_private
from mar_edge.files.regular_file import open_regular
from mar_edge.files.unfinished import sweep

SUFFIX = ".clip"

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


def prepare_folder(folder: Path) -> None:
    """Create a folder for clips, or remove what killed writers left in an existing one.

    A new folder is for this user only. An existing one is used as it is: a team may share one on purpose, and its clips
    are no code.

    Raises:
        OSError: if it cannot be created.
    """
    make_private(folder)
    sweep(folder)


class ClipWriter:
    """Writes a file of the cache; it gets its name only with `finish`.

    Args:
        path: the file.

    Raises:
        OutputError: here and in every method, if it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._times_s: list[float] = []
        self._shape: tuple[int, ...] = ()
        try:
            # several processes may write the same clip; the last one to finish wins, and they are equal
            self._new = NewFile(path, sweeps=False)  # `prepare_folder` sweeps once: there may be many files
        except OSError as error:
            raise self._failure(error) from error

    def __enter__(self) -> ClipWriter:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what was not finished."""
        self._new.__exit__(kind, error, trace)

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
            self._new.finish()
        except OSError as error:
            raise self._failure(error) from error
        return clip

    def _write(self, data: memoryview | bytes) -> None:
        try:
            self._new.file.write(data)
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


def _check(trailer: bytes, size: int) -> CachedClip | None:
    if len(trailer) != _TRAILER.size:
        return None
    magic, frames, height, width, duration_s = _TRAILER.unpack(trailer)
    clip = CachedClip(frames, height, width, duration_s)
    sound = magic == _MAGIC and min(frames, height, width) > 0 and clip.size_bytes == size
    return clip if sound and math.isfinite(duration_s) and duration_s >= 0 else None
