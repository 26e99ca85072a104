"""The training set of gestures: filmed hands, and everything that must not be taken for one, in memory-mapped chunks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mar_edge.files.yaml_part import Probability, Seed, refuse
from mar_edge.geometry import Geometry
from mar_edge.model_spec import RateFps
from mar_edge.reporting import Progress
from mar_edge.runtime.sources.demo.camera_path import LABELS as MOVES
from mar_edge.training.clip_source import Sample
from mar_edge.training.optical_flow import FLOW_CHANNELS, token_flow
from mar_edge.training.synthetic import virtual_camera
from mar_edge.training.synthetic.figure import ACTIONS
from mar_edge.training.synthetic.figure_film import film_figure
from mar_edge.training.synthetic.film_store import FilmStore, film_all
from mar_edge.training.synthetic.gestures.cutouts import Cutout, listed_cutouts, read_cutouts
from mar_edge.training.synthetic.gestures.film import film_gestures
from mar_edge.training.synthetic.gestures.shapes import FURTHER, GESTURES, NONE, Rng
from mar_edge.training.synthetic.symmetry import Film
from mar_edge.training.synthetic.virtual_camera import Filming
from mar_edge.training.synthetic.worlds import World
from mar_edge.training.synthetic.worlds_part import WorldsPart

HAND_BYTES = 160 * 160 * 4
"""Memory of a cut-out."""

MIRRORED = {"swipe_left": "swipe_right", "swipe_right": "swipe_left", "tick": None}
"""Classes that a mirrored clip has instead; a mirrored tick is none of them, so clips with one are not mirrored."""

SHAPES = (NONE, *GESTURES, *FURTHER)
"""Classes of the films, of which a model may know fewer."""

HAND_CHANNELS = 5
"""Beside the optical flow, of the hand at every token: whether it is seen, the way to it, and its motion in the tubelet."""

_SEEN, _WAY = 0.01, 0.02
"""Scale of these targets to that of a flow (`objective.FLOW_SCALE`)."""

VERSION = 6
"""Of the drawing; another one makes new clips instead of taking those of the cache."""


class GesturesPart(WorldsPart):
    """Clips of hands that gesture, with a class for every time step (see `gestures.film`).

    Attributes:
        clips: number of clips to film.
        rate_fps: frames per second.
        hands: folders with cut-outs of hands (see `gestures.cutouts`).
        further: shapes that are classes of their own, of `square`, `caret`, `star`; otherwise they are `none`.
        others: share of the clips without a hand: people who walk, sit or jump, and moving cameras.
        negatives: share of the clips in which a hand makes no gesture.
        plain: share of the hands that are large, before a good camera that is worn and stands still: to begin with.
        chunk: clips in one file.
        seed: of the filming.
        cache: folder for the clips.
    """

    kind: Literal["gestures"]
    clips: int = Field(gt=0)
    rate_fps: RateFps = 10.0
    hands: tuple[Path, ...] = Field(min_length=1)
    further: tuple[Literal["square", "caret", "star"], ...] = ()
    others: Probability = 0.1
    negatives: Probability = 0.12
    plain: Probability = 0.0
    chunk: int = Field(default=500, gt=0, le=1_000_000)
    seed: Seed = 0
    cache: Path = Path("runs/cache")

    def model_post_init(self, context: object, /) -> None:
        """Check that the shares leave room for gestures."""
        if self.others + self.negatives >= 1:
            refuse(("others", f"and negatives are {self.others + self.negatives:g} together, which leaves no gestures"))

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes."""
        return (NONE, *GESTURES, *(shape for shape in FURTHER if shape in self.further))


