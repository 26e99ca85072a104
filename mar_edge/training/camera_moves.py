"""The egomotion training set: clips of virtual camera moves in memory-mapped chunks."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import OutputError
from mar_edge.geometry import Geometry
from mar_edge.training import symmetry
from mar_edge.training.recipe import CameraMovesPart
from mar_edge.training.symmetry import Film
from mar_edge.training.virtual_camera import Filming, film_many
from mar_edge.training.worlds import drawn_worlds, picture_worlds, video_worlds, videos_below

Progress = Callable[[int, int], None]


class CameraMoves:
    """Clips in chunks on disk.

    Attributes:
        digest: hash of everything that decides the clips.
    """

    def __init__(
        self, chunks: list[NDArray[np.uint8]], classes: NDArray[np.int64], flows: NDArray[np.float32], digest: str
    ) -> None:
        self._chunks = chunks
        self._classes = classes
        self._flows = flows
        self._ends = np.cumsum([len(chunk) for chunk in chunks])
        self.digest = digest

    def __len__(self) -> int:
        """Number of clips."""
        return len(self._classes)

    def sample(self, count: int, rng: np.random.Generator) -> list[Film]:
        """Draw clips with replacement, each under a random symmetry."""
        films = []
        for index in rng.integers(0, len(self), count):
            chunk = int(np.searchsorted(self._ends, index, side="right"))
            start = self._ends[chunk] - len(self._chunks[chunk])
            film = Film(self._chunks[chunk][index - start], int(self._classes[index]), self._flows[index])
            films.append(symmetry.apply(film, symmetry.draw(rng)))
        return films


def prepare(data: CameraMovesPart, *, geometry: Geometry, seed: int, progress: Progress) -> CameraMoves:
    """Film the training clips, or take them from the cache.

    Args:
        data: what to film.
        geometry: of the clips.
        seed: of the recipe.
        progress: called with (chunks done, chunks in all).

    Raises:
        RecipeError: if a folder has no pictures or videos.
        OutputError: if the cache cannot be written.
    """
    filming = Filming(geometry=geometry, rate_fps=data.rate_fps)
    kept = data.model_dump(mode="json", exclude={"cache"}) | asdict(geometry) | {"seed": seed}
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]
    folder = data.cache / f"camera_moves-{digest}"
    counts = [min(data.chunk, data.clips - start) for start in range(0, data.clips, data.chunk)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot write the clips to {folder}: {error}. Set data.cache to a folder you can write"
        ) from error
    missing = [index for index in range(len(counts)) if not (folder / f"{index}.labels.npy").exists()]
    if missing:
        # spawned, not forked: OpenCV and torch keep threads that do not survive a fork
        with ProcessPoolExecutor(min(len(missing), os.cpu_count() or 1), get_context("spawn")) as pool:
            jobs = [pool.submit(_film_chunk, folder, index, counts[index], filming, seed, data) for index in missing]
            for job in as_completed(jobs):
                try:
                    job.result()
                except OSError as error:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise OutputError(f"cannot write the clips to {folder}: {error}") from error
                progress(sum(j.done() for j in jobs) + len(counts) - len(missing), len(counts))
    chunks = [np.load(folder / f"{index}.clips.npy", mmap_mode="r") for index in range(len(counts))]
    classes = np.concatenate([np.load(folder / f"{index}.labels.npy") for index in range(len(counts))])
    flows = np.concatenate([np.load(folder / f"{index}.flows.npy") for index in range(len(counts))])
    return CameraMoves(chunks, classes, flows, digest)


_WORLDS: list[list[object]] = []


def _load_worlds(data: CameraMovesPart) -> None:
    """Read pictures and videos once in each worker."""
    cv2.setNumThreads(1)
    videos = [path for folder in data.videos for path in videos_below(folder) if path.name not in data.videos_held_out]
    _WORLDS[:] = [list(picture_worlds(data.pictures)), list(video_worlds(videos))]


def _film_chunk(folder: Path, index: int, count: int, filming: Filming, seed: int, data: CameraMovesPart) -> None:
    if not _WORLDS:
        _load_worlds(data)
    groups = [drawn_worlds(data.drawn_per_chunk, seed * 10_000 + index), *_WORLDS]
    used = [(group, weight) for group, weight in zip(groups, data.weights, strict=True) if group and weight]
    clips, labels, flows = film_many([g for g, _ in used], [w for _, w in used], count, filming, seed * 10_000 + index)  # type: ignore[misc]
    np.save(folder / f"{index}.clips.npy", clips)
    np.save(folder / f"{index}.flows.npy", flows)
    np.save(folder / f"{index}.labels.npy", labels)  # written last: its presence says that the chunk is whole
