"""Drawn figures among the user's clips: exactly known actions in front of the user's backgrounds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mar_edge.datasets.clip_reader import ClipReader
from mar_edge.errors import RecipeError
from mar_edge.files.yaml_part import Part, Seed
from mar_edge.geometry import Geometry
from mar_edge.reporting import Progress
from mar_edge.training.augmentation.augmentation import Augmentation
from mar_edge.training.clip_source import Sample
from mar_edge.training.optical_flow import FLOW_CHANNELS, token_flow
from mar_edge.training.synthetic.figure import ACTIONS
from mar_edge.training.synthetic.figure_film import film_figure
from mar_edge.training.synthetic.film_store import FilmStore, film_all
from mar_edge.training.synthetic.symmetry import Film

BACKGROUND_FRAMES = 8
"""Number of frames of a video whose median is its background."""

CHUNK = 500


class FiguresPart(Part):
    """Clips of drawn figures (`figure`) that jump, run, sit, stand up, turn and walk, in front of the training videos' medians.

    Attributes:
        clips: number of clips to draw.
        share: share of drawn clips among the training clips.
        seed: of the drawing.
    """

    clips: int = Field(gt=0)
    share: float = Field(default=0.5, gt=0, lt=1)
    seed: Seed = 0


class FigureClips:
    """Drawn clips as training sees them.

    Args:
        store: from `draw_figures`.
        labels: the recipe's class names.
        geometry: of the clips.
        augmentation: their augmentation.
        flow: whether to return the optical flow of every clip.

    Attributes:
        labels: the recipe's class names.
        classes: class index of every clip (N,).
        digest: empty; that of the videos is used.
    """

    digest = ""
    flow_channels = FLOW_CHANNELS

    def __init__(
        self, store: FilmStore, labels: tuple[str, ...], *, geometry: Geometry, augmentation: Augmentation, flow: bool
    ) -> None:
        self.labels = labels
        self.classes = store.labels
        self._store, self._geometry, self._augmentation, self._flow = store, geometry, augmentation, flow

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return an augmented clip."""
        clip, label = self._augmentation(self._store.clip(index), int(self.classes[index]), rng)
        return Sample(clip, label, token_flow(clip, self._geometry) if self._flow else None, f"figure {index}")


def draw_figures(
    part: FiguresPart,
    reader: ClipReader,
    *,
    labels: Sequence[str],
    geometry: Geometry,
    rate_fps: float,
    cache: Path,
    progress: Progress,
) -> FilmStore:
    """Draw the clips, or load them from the cache.

    Args:
        part: what to draw.
        reader: of the videos whose medians are the backgrounds.
        labels: the recipe's class names; the store's labels are indices into them.
        geometry: of the clips, which are square.
        rate_fps: frames per second.
        cache: folder for the clips.
        progress: called with the chunks of clips that are done.

    Raises:
        RecipeError: if the labels have none of the actions.
        OutputError: if the cache cannot be written.
    """
    known = {action: labels.index(action) for action in ACTIONS if action in labels}
    if len(known) < len(ACTIONS):
        raise RecipeError(
            f"data.figures draws {', '.join(ACTIONS)}, but the labels are {', '.join(labels)}; leave data.figures out"
        )
    decides = [part.model_dump(exclude={"share"}), asdict(geometry), rate_fps, reader.digest, list(labels)]
    digest = hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:12]
    studio = _Studio(digest, reader, tuple(known.items()), geometry, rate_fps)
    return film_all(
        cache / f"figures-{digest}",
        studio,
        shape=geometry.clip_shape,
        clips=part.clips,
        chunk=CHUNK,
        seed=part.seed,
        process_bytes=lambda: _process_bytes(reader),
        progress=progress,
    )


def _process_bytes(reader: ClipReader) -> int:
    """Return the memory of the backgrounds in one process: all of them, and the frames of one while it is computed."""
    sizes = [3 * height_px * width_px for height_px, width_px in map(reader.size, range(len(reader)))]
    return sum(sizes) + 5 * BACKGROUND_FRAMES * max(sizes)


@dataclass(frozen=True)
class _Studio:
    digest: str
    reader: ClipReader = field(compare=False)  # the digest identifies it, even in another process
    labels: tuple[tuple[str, int], ...]
    geometry: Geometry
    rate_fps: float

    def film(self, count: int, seed: int) -> Iterator[Film]:
        rng = np.random.default_rng([seed, 1])
        grounds = _backgrounds(self)
        for _ in range(count):
            action, label = self.labels[int(rng.integers(len(self.labels)))]
            clip = film_figure(
                action,
                grounds[int(rng.integers(len(grounds)))],
                frames=self.geometry.frames,
                size_px=self.geometry.width_px,
                rate_fps=self.rate_fps,
                rng=rng,
            )
            yield Film(clip, np.full(len(clip), label), np.zeros(0, np.float32))


@lru_cache(maxsize=1)  # videos are read once per process, not for every chunk
def _backgrounds(studio: _Studio) -> list[NDArray[np.uint8]]:
    reader = studio.reader
    out = []
    for index in range(len(reader)):
        frames = reader.read(index, np.linspace(0, reader.duration_s(index), BACKGROUND_FRAMES))
        out.append(np.median(frames, axis=0).astype(np.uint8))
    return out