class GestureClips:
    """Filmed gestures, mirrored at random.

    Attributes:
        labels: the classes.
        classes: class index of every clip (N,): that of its last time step.
        digest: hash of everything that determines the clips.
        counts: see `FilmStore.counts`.
    """

    flow_channels = FLOW_CHANNELS + HAND_CHANNELS

    def __init__(self, store: FilmStore, labels: tuple[str, ...], digest: str, geometry: Geometry) -> None:
        self.labels, self.digest = labels, f"{digest} {' '.join(labels)}"
        self._table = np.array([labels.index(shape) if shape in labels else 0 for shape in SHAPES])
        self.classes = self._table[store.labels]
        self.counts = np.bincount(self._table, store.counts(len(SHAPES)), minlength=len(labels)).astype(np.int64)
        self._store, self._geometry = store, geometry

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return a clip, mirrored with a probability of one half."""
        film = self._store.film(index)
        film = film._replace(classes=self._table[film.classes])
        if rng.random() < 0.5 and (mirrored := _mirrored(film, self.labels)) is not None:
            film = mirrored
        steps = np.ascontiguousarray(film.steps(self._geometry.tubelet_frames))
        return Sample(film.clip, film.label, np.ascontiguousarray(film.flow), f"clip {index}", steps)


def prepare(data: GesturesPart, *, geometry: Geometry, progress: Progress) -> GestureClips:
    """Film the training clips, or load them from the cache.

    Args:
        data: what to film.
        geometry: of the clips, which may have more frames than the model's.
        progress: called with the chunks of clips that are done.

    Raises:
        RecipeError: if a folder has no hands, pictures or videos.
        OutputError: if the cache cannot be written.
    """
    unused = {"cache", "further"} if data.plain else {"cache", "further", "plain"}
    digest = data.digest(geometry, unused=unused, version=VERSION)
    hands = sum(len(listed_cutouts(folder)) for folder in data.hands)  # before any process starts
    store = film_all(
        data.cache / f"gestures-{digest}",
        GestureStudio(data, Filming(geometry=geometry, rate_fps=data.rate_fps)),
        shape=geometry.clip_shape,
        clips=data.clips,
        chunk=data.chunk,
        seed=data.seed,
        process_bytes=lambda: data.worlds_bytes() + hands * HAND_BYTES,
        progress=progress,
        changing=True,
    )
    return GestureClips(store, data.labels, digest, geometry)


@dataclass(frozen=True)
class GestureStudio:
    """Films clips.

    Attributes:
        data: what to film.
        filming: the settings.
    """

    data: GesturesPart
    filming: Filming

    def film(self, count: int, seed: int) -> Iterator[Film]:
        """Film `count` clips in order, with classes of `SHAPES`; the same seed gives the same clips."""
        data, geometry = self.data, self.filming.geometry
        rng = np.random.default_rng([seed, 2])
        groups, weights = data.worlds(seed)
        everything = [world for group in groups for world in group]
        share = np.array(weights) / sum(weights)
        hands = _hands(data.hands)
        for _ in range(count):
            group = groups[int(rng.choice(len(groups), p=share))]
            world = group[int(rng.integers(len(group)))]
            kind = rng.random()
            if kind < data.others:
                clip = self._other(world, everything, rng)
                nowhere = np.full((len(clip), 2), np.inf)
                yield Film(clip, np.zeros(len(clip), np.int64), motion(clip, nowhere, geometry))
                continue
            negative = kind < data.others + data.negatives
            plain = data.plain > 0 and rng.random() < data.plain
            film = film_gestures(everything, world, hands, self.filming, SHAPES, rng, negative=negative, plain=plain)
            yield Film(film.clip, film.classes, motion(film.clean, film.places, geometry))

    def _other(self, world: World, worlds: list[World], rng: Rng) -> NDArray[np.uint8]:
        """Film something without a hand."""
        geometry = self.filming.geometry
        if rng.random() < 0.5:
            size_px = geometry.width_px
            return film_figure(
                str(rng.choice(ACTIONS)),
                world.at(0, 0),
                frames=geometry.frames,
                size_px=size_px,
                rate_fps=self.filming.rate_fps,
                rng=rng,
            )
        return virtual_camera.film(str(rng.choice(MOVES)), world, worlds, self.filming, rng).clip


def motion(clip: NDArray[np.uint8], places: NDArray[np.float64], geometry: Geometry) -> NDArray[np.float32]:
    """Return what a token should know about motion: the optical flow, and where the hand is and goes.

    Args:
        clip: uint8 (T, S, S, 3), as clean as it can be.
        places: of the hand (T, 2), from 0 to 1 where it is seen.
        geometry: of the clip.

    Returns:
        float32 (t, h, w, FLOW_CHANNELS + HAND_CHANNELS), in picture widths.
    """
    t, h, w = geometry.grid
    down, right = np.meshgrid((np.arange(h) + 0.5) / h, (np.arange(w) + 0.5) / w, indexing="ij")
    first, last = places[:: geometry.tubelet_frames], places[geometry.tubelet_frames - 1 :: geometry.tubelet_frames]
    seen = np.all((last > -0.05) & (last < 1.05), axis=1)
    out = np.zeros((t, h, w, FLOW_CHANNELS + HAND_CHANNELS), np.float32)
    out[..., :FLOW_CHANNELS] = token_flow(clip, geometry)
    out[seen, ..., FLOW_CHANNELS] = _SEEN
    way = last[seen][:, None, None] - np.stack([right, down], axis=-1)
    out[seen, ..., FLOW_CHANNELS + 1 : FLOW_CHANNELS + 3] = _WAY * way
    out[seen, ..., FLOW_CHANNELS + 3 :] = (last[seen] - first[seen])[:, None, None]
    return out


def _mirrored(film: Film, labels: tuple[str, ...]) -> Film | None:
    """Return a clip mirrored; None if one of its classes has no mirror image."""
    table = np.arange(len(labels))
    for label, other in MIRRORED.items():
        table[labels.index(label)] = -1 if other is None else labels.index(other)
    classes = table[film.classes]
    if (classes < 0).any():
        return None
    rows = np.ascontiguousarray(film.clip).reshape(-1, film.clip.shape[2], 3)
    clip = np.asarray(cv2.flip(rows, 1), dtype=np.uint8).reshape(film.clip.shape)
    signs = np.array([-1, 1] * (FLOW_CHANNELS // 2) + [1, -1, 1, -1, 1], np.float32)
    return Film(clip, classes, film.flow[:, :, ::-1] * signs)


@lru_cache(maxsize=1)  # hands are read once in each process
def _hands(folders: tuple[Path, ...]) -> list[Cutout]:
    return [hand for folder in folders for hand in read_cutouts(folder)]
