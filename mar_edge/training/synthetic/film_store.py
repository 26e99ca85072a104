"""Filmed clips in chunks on disk: made once by all cores, opened by every worker process for itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mar_edge.datasets.workers import over_all_cores
from mar_edge.errors import MarEdgeError, OutputError

Progress = Callable[[int, int], None]


class Films(NamedTuple):
    """A chunk of clips.

    Attributes:
        clips: uint8 (N, T, H, W, 3) RGB.
        labels: class indices (N,).
        flows: float32 (N, t, h, w, 2), see `objective.Batch`; (N, 0) where not known.
    """

    clips: NDArray[np.uint8]
    labels: NDArray[np.int64]
    flows: NDArray[np.float32]


class Studio(Protocol):
    """Makes chunks; it is sent to other processes."""

    def film(self, count: int, seed: int) -> Films:
        """Film so many clips; a seed makes the same again."""


class FilmStore:
    """Clips of a folder.

    Args:
        folder: of `film_all`.
        counts: clips in each chunk.

    Attributes:
        labels: class index of every clip (N,).
        flows: of every clip, as in `Films`.
    """

    def __init__(self, folder: Path, counts: list[int]) -> None:
        self.labels = np.concatenate([np.load(folder / f"{index}.labels.npy") for index in range(len(counts))])
        self.flows = np.concatenate([np.load(folder / f"{index}.flows.npy") for index in range(len(counts))])
        self._folder = folder
        self._ends = np.cumsum(counts)
        self._chunks: dict[int, NDArray[np.uint8]] = {}

    def clip(self, index: int) -> NDArray[np.uint8]:
        """Return a clip, uint8 (T, H, W, 3), not to be written to."""
        number = int(np.searchsorted(self._ends, index, side="right"))
        if number not in self._chunks:
            self._chunks[number] = np.load(self._folder / f"{number}.clips.npy", mmap_mode="r")
        chunk = self._chunks[number]
        clip: NDArray[np.uint8] = chunk[index - (int(self._ends[number]) - len(chunk))]
        return clip

    def __getstate__(self) -> dict[str, Any]:  # pickled, a memory map would become a copy of the file
        return {**vars(self), "_chunks": {}}


class _Job(NamedTuple):
    folder: Path
    number: int
    clips: int
    seed: int
    studio: Studio


def film_all(folder: Path, studio: Studio, *, clips: int, chunk: int, seed: int, progress: Progress) -> FilmStore:
    """Film what is not there yet.

    Args:
        folder: of these clips alone, named by all that decides them.
        studio: makes them.
        clips: how many in all.
        chunk: how many in one file.
        seed: of the filming.
        progress: called with (chunks done, chunks in all).

    Raises:
        OutputError: if the folder cannot be written.
        MarEdgeError: if a process that films dies.
    """
    counts = [min(chunk, clips - start) for start in range(0, clips, chunk)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        jobs = [
            _Job(folder, number, count, seed * 10_000 + number, studio)
            for number, count in enumerate(counts)
            if not (folder / f"{number}.labels.npy").exists()
        ]
        done = len(counts) - len(jobs)
        for _, finished in over_all_cores(_film, jobs):
            if finished is None:
                raise MarEdgeError("a process that films clips died; the memory may be full. The same command goes on")
            done += 1
            progress(done, len(counts))
    except OSError as error:
        raise OutputError(
            f"cannot write the clips to {folder}: {error}. Set data.cache to a folder you can write"
        ) from error
    return FilmStore(folder, counts)


def _film(job: _Job) -> bool:
    films = job.studio.film(job.clips, job.seed)
    np.save(job.folder / f"{job.number}.clips.npy", films.clips)
    np.save(job.folder / f"{job.number}.flows.npy", films.flows)
    np.save(job.folder / f"{job.number}.labels.npy", films.labels)  # last: its presence says that the chunk is whole
    return True
