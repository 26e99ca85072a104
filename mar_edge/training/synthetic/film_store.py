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

PARTS = {"clips": np.uint8, "flows": np.float32, "classes": np.int64, "labels": np.int64}
"""Files of a chunk and their types, in the order in which they are written; classes only where a clip's class may change."""


class Studio(Protocol):
    """Makes clips; it is sent to other processes."""

    def film(self, count: int, seed: int) -> Iterator[Film]:
        """Film `count` clips in order; the same seed gives the same clips."""


class FilmStore:
    """Clips of a folder.

    Args:
        folder: from `film_all`.
        counts: clips in each chunk.
        changing: as in `film_all`.

    Attributes:
        labels: class index of every clip (N,); where it changes, of the last frame.
        changing: whether the class may change within a clip.
        flows: of every clip, float32 (N, t, h, w, 2), see `objective.Batch`; (N, 0) if unknown.
    """

    def __init__(self, folder: Path, counts: list[int], *, changing: bool = False) -> None:
        def whole(part: str) -> NDArray[Any]:
            return np.concatenate([np.load(folder / f"{index}.{part}.npy") for index in range(len(counts))])

        self.labels: NDArray[np.int64] = whole("labels")
        self.flows: NDArray[np.float32] = whole("flows")
        self.changing = changing
        self._classes: NDArray[np.int64] | None = whole("classes") if changing else None
        self._folder = folder
        self._ends = np.cumsum(counts)
        self._chunks: dict[int, NDArray[np.uint8]] = {}

    def counts(self, classes: int) -> NDArray[np.int64]:
        """Return in how many frames each class is right (classes,); in how many clips, where it does not change."""
        every = self.labels if self._classes is None else self._classes
        return np.bincount(every.ravel(), minlength=classes)

    def clip(self, index: int) -> NDArray[np.uint8]:
        """Return a clip, uint8 (T, H, W, 3), not to be written to."""
        number = int(np.searchsorted(self._ends, index, side="right"))
        if number not in self._chunks:
            self._chunks[number] = np.load(self._folder / f"{number}.clips.npy", mmap_mode="r")
        chunk = self._chunks[number]
        clip: NDArray[np.uint8] = chunk[index - (int(self._ends[number]) - len(chunk))]
        return clip

    def film(self, index: int) -> Film:
        """Return a clip, not to be written to, with its classes and flow."""
        clip = self.clip(index)
        classes = np.full(len(clip), self.labels[index]) if self._classes is None else self._classes[index]
        return Film(clip, classes, self.flows[index])

    def __getstate__(self) -> dict[str, Any]:  # pickled, a memory map would become a copy of the file
        return {**vars(self), "_chunks": {}}


class _Job(NamedTuple):
    folder: Path
    number: int
    clips: int
    shape: tuple[int, ...]
    seed: int
    studio: Studio
    changing: bool


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
    changing: bool = False,
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
        changing: the class may change within a clip, and that of every frame is kept.

    Raises:
        OutputError: if the folder cannot be written, or its disk has no room.
        TrainingError: if the filmed worlds do not fit into memory.
        MarEdgeError: if a process that films dies.
    """
    complete = _complete_chunks(folder, shape, clips, chunk, _parts(changing))
    _check_disk(folder, shape, clips - len(complete) * chunk)
    counts = [min(chunk, clips - start) for start in range(0, clips, chunk)]
    try:
        make_private(folder.parent)  # unless it exists: a team may share it
        make_folder(folder)
        sweep(folder)
        jobs = [
            _Job(folder, number, count, shape, seed * 10_000 + number, studio, changing)
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
    return FilmStore(folder, counts, changing=changing)


def _parts(changing: bool) -> list[str]:
    return [part for part in PARTS if changing or part != "classes"]


def _complete_chunks(folder: Path, shape: tuple[int, ...], clips: int, chunk: int, parts: list[str]) -> set[int]:
    """Return the chunks whose files exist with all of their content."""
    numbers = {int(name) for file in folder.glob("*.labels.npy") if (name := file.name.partition(".")[0]).isdigit()}
    return {
        number
        for number in numbers
        if (count := min(chunk, clips - number * chunk)) > 0 and _is_complete(folder, number, (count, *shape), parts)
    }


def _is_complete(folder: Path, number: int, shape: tuple[int, ...], parts: list[str]) -> bool:
    """Return whether the files of a chunk have all of their content; a kill or a power cut may have cut older ones.

    Args:
        folder: of the chunk.
        number: of the chunk.
        shape: of its clips, (N, T, H, W, 3).
        parts: that it must have.
    """
    try:
        files = {part: open_memmap(folder / f"{number}.{part}.npy", mode="r") for part in parts}
    except (OSError, ValueError, TypeError, EOFError, SyntaxError, TokenError, OverflowError):
        return False
    shapes = {"clips": shape, "flows": shape[:1], "classes": shape[:2], "labels": shape[:1]}
    return all(
        file.dtype == PARTS[part] and (file.shape[:1] if part == "flows" else file.shape) == shapes[part]
        for part, file in files.items()
    )


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
    classes: list[NDArray[np.int64]] = []
    flows: list[NDArray[np.float32]] = []
    # clip by clip: a chunk may be larger than the memory
    with NewFile(_file(job, "clips"), sweeps=False) as new:
        header = {"descr": "|u1", "fortran_order": False, "shape": (job.clips, *job.shape)}
        np.lib.format.write_array_header_1_0(new.file, header)
        for film in job.studio.film(job.clips, job.seed):
            new.file.write(np.ascontiguousarray(film.clip, np.uint8).data)
            classes.append(film.classes)
            flows.append(film.flow)
        new.finish()
    whole = np.stack(classes)
    values: dict[str, NDArray[Any]] = {"flows": np.stack(flows), "classes": whole, "labels": whole[:, -1]}
    for part in _parts(job.changing)[1:]:
        with NewFile(_file(job, part), sweeps=False) as new:
            np.save(new.file, values[part].astype(PARTS[part]))
            new.finish()
    return True


def _file(job: _Job, part: str) -> Path:
    return job.folder / f"{job.number}.{part}.npy"
