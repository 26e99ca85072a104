"""Clips with their classes, where what a person names has labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mar_edge.bundle import Manifest
from mar_edge.runtime.clip_set import ClipSet, open_clips
from mar_edge.runtime.video_file import SUFFIXES
from mar_edge.training.evaluation import match_labels, read_videos


def open_labelled_clips(
    manifest: Manifest,
    data: Path | None,
    *,
    count: int,
    warn: Callable[[str], None] = lambda _message: None,
) -> ClipSet:
    """Choose clips, with classes where the data has them.

    Args:
        manifest: of the model that they are for.
        data: a video; a folder of videos; a folder with a subfolder for each class; or a list with the columns path
            and label (see `video_list`). None for the demo camera.
        count: clips wanted, see `open_clips`.
        warn: see `ClipSet`.

    Raises:
        SourceError: if there is no video.
        DataError: if a list cannot be read, or has a label that the model does not know.
    """
    if data is None or not _has_labels(data, manifest.labels):
        return open_clips(manifest, data, count=count, warn=warn)
    videos = read_videos(data, manifest.labels)
    classes = match_labels(videos, manifest.labels)
    return open_clips(
        manifest,
        data,
        count=count,
        files=[video.path for video in videos.videos],
        targets=[classes[video.label] for video in videos.videos],
        warn=warn,
    )


def _has_labels(data: Path, labels: list[str]) -> bool:
    if data.is_dir():
        return any((data / label).is_dir() for label in labels)
    return data.suffix.lower() not in SUFFIXES and data.is_file()
