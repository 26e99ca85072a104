"""Evaluates a model on labelled videos, with the sampling and preprocessing that it uses at run time."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.counting import counted_of
from mar_edge.datasets.groups import find_groups
from mar_edge.datasets.label_likeness import nearest
from mar_edge.datasets.video_list import VideoList, read_video_list
from mar_edge.errors import CheckpointError, DataError, SourceError
from mar_edge.evaluation.metrics import Evaluation
from mar_edge.extras import require
from mar_edge.reporting import Progress, no_progress
from mar_edge.runtime import model as runtime_model
from mar_edge.runtime.clips.clip_result import ClipResult
from mar_edge.runtime.clips.segments import segment_times
from mar_edge.runtime.clips.whole_clip import check_views
from mar_edge.runtime.model import Model
from mar_edge.runtime.video.probe import probe
from mar_edge.runtime.video.seek import read_frames_at

__all__ = ["Evaluation", "evaluate", "match_labels", "open_model", "read_videos", "show"]

NAMED = 10
"""How many problems a message names."""


def open_model(
    name_or_path: str | Path,
    *,
    engine: str = "auto",
    mask: int | Literal["auto"] = "auto",
    precision: str = "auto",
    threads: int | None = None,
) -> Model:
    """Load a bundle, by built-in name or path, or a checkpoint (`.safetensors`).

    Args:
        name_or_path: what to load.
        engine: `auto` or an engine's name; a checkpoint runs in `torch`.
        mask: mask ratio in percent, or `auto`.
        precision: of the graph, or `auto`.
        threads: CPU threads for one inference; None for all cores.

    Raises:
        BundleError, EngineError, OptionError: as `mar_edge.load`.
        CheckpointError: if a checkpoint cannot be read, is foreign, or has no classifier.
        MissingExtraError: if a checkpoint needs torch and torch is not installed.
    """
    path = Path(name_or_path)
    options: dict[str, Any] = {"engine": engine, "mask": mask, "precision": precision, "threads": threads}
    if path.suffix == ".safetensors":
        require("torch", "train")
        require("safetensors", "train")
        from mar_edge.model.torch_engine import open_checkpoint

        return open_checkpoint(path, **options)
    if path.suffix == ".onnx":
        raise CheckpointError(f"{path} is one graph of a bundle; name the bundle's folder, NAME.mar")
    if len(str(path)) < 200 and path.is_file():
        raise CheckpointError(
            f"{path} is not a model: a bundle is a folder NAME.mar, a checkpoint a .safetensors file.  "
            f"For a foreign checkpoint run: mar-edge import {shlex.quote(str(path))} -o OUT.safetensors"
        )
    return runtime_model.load(name_or_path, **options)


def evaluate(
    model: Model,
    videos: VideoList,
    *,
    views: tuple[int, int] | None = None,
    skip_broken: bool = False,
    group: str | None = None,
    progress: Progress = no_progress,
) -> Evaluation:
    """Classify labelled videos with `model.classify`, and compare.

    Args:
        model: from `open_model` or `mar_edge.load`.
        videos: the videos; their labels are the model's, by name or number.
        views: (clips, crops) to average; None for the model's default.
        skip_broken: leave out what cannot be read, instead of failing.
        group: which clips belong together, for the intervals; see `datasets.groups.find_groups`.
        progress: called with the progress so far.

    Raises:
        DataError: if a label is not one of the model's, a file cannot be read (naming all such files), no file of a
            class can be read, or a video has no group.
        OptionError: if the views or the rule of groups are invalid.
    """
    began_s = time.monotonic()
    check_views(views, model.spec)
    classes = match_labels(videos, model.labels)
    grouping = find_groups(videos, group)
    # every file is opened first, so that a broken one is reported in seconds and not after hours
    broken = _find_broken(videos, progress)
    _check_broken(broken, videos, skip_broken=skip_broken)
    scores: dict[int, NDArray[np.float32]] = {}
    warnings = list(videos.remarks)
    windows = short = 0
    for index, result in _classify(model, videos, views, broken, progress):
        scores[index] = np.fromiter(result.scores.values(), np.float32)
        windows += result.views
        short += result.repeated_frames > 0
        warnings += [f"{videos.videos[index].name}: {message}" for message in result.warnings]
    _check_broken(broken, videos, skip_broken=skip_broken)
    kept = [videos.videos[index] for index in scores]
    return Evaluation(
        labels=tuple(model.labels),
        scores=np.stack(list(scores.values())),
        targets=np.array([classes[video.label] for video in kept], np.int64),
        names=tuple(video.name for video in kept),
        paths=tuple(video.path for video in kept),
        views=views,
        windows=windows,
        short=short,
        broken=tuple(videos.say(videos.videos[index], broken[index]) for index in sorted(broken)),
        warnings=tuple(warnings),
        elapsed_s=time.monotonic() - began_s,
        grouping=replace(grouping, groups=tuple(grouping.groups[index] for index in scores)),
    )


def read_videos(
    source: Path, labels: Sequence[str], *, root: Path | None = None, progress: Progress = no_progress
) -> VideoList:
    """Read a list or folder of labelled videos for a model.

    Args:
        source: see `video_list.read_video_list`.
        labels: the model's classes.
        root: what relative paths start from; by default the folder of the list.
        progress: called while the files of a folder are opened.

    Raises:
        DataError: as `read_video_list` and `match_labels`.
    """
    videos = read_video_list(source, root=root, progress=progress)
    return videos.relabel(match_labels(videos, labels), labels)


def match_labels(videos: VideoList, labels: Sequence[str]) -> list[int]:
    """Return the model's class for every label of the videos; a label is a class's name or its number.

    Raises:
        DataError: if the videos have no labels; naming each label that is not one of the model's, and the nearest that is.
    """
    used = {video.label for video in videos.videos}
    if min(used, default=-1) < 0:
        raise DataError(f"{videos.source} has no labelled videos; give a CSV with the columns path and label")
    places = {str(index): index for index in range(len(labels))} | {label: index for index, label in enumerate(labels)}
    unknown = [label for index, label in enumerate(videos.labels) if index in used and label not in places]
    if unknown:
        told = []
        for label in unknown[:NAMED]:
            first = next(video for video in videos.videos if videos.labels[video.label] == label)
            near = nearest(label, labels)
            where = f"line {first.line}" if first.line else first.name
            told.append(f"'{label}' ({where}{f', did you mean {near!r}?' if near is not None else ''})")
        more = f" and {len(unknown) - NAMED} more" if unknown[NAMED:] else ""
        have = ", ".join(labels[:NAMED]) + (f" and {len(labels) - NAMED} more" if labels[NAMED:] else "")
        raise DataError(
            f"{videos.source} has labels that the model does not know: {'; '.join(told)}{more}. It knows {have}"
        )
    return [places.get(label, -1) for label in videos.labels]


def show(path: Path, frames: int = 8) -> NDArray[np.uint8]:
    """Return frames spread over a video, for display.

    Returns:
        uint8 (frames, H, W, 3) RGB.

    Raises:
        SourceError: if the video cannot be read.
    """
    pictures = read_frames_at(path, segment_times(probe(path).duration_s, frames))
    height, width = pictures[0].shape[:2]  # which may change within a file
    return np.stack([np.asarray(cv2.resize(picture, (width, height)), np.uint8) for picture in pictures])


def _classify(
    model: Model, videos: VideoList, views: tuple[int, int] | None, broken: dict[int, str], progress: Progress
) -> Iterator[tuple[int, ClipResult]]:
    """Yield the place and the answer of every video that can be read, and add the others to `broken`."""
    for index, video in enumerate(videos.videos):
        progress("classifying", index, len(videos.videos))
        if index in broken:
            continue
        try:
            result = model.classify(video.path, views=views)
        except SourceError as error:
            broken[index] = str(error)
        else:
            yield index, result
    progress("classifying", len(videos.videos), len(videos.videos))


def _find_broken(videos: VideoList, progress: Progress) -> dict[int, str]:
    """Return why videos cannot be decoded, by their places in the list."""
    broken = {}
    for index, video in enumerate(videos.videos):
        progress("checking", index, len(videos.videos))
        try:
            probe(video.path)
        except SourceError as error:
            broken[index] = str(error)
    return broken


def _check_broken(broken: dict[int, str], videos: VideoList, *, skip_broken: bool) -> None:
    """Check that no video is broken, or that some of every class are left."""
    if broken and (not skip_broken or len(broken) == len(videos.videos)):
        listed = "; ".join(videos.say(videos.videos[index], broken[index]) for index in sorted(broken))
        raise DataError(
            f"{counted_of(len(broken), len(videos.videos), 'video')} cannot be read: {listed}. Correct the list, or leave them out with "
            "--skip-broken"
        )
    left = [video for index, video in enumerate(videos.videos) if index not in broken]
    videos.check_kept(videos.keep(left), [(videos.videos[index], broken[index]) for index in sorted(broken)])
