"""Prepares the training clips of a recipe."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from mar_edge.counting import counted, form
from mar_edge.datasets.class_numbers import some
from mar_edge.datasets.fingerprint import TRAINING_VIDEOS, Fingerprints
from mar_edge.datasets.leaks import find_leaks
from mar_edge.errors import DataError, RecipeError
from mar_edge.geometry import Geometry
from mar_edge.reporting import Progress
from mar_edge.runtime.clips.whole_clip import HELD_S
from mar_edge.runtime.video.listing import list_videos
from mar_edge.training.batches import Order
from mar_edge.training.clip_source import Blend, ClipSource
from mar_edge.training.objective import ClassWeights, rarity_weights
from mar_edge.training.recipe import Recipe, unknown_labels
from mar_edge.training.synthetic import camera_moves
from mar_edge.training.synthetic.camera_moves import CameraMoves, CameraMovesPart
from mar_edge.training.synthetic.gestures import clips as gestures
from mar_edge.training.synthetic.gestures.clips import GestureClips, GesturesPart
from mar_edge.training.videos import Opened, Split, VideoClips, VideosPart, open_videos, read_split


@dataclass(frozen=True)
class TrainingData:
    """The data of a recipe.

    Attributes:
        train: training clips.
        val: validation clips; None for none.
        order: of the training clips.
        labels: class names; empty for pre-training.
        digest: hash of everything that determines the clips.
        notes: sentences for the user.
        leaks: what training and validation clips have in common, sentences.
        provenance: what a checkpoint records about the clips, in addition to the digest.
        counts: how often each class is right (classes,): in frames where it may change within a clip, in clips otherwise;
            None for clips.
    """

    train: ClipSource
    val: VideoClips | None
    order: Order
    labels: tuple[str, ...]
    digest: str
    notes: list[str]
    leaks: tuple[str, ...] = ()
    provenance: dict[str, str] = field(default_factory=dict)
    counts: NDArray[np.int64] | None = None

    def class_weights(self, kind: ClassWeights) -> torch.Tensor | None:
        """Return weights (classes,) that grow with a class's rarity; None for equal ones."""
        if kind == "none":  # as in pre-training, where clips have no class
            return None
        counts = np.bincount(self.train.classes, minlength=len(self.labels)) if self.counts is None else self.counts
        return rarity_weights(torch.from_numpy(counts), kind)


def read_lists(recipe: Recipe, progress: Progress) -> Split | None:
    """Read the lists and folders of videos that a recipe names; None for a recipe without videos.

    Args:
        recipe: the recipe.
        progress: called while the files of a folder are opened.

    Raises:
        DataError: if a list cannot be used.
    """
    if not isinstance(recipe.data, VideosPart):
        return None
    return read_split(recipe.data, labelled=recipe.task == "classify", progress=progress)


def open_data(recipe: Recipe, split: Split | None, progress: Progress) -> TrainingData:
    """Prepare a recipe's data.

    Args:
        recipe: the recipe.
        split: from `read_lists`.
        progress: called with the current step, the amount done, and the total.

    Raises:
        DataError: if lists or videos cannot be used.
        RecipeError: if the recipe requires what the data does not have.
        OutputError: if a cache cannot be written.
    """
    if not isinstance(recipe.data, VideosPart) or split is None:
        assert not isinstance(recipe.data, VideosPart)
        films = _film(recipe.data, recipe.clip, progress)
        if recipe.task == "pretrain":
            films.labels = ()
        notes = [remark for folder in recipe.data.videos if (remark := list_videos(folder).remark())]
        order = Order(len(films.classes), recipe.seed)
        return TrainingData(films, None, order, films.labels, films.digest, notes, counts=films.counts)
    return _open_videos(recipe, recipe.data, split, progress)


def _film(data: CameraMovesPart | GesturesPart, geometry: Geometry, progress: Progress) -> CameraMoves | GestureClips:
    if isinstance(data, GesturesPart):
        return gestures.prepare(data, geometry=geometry, progress=progress)
    return camera_moves.prepare(data, geometry=geometry, progress=progress)


def _open_videos(recipe: Recipe, data: VideosPart, split: Split, progress: Progress) -> TrainingData:
    labelled = recipe.task == "classify"
    opened = open_videos(
        data,
        split,
        geometry=recipe.clip,
        augment=recipe.augment,
        flow=bool(recipe.objective.flow_weight),
        held_s=HELD_S if recipe.clip_answer == "peak" else 0.0,
        progress=progress,
    )
    notes = [*opened.warnings]
    if opened.broken:
        names = ", ".join(broken.video.name for broken in opened.broken)
        notes.append(
            f"{counted(len(opened.broken), 'video')} cannot be read and {form(len(opened.broken), 'is', 'are')} left out: {names}"
        )
    if recipe.streaming is not None:
        clip = f"a clip of {recipe.clip.frames} frames at {data.rate_fps:g} frames/s"
        notes += _short(opened.train, f"training videos are shorter than {clip}")
        notes += [] if opened.val is None else _short(opened.val, f"validation videos are shorter than {clip}")
    classes = opened.train.classes
    counts = np.bincount(classes, minlength=len(opened.train.labels)) if labelled else np.array([len(classes)])
    empty = [label for label, count in zip(opened.train.labels, counts, strict=False) if not count]
    if not counts.sum() or np.count_nonzero(counts) < len(opened.train.labels) == 2:
        raise DataError(f"{data.train[0]} leaves nothing to train on: no clips of {some(empty) or 'any kind'}")
    if empty:
        notes.append(f"no training clips of {some(empty)}: the model cannot learn them")
    if labelled and (unknown := list(unknown_labels(recipe, opened.train.labels))):
        raise RecipeError("; ".join(f"{'.'.join(key)}: {problem}" for key, problem in unknown))
    source: ClipSource = opened.train if opened.figures is None else Blend(opened.train, opened.figures)
    order = Order(len(source.classes), recipe.seed, repeats=data.repeats, weights=_weights(opened, counts, data))
    digest = hashlib.sha256(f"{opened.train.digest} {opened.val and opened.val.digest}".encode()).hexdigest()[:16]
    # so that export and verify can report clips that the model was trained on
    seen = {TRAINING_VIDEOS: Fingerprints.of(opened.train.paths).text}
    leaks = () if split.val is None else tuple(find_leaks(split.train, split.val))
    return TrainingData(source, opened.val, order, opened.train.labels, digest, notes, leaks, seen)


def _short(clips: VideoClips, so_many: str) -> list[str]:
    """Return what to know about videos that are shorter than a clip, whose ends stand still."""
    repeated = clips.repeated_frames()
    if not (count := np.count_nonzero(repeated)):
        return []
    return [
        f"{count} of {len(repeated)} {so_many}, the shortest by {counted(int(repeated.max()), 'frame')}: the last frame is "
        "repeated. Lower streaming.windows or model.frames, or give longer videos"
    ]


def _weights(opened: Opened, counts: NDArray[np.int64], data: VideosPart) -> NDArray[np.float64] | None:
    """Return the weight of every clip (N,); None for all of them once per epoch."""
    classes = opened.train.classes
    weights = 1.0 / counts[classes] if data.balanced else np.ones(len(classes))
    if opened.figures is None or data.figures is None:
        return weights if data.balanced else None
    drawn, share = len(opened.figures.classes), data.figures.share
    return np.concatenate([weights / weights.sum() * (1 - share), np.full(drawn, share / drawn)])
