"""Finds what a training and a validation list have in common, which makes validation too optimistic."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from functools import cache
from pathlib import Path

from mar_edge.counting import counted
from mar_edge.datasets.class_numbers import some
from mar_edge.datasets.fingerprint import fingerprint
from mar_edge.datasets.groups import NONE, Grouping, find_groups, shared_groups
from mar_edge.datasets.video_list import VideoList
from mar_edge.errors import DataError

NO_FILE = -1
"""Size of a file that is missing."""


def find_leaks(train: VideoList, val: VideoList) -> list[str]:
    """Find files, or copies of them, and groups that lie in both lists; sentences.

    Files are compared by the fingerprint of their content where they have the same size, so that few are read.
    `mar-edge data check` finds more, as it reads all of them.

    Args:
        train: to train with.
        val: to validate with, with the same classes.
    """
    said = []
    if both := _shared_files(train, val):
        count = counted(len(both), "video", "is", "are")
        said.append(f"{count} in both train and val, so validation is too optimistic: {some(both)}")
    try:
        found = shared_groups([train, val])
    except DataError as error:
        return [*said, f"groups cannot be compared: {error}"]
    return [*said, *(one.said("the training list") for one in found)]


def _shared_files(train: VideoList, val: VideoList) -> list[str]:
    """Return the names of the files of `val` that `train` has too; a missing file is reported by whoever opens it."""
    of_size: dict[int, set[Path]] = defaultdict(set)
    for video in train.videos:
        of_size[_size(video.path)].add(video.path)
    of_size.pop(NO_FILE, None)
    mark = cache(fingerprint)
    shared = []
    for video in val.videos:
        others = of_size.get(_size(video.path), set())
        if others and mark(video.path) is not None and mark(video.path) in map(mark, others):
            shared.append(video.name)
    return shared


def _size(path: Path) -> int:
    """Return the bytes of a file; `NO_FILE` if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return NO_FILE


def grouping_of(videos: VideoList) -> Grouping:
    """Find which clips belong together; independent ones, saying why, where the list states groups but not for every clip."""
    try:
        return find_groups(videos)
    except DataError as error:
        found = find_groups(videos, NONE)
        return replace(found, said=f"Clips are taken as independent: {error}.")
