"""The egomotion training set: clips of virtual camera moves in memory-mapped chunks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from mar_edge.counting import counted
from mar_edge.errors import RecipeError
from mar_edge.files.yaml_part import Probability, Seed
from mar_edge.geometry import Geometry
from mar_edge.model_spec import RateFps
from mar_edge.reporting import Progress
from mar_edge.runtime.sources.demo.camera_path import LABELS
from mar_edge.training.clip_source import Sample
from mar_edge.training.synthetic import symmetry
from mar_edge.training.synthetic.film_store import FilmStore, film_all
from mar_edge.training.synthetic.moves import SHORTEST_S
from mar_edge.training.synthetic.symmetry import Film
from mar_edge.training.synthetic.virtual_camera import Filming, films
from mar_edge.training.synthetic.worlds_part import WorldsPart


class CameraMovesPart(WorldsPart):
    """Clips filmed by a virtual camera (see `virtual_camera`).

    Attributes:
        clips: number of clips to film.
        rate_fps: frames per second.
        chunk: clips in one file.
        seed: of the filming.
        changing: share of the clips whose move changes, with a class for every time step. They need `frames` for two
            moves of 0.6 s.
        cache: folder for the clips.
    """

    kind: Literal["camera_moves"]
    clips: int = Field(gt=0)
    rate_fps: RateFps = 10.0
    chunk: int = Field(default=6000, gt=0, le=1_000_000)
    seed: Seed = 0
    changing: Probability = 0.0
    cache: Path = Path("runs/cache")

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes."""
        return LABELS


class CameraMoves:
    """Filmed camera moves, each under a random symmetry.

    Attributes:
        labels: the camera moves.
        classes: class index of every clip (N,); where its move changes, of the last time step.
        digest: hash of everything that determines the clips.
        counts: see `FilmStore.counts`.
    """

    labels: tuple[str, ...] = LABELS
    flow_channels = 2

    def __init__(self, store: FilmStore, digest: str, tubelet_frames: int) -> None:
        self.classes = store.labels
        self.counts = store.counts(len(LABELS))
        self.digest = digest
        self._store, self._tubelet_frames = store, tubelet_frames

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return a clip under a random symmetry."""
        film = symmetry.apply(self._store.film(index), symmetry.draw(rng))
        steps = np.ascontiguousarray(film.steps(self._tubelet_frames)) if self._store.changing else None
        return Sample(film.clip, film.label, np.ascontiguousarray(film.flow), f"clip {index}", steps)


def prepare(data: CameraMovesPart, *, geometry: Geometry, progress: Progress) -> CameraMoves:
    """Film the training clips, or load them from the cache.

    Args:
        data: what to film.
        geometry: of the clips, which may have more frames than the model's.
        progress: called with the chunks of clips that are done.

    Raises:
        RecipeError: if a folder has no pictures or videos, or the clips are too short for a move that changes.
        OutputError: if the cache cannot be written.
    """
    _check_length(data, geometry)
    unused = {"cache"} if data.changing else {"cache", "changing"}  # so the clips from before it existed stay known
    digest = data.digest(geometry, unused=unused)
    studio = _Studio(data, Filming(geometry=geometry, rate_fps=data.rate_fps, changing=data.changing))
    store = film_all(
        data.cache / f"camera_moves-{digest}",
        studio,
        shape=geometry.clip_shape,
        clips=data.clips,
        chunk=data.chunk,
        seed=data.seed,
        process_bytes=data.worlds_bytes,
        progress=progress,
        changing=data.changing > 0,
    )
    return CameraMoves(store, digest, geometry.tubelet_frames)


def _check_length(data: CameraMovesPart, geometry: Geometry) -> None:
    """Check that two moves fit into a clip, whose frame times vary by 0.15 s."""
    least_s = 2 * SHORTEST_S + 0.15
    if data.changing and (geometry.frames - 1) / data.rate_fps < least_s:
        raise RecipeError(
            f"data.changing is {data.changing}, but {counted(geometry.frames, 'frame')} at {data.rate_fps:g} frames per second "
            f"have no room for two moves of {SHORTEST_S} s; use at least {int(np.ceil(least_s * data.rate_fps)) + 1} frames, "
            "or leave data.changing out"
        )


@dataclass(frozen=True)
class _Studio:
    data: CameraMovesPart
    filming: Filming

    def film(self, count: int, seed: int) -> Iterator[Film]:
        groups, weights = self.data.worlds(seed)
        return films(groups, weights, count, self.filming, seed)
