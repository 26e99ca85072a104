"""Clips with their classes, where what a person names has labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mar_edge.bundle import Manifest
from mar_edge.datasets.label_likeness import likeness
from mar_edge.evaluation.evaluation import NAMED, read_videos
from mar_edge.reporting import Progress, no_progress
from mar_edge.runtime.measurement.clip_set import ClipSet, open_clips
from mar_edge.runtime.video.listing import is_named_video, list_videos, why_no_video


def open_labelled_clips(
    manifest: Manifest,
    data: Path | None,
    *,
    count: int,
    warn: Callable[[str], None] = lambda _message: None,
    strict: bool = False,
    progress: Progress = no_progress,
) -> ClipSet:
    """Choose clips, with classes where the data has them.

    Args:
        manifest: of the model that they are for.
        data: a video; a folder of videos; a folder with a subfolder for each class; or a list with the columns path
            and label (see `video_list`). None for the demo camera.
        count: clips wanted, see `open_clips`.
        warn: see `ClipSet`. Also called with what a folder has that is not read, with labels that look like mistakes,
            and for a folder with subfolders of videos none of which is named as a class.
        strict: see `ClipSet`.
        progress: called while the files of a folder are opened.

    Raises:
        SourceError: if there is no video, or one cannot be read.
        DataError: if a list cannot be read, or has a label that the model does not know.
    """
    if data is None or not _has_labels(data, manifest.labels):
        if data is not None and data.is_dir() and (message := _no_labels(data, manifest, progress)):
            warn(message)
        return open_clips(manifest, data, count=count, warn=warn, strict=strict, progress=progress)
    videos = read_videos(data, manifest.labels, progress=progress)
    for message in videos.remarks:
        warn(message)
    return open_clips(
        manifest,
        data,
        count=count,
        files=[video.path for video in videos.videos],
        targets=[video.label for video in videos.videos],
        warn=warn,
        strict=strict,
    )


def _no_labels(folder: Path, manifest: Manifest, progress: Progress) -> str | None:
    """Return what should be said of subfolders with videos, as they may have been meant as classes."""
    videos = list_videos(folder, progress=progress).videos
    found = sorted({path.relative_to(folder).parts[0] for path in videos if path.parent != folder})
    if not found:
        return None
    told = ", ".join(found[:NAMED]) + (f" and {len(found) - NAMED} more" if found[NAMED:] else "")
    one = len(found) == 1
    return (
        f"{folder}: the folder{'' if one else 's'} {told} {'is no label' if one else 'are no labels'} of {manifest.name}; "
        f"{'its' if one else 'their'} clips count as unlabelled"
    )


def _has_labels(data: Path, labels: list[str]) -> bool:
    """Return whether data has labels: a list, or a folder with one that is, or looks like, a label of the model."""
    if data.is_dir():
        known = {likeness(label) for label in labels}
        return any(likeness(path.name) in known for path in data.iterdir() if path.is_dir())
    return data.is_file() and not is_named_video(data) and why_no_video(data) is not None
