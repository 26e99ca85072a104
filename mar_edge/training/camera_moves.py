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
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from mar_edge.errors import OutputError
from mar_edge.geometry import Geometry
from mar_edge.runtime.camera_path import LABELS
from mar_edge.training import symmetry
from mar_edge.training.batches import Sample
from mar_edge.training.recipe_part import Part, Share
from mar_edge.training.symmetry import Film
from mar_edge.training.virtual_camera import Filming, film_many
from mar_edge.training.worlds import World, drawn_worlds, picture_worlds, video_worlds, videos_below

Progress = Callable[[int, int], None]


class CameraMovesPart(Part):
    """Clips filmed by a virtual camera (see `virtual_camera`).

    Attributes:
        clips: how many are filmed.
        rate_fps: frames a second.
        pictures, videos: folders of what is filmed, besides drawn scenes.
        videos_held_out: names of files in `videos` that training must not see.
        weights: shares of drawn scenes, pictures and videos.
        chunk: clips in one file.
        drawn_per_chunk: drawn scenes in one.
        seed: of the filming.
        cache: folder for the clips.
    """

    kind: Literal["camera_moves"]
    clips: int = Field(gt=0)
    rate_fps: float = Field(default=10.0, gt=0)
    pictures: tuple[Path, ...] = ()
    videos: tuple[Path, ...] = ()
    videos_held_out: tuple[str, ...] = ()
    weights: tuple[Share, Share, Share] = (0.4, 0.35, 0.25)
    chunk: int = Field(default=6000, gt=0)
    drawn_per_chunk: int = Field(default=250, gt=0)
    seed: int = Field(default=0, ge=0)
    cache: Path = Path("runs/cache")

    @model_validator(mode="after")
    def _fits(self) -> CameraMovesPart:
        if not sum(self.weights):
            raise ValueError("weights are all 0; say how much of drawn scenes, pictures and videos there shall be")
        return self


class CameraMoves:
    """Clips in chunks on disk; worker processes open them for themselves.

    Attributes:
        labels: the camera moves.
        classes: class index of every clip (N,).
        digest: hash of everything that decides the clips.
    """

    labels: tuple[str, ...] = LABELS

    def __init__(self, folder: Path, counts: list[int], digest: str) -> None:
        self.digest = digest
        self.classes = np.concatenate([np.load(folder / f"{index}.labels.npy") for index in range(len(counts))])
        self._flows = np.concatenate([np.load(folder / f"{index}.flows.npy") for index in range(len(counts))])
        self._folder = folder
        self._ends = np.cumsum(counts)
        self._chunks: dict[int, NDArray[np.uint8]] = {}

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return a clip under a random symmetry."""
        chunk = int(np.searchsorted(self._ends, index, side="right"))
        if chunk not in self._chunks:
            self._chunks[chunk] = np.load(self._folder / f"{chunk}.clips.npy", mmap_mode="r")
        clips = self._chunks[chunk]
        start = int(self._ends[chunk]) - len(clips)
        film = Film(clips[index - start], int(self.classes[index]), self._flows[index])
        clip, label, flow = symmetry.apply(film, symmetry.draw(rng))
        return Sample(clip, label, np.ascontiguousarray(flow), f"clip {index}")

    def __getstate__(self) -> dict[str, Any]:  # pickled, a memory map would become a copy of the file
        return {**vars(self), "_chunks": {}}


def prepare(data: CameraMovesPart, *, geometry: Geometry, progress: Progress) -> CameraMoves:
    """Film the training clips, or take them from the cache.

    Args:
        data: what to film.
        geometry: of the clips.
        progress: called with (chunks done, chunks in all).

    Raises:
        RecipeError: if a folder has no pictures or videos.
        OutputError: if the cache cannot be written.
    """
    filming = Filming(geometry=geometry, rate_fps=data.rate_fps)
    kept = data.model_dump(mode="json", exclude={"cache"}) | asdict(geometry)
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
            jobs = [pool.submit(_film_chunk, folder, index, counts[index], filming, data) for index in missing]
            for job in as_completed(jobs):
                try:
                    job.result()
                except OSError as error:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise OutputError(f"cannot write the clips to {folder}: {error}") from error
                progress(sum(j.done() for j in jobs) + len(counts) - len(missing), len(counts))
    return CameraMoves(folder, counts, digest)


_WORLDS: list[list[World]] = []


def _load_worlds(data: CameraMovesPart) -> None:
    """Read pictures and videos once in each worker."""
    cv2.setNumThreads(1)
    videos = [path for folder in data.videos for path in videos_below(folder) if path.name not in data.videos_held_out]
    _WORLDS[:] = [list(picture_worlds(data.pictures)), list(video_worlds(videos))]


def _film_chunk(folder: Path, index: int, count: int, filming: Filming, data: CameraMovesPart) -> None:
    if not _WORLDS:
        _load_worlds(data)
    groups = [drawn_worlds(data.drawn_per_chunk, data.seed * 10_000 + index), *_WORLDS]
    used = [(group, weight) for group, weight in zip(groups, data.weights, strict=True) if group and weight]
    clips, labels, flows = film_many(
        [g for g, _ in used], [w for _, w in used], count, filming, data.seed * 10_000 + index
    )
    np.save(folder / f"{index}.clips.npy", clips)
    np.save(folder / f"{index}.flows.npy", flows)
    np.save(folder / f"{index}.labels.npy", labels)  # written last: its presence says that the chunk is whole
