"""Finds which listed videos are one file: listed twice, under several names, or copied."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

from mar_edge.counting import counted, form
from mar_edge.datasets.groups import Grouping
from mar_edge.datasets.video_list import VideoList
from mar_edge.errors import DataError
from mar_edge.files.checked_file import hash_open


def identities(videos: VideoList) -> list[str]:
    """Return a text for every video, equal for those that are one file or have the same bytes.

    Raises:
        DataError: if files are missing or cannot be read.
    """
    sizes: list[int] = []
    missing = []
    for video in videos.videos:
        try:
            sizes.append(video.path.stat().st_size)
        except OSError as error:
            missing.append(videos.say(video, f"{video.path}: {error.strerror}"))
    if missing:
        more = f"; and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(f"{missing[0]}{more}. {_correct(videos)}")
    paths = [os.path.realpath(video.path) for video in videos.videos]
    often = Counter(dict(zip(paths, sizes, strict=True)).values())
    hashes: dict[str, str] = {}
    for path, size in zip(paths, sizes, strict=True):
        if often[size] > 1 and path not in hashes:
            hashes[path] = _hash(path)
    return [hashes.get(path, path) for path in paths]


def join_copies(grouping: Grouping, files: list[str]) -> Grouping:
    """Return a grouping in which all copies of a file lie in one group.

    Args:
        grouping: of a list.
        files: from `identities`.
    """
    above = {group: group for group in grouping.groups}

    def top(group: str) -> str:
        while above[group] != group:
            group = above[group]
        return group

    first: dict[str, str] = {}
    joined = 0
    for group, file in zip(grouping.groups, files, strict=True):
        one, other = top(first.setdefault(file, group)), top(group)
        joined += one != other
        above[other] = one
    if not joined:
        return grouping
    said = f"{grouping.said} {counted(joined, 'group', 'has', 'have')} a copy of a clip of another group and {form(joined, 'is', 'are')} joined with it."
    return replace(grouping, said=said, groups=tuple(map(top, grouping.groups)))


def _correct(videos: VideoList) -> str:
    """Return the next step where files are missing."""
    start = "relative ones start from the folder of the list, or from --root of data split and data check"
    if any("\\" in video.name and Path(str(video.path).replace("\\", "/")).exists() for video in videos.videos):
        return r"Paths have backslashes, as on Windows; with / in their place the files are found. Replace each \ by / in the list"
    return f"Correct the paths; {start}"


def _hash(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hash_open(file)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
