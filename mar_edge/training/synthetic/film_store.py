"""Filmed clips in chunks on disk: made once on all cores, opened separately by every worker process."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from tokenize import TokenError
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from mar_edge.counting import counted
from mar_edge.datasets.workers import cores, over_all_cores
from mar_edge.errors import MarEdgeError, OutputError, TrainingError
from mar_edge.files.atomic_file import NewFile
from mar_edge.files.private_folder import make_private
from mar_edge.files.syncing import make_folder
from mar_edge.files.unfinished import sweep
from mar_edge.reporting import Progress
from mar_edge.training.room import free_disk_bytes, free_memory_bytes, gigabytes
from mar_edge.training.synthetic.symmetry import Film

PROCESS_BYTES = 250_000_000
"""Memory of a filming process, in addition to its worlds."""

PARTS = ("clips", "flows", "labels")
"""Files of a chunk, in the order in which they are written."""


class Studio(Protocol):
    """Makes clips; it is sent to other processes."""

    def film(self, count: int, seed: int) -> Iterator[Film]:
        """Film `count` clips in order; the same seed gives the same clips."""


class FilmStore:
    """Clips of a folder.

    Args:
        folder: from `film_all`.
        counts: clips in each chunk.

    Attributes:
        labels: class index of every clip (N,).
        flows: of every clip, float32 (N, t, h, w, 2), see `objective.Batch`; (N, 0) if unknown.
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
    shape: tuple[int, ...]
    seed: int
    studio: Studio


def film_all(
    folder: Path,
    studio: Studio,
    *,
    shape: tuple[int, ...],
    clips: int,
    chunk: int,
    seed: int,
    process_bytes: Callable[[], int],
    progress: Progress,
) -> FilmStore:
    """Film the clips that do not exist yet, and those whose files are damaged.

    Args:
        folder: of these clips only, in the cache's folder; named by everything that determines them.
        studio: makes them.
        shape: of a clip, (T, H, W, 3).
        clips: total number.
        chunk: number per file.
        seed: of the filming.
        process_bytes: returns the memory of the filmed worlds in one process.
        progress: called with the chunks of clips that are done.

    Raises:
        OutputError: if the folder cannot be written, or its disk has no room.
        TrainingError: if the filmed worlds do not fit into memory.
        MarEdgeError: if a process that films dies.
    """
    complete = _complete_chunks(folder, shape, clips, chunk)
    _check_disk(folder, shape, clips - len(complete) * chunk)
    counts = [min(chunk, clips - start) for start in range(0, clips, chunk)]
    try:
        make_private(folder.parent)  # unless it exists: a team may share it
        make_folder(folder)
        sweep(folder)
        jobs = [
            _Job(folder, number, count, shape, seed * 10_000 + number, studio)
            for number, count in enumerate(counts)
            if number not in complete
        ]
        done = len(counts) - len(jobs)
        processes = _processes(process_bytes()) if jobs else 1
        for _, finished in over_all_cores(_film, jobs, processes=processes):
            if finished is None:
                raise MarEdgeError(
                    "a process that films clips died; the memory may be full. The same command resumes from the finished clips"
                )
            done += 1
            progress("filming clips", done, len(counts))
    except OSError as error:
        raise OutputError(
            f"cannot write the clips to {folder}: {error}. Set data.cache to a folder you can write"
        ) from error
    return FilmStore(folder, counts)


def _complete_chunks(folder: Path, shape: tuple[int, ...], clips: int, chunk: int) -> set[int]:
    """Return the chunks whose files exist with all of their content."""
    numbers = {int(name) for file in folder.glob("*.labels.npy") if (name := file.name.partition(".")[0]).isdigit()}
    return {
        number
        for number in numbers
        if (count := min(chunk, clips - number * chunk)) > 0 and _is_complete(folder, number, (count, *shape))
    }


def _is_complete(folder: Path, number: int, shape: tuple[int, ...]) -> bool:
    """Return whether the files of a chunk have all of their content; a kill or a power cut may have cut older ones.

    Args:
        folder: of the chunk.
        number: of the chunk.
        shape: of its clips, (N, T, H, W, 3).
    """
    try:
        films, flows, labels = (open_memmap(folder / f"{number}.{part}.npy", mode="r") for part in PARTS)
    except (OSError, ValueError, TypeError, EOFError, SyntaxError, TokenError, OverflowError):
        return False
    right = films.dtype == np.uint8 and flows.dtype == np.float32 and labels.dtype == np.int64
    return right and films.shape == shape and labels.shape == shape[:1] and flows.shape[:1] == shape[:1]


def _check_disk(folder: Path, shape: tuple[int, ...], clips: int) -> None:
    """Check that the missing clips fit on the disk."""
    needed_bytes = max(0, clips) * math.prod(shape)
    room = free_disk_bytes(folder)
    if room is not None and needed_bytes > room[0]:
        raise OutputError(
            f"{counted(clips, 'clip', 'takes', 'take')} {gigabytes(needed_bytes)} in {folder}, and {gigabytes(room[0])} are free there. Make fewer "
            "or smaller ones, or set data.cache to a folder on a larger disk"
        )


def _processes(each_bytes: int) -> int:
    """Return how many processes may film at a time."""
    free_bytes = free_memory_bytes()
    each_bytes += PROCESS_BYTES
    if free_bytes is None:
        return cores()
    if each_bytes > free_bytes:
        raise TrainingError(
            f"filming clips takes {gigabytes(each_bytes)} of memory for the filmed worlds, and {gigabytes(free_bytes)} are free. "
            "Use fewer or shorter data.videos, fewer data.pictures, or a smaller data.drawn_per_chunk"
        )
    return min(cores(), free_bytes // each_bytes)


def _film(job: _Job) -> bool:
    labels: list[int] = []
    flows: list[NDArray[np.float32]] = []
    # clip by clip: a chunk may be larger than the memory
    with NewFile(_file(job, "clips"), sweeps=False) as new:
        header = {"descr": "|u1", "fortran_order": False, "shape": (job.clips, *job.shape)}
        np.lib.format.write_array_header_1_0(new.file, header)
        for clip, label, flow in job.studio.film(job.clips, job.seed):
            new.file.write(np.ascontiguousarray(clip, np.uint8).data)
            labels.append(label)
            flows.append(flow)
        new.finish()
    for part, values in (("flows", np.stack(flows)), ("labels", np.array(labels, np.int64))):
        with NewFile(_file(job, part), sweeps=False) as new:
            np.save(new.file, values)
            new.finish()
    return True


def _file(job: _Job, part: str) -> Path:
    return job.folder / f"{job.number}.{part}.npy"
