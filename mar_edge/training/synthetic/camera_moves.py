"""The egomotion training set: clips of virtual camera moves in memory-mapped chunks."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from mar_edge.files.yaml_part import Part, Seed, Share, refuse
from mar_edge.geometry import Geometry
from mar_edge.model_spec import RateFps
from mar_edge.reporting import Progress
from mar_edge.runtime.sources.demo.camera_path import LABELS
from mar_edge.training.clip_source import Sample
from mar_edge.training.synthetic import symmetry
from mar_edge.training.synthetic.film_store import FilmStore, film_all
from mar_edge.training.synthetic.symmetry import Film
from mar_edge.training.synthetic.virtual_camera import Filming, films
from mar_edge.training.synthetic.worlds import (
    DRAWN_BYTES,
    PICTURE_BYTES,
    World,
    drawn_worlds,
    picture_files,
    picture_worlds,
    video_bytes,
    video_worlds,
    videos_below,
)


class CameraMovesPart(Part):
    """Clips filmed by a virtual camera (see `virtual_camera`).

    Attributes:
        clips: number of clips to film.
        rate_fps: frames per second.
        pictures, videos: folders to film, in addition to drawn scenes.
        videos_held_out: names of files in `videos` that training must not use.
        weights: shares of drawn scenes, pictures and videos.
        chunk: clips in one file.
        drawn_per_chunk: drawn scenes in one chunk.
        seed: of the filming.
        cache: folder for the clips.
    """

    kind: Literal["camera_moves"]
    clips: int = Field(gt=0)
    rate_fps: RateFps = 10.0
    pictures: tuple[Path, ...] = ()
    videos: tuple[Path, ...] = ()
    videos_held_out: tuple[str, ...] = ()
    weights: tuple[Share, Share, Share] = (0.4, 0.35, 0.25)
    chunk: int = Field(default=6000, gt=0, le=1_000_000)
    drawn_per_chunk: int = Field(default=250, gt=0, le=1_000_000)
    seed: Seed = 0
    cache: Path = Path("runs/cache")

    @model_validator(mode="after")
    def _fits(self) -> CameraMovesPart:
        if not sum(self.weights):
            refuse(("weights", "are all 0; give the shares of drawn scenes, pictures and videos"))
        return self


class CameraMoves:
    """Filmed camera moves, each under a random symmetry.

    Attributes:
        labels: the camera moves.
        classes: class index of every clip (N,).
        digest: hash of everything that determines the clips.
    """

    labels: tuple[str, ...] = LABELS
    flow_channels = 2

    def __init__(self, store: FilmStore, digest: str) -> None:
        self.classes = store.labels
        self.digest = digest
        self._store = store

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return a clip under a random symmetry."""
        film = Film(self._store.clip(index), int(self.classes[index]), self._store.flows[index])
        clip, label, flow = symmetry.apply(film, symmetry.draw(rng))
        return Sample(clip, label, np.ascontiguousarray(flow), f"clip {index}")


def prepare(data: CameraMovesPart, *, geometry: Geometry, progress: Progress) -> CameraMoves:
    """Film the training clips, or load them from the cache.

    Args:
        data: what to film.
        geometry: of the clips.
        progress: called with the chunks of clips that are done.

    Raises:
        RecipeError: if a folder has no pictures or videos.
        OutputError: if the cache cannot be written.
    """
    kept = data.model_dump(mode="json", exclude={"cache"}) | asdict(geometry)
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]
    studio = _Studio(data, Filming(geometry=geometry, rate_fps=data.rate_fps))
    store = film_all(
        data.cache / f"camera_moves-{digest}",
        studio,
        shape=geometry.clip_shape,
        clips=data.clips,
        chunk=data.chunk,
        seed=data.seed,
        process_bytes=functools.partial(_process_bytes, data),
        progress=progress,
    )
    return CameraMoves(store, digest)


def _process_bytes(data: CameraMovesPart) -> int:
    """Return the memory of the filmed worlds in one process."""
    drawn, pictures, videos = data.weights
    total = data.drawn_per_chunk * DRAWN_BYTES if drawn else 0
    if pictures:
        total += sum(len(picture_files(folder)) for folder in data.pictures) * PICTURE_BYTES
    if videos:
        total += sum(video_bytes(path) for path in _video_files(data))
    return total


def _video_files(data: CameraMovesPart) -> list[Path]:
    return [path for folder in data.videos for path in videos_below(folder) if path.name not in data.videos_held_out]


@dataclass(frozen=True)
class _Studio:
    data: CameraMovesPart
    filming: Filming

    def film(self, count: int, seed: int) -> Iterator[Film]:
        data = self.data
        groups = [drawn_worlds(data.drawn_per_chunk, seed), *_worlds(data)]
        used = [(group, weight) for group, weight in zip(groups, data.weights, strict=True) if group and weight]
        return films([group for group, _ in used], [weight for _, weight in used], count, self.filming, seed)


@lru_cache(maxsize=1)  # pictures and videos are read once in each process
def _worlds(data: CameraMovesPart) -> tuple[list[World], list[World]]:
    return list(picture_worlds(data.pictures)), list(video_worlds(_video_files(data)))
