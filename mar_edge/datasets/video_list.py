"""Lists of labelled videos: CSV, the lists of VideoMAE and MMAction2, and a folder per class."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from mar_edge.datasets.list_file import Row, read_rows
from mar_edge.errors import DataError
from mar_edge.runtime.video.reader import list_videos

MAX_CLASSES = 100_000
"""A class number beyond is taken for a mistake, for instance an identifier."""

SHOWN = 10
"""Problems that one error tells; the rest is counted."""

SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}
"""Folders named so, and nothing else beside them, hold classes and are none."""

UNLABELLED = -1

Problem = Callable[[int, str], None]
"""Called with a line's number and what is wrong there."""


@dataclass(frozen=True)
class Video:
    """One video of a list.

    Attributes:
        path: the file.
        label: index into the list's `labels`; -1 in a list without labels.
        line: line of the list, from 1; 0 for a folder's.
        name: as the list writes it; below a folder the path from there, with slashes.
    """

    path: Path
    label: int
    line: int
    name: str


@dataclass(frozen=True)
class VideoList:
    """Labelled videos, or videos without labels.

    Attributes:
        source: the file or folder that was read.
        videos: in the list's order.
        labels: class names in the order of their numbers; empty without labels.
        digest: hash of names, labels and class names, so that a copy elsewhere has the same.
    """

    source: Path
    videos: tuple[Video, ...]
    labels: tuple[str, ...]
    digest: str

    def say(self, video: Video, problem: str) -> str:
        """Put the line before a problem with a video: `train.csv:17: ...`; a folder has no lines."""
        return f"{self.source}:{video.line}: {problem}" if video.line else problem

    def counts(self) -> dict[str, int]:
        """Return how many videos every class has, in the order of the labels."""
        counts = [0] * len(self.labels)
        for video in self.videos:
            if video.label != UNLABELLED:
                counts[video.label] += 1
        return dict(zip(self.labels, counts, strict=True))

    def keep(self, videos: Sequence[Video]) -> VideoList:
        """Return a list of some of the videos, with the same classes."""
        return replace(self, videos=tuple(videos), digest=_digest(videos, self.labels))

    def check_classes(self) -> None:
        """Check that there is something to learn.

        Raises:
            DataError: if there is no video, no label, or only one class with videos.
        """
        if not self.videos:
            raise DataError(f"{self.source} holds no videos")
        if not self.labels:
            raise DataError(f"{self.source} has no labels; give a CSV with the columns path and label")
        there = [label for label, count in self.counts().items() if count]
        if len(there) < 2:
            raise DataError(
                f"{self.source} has videos of one class only, '{there[0]}'; a classifier needs at least two"
            )


def read_video_list(
    source: Path,
    *,
    root: Path | None = None,
    labels: Sequence[str] | None = None,
    labelled: bool = True,
    on_problem: Problem | None = None,
) -> VideoList:
    """Read a list of videos; the videos themselves are not touched.

    Args:
        source: a CSV with the columns `path` and `label`; a list of `path label` lines, separated by space, tab or
            comma (VideoMAE, MMAction2); or a folder that holds one folder per class.
        root: what relative paths start from; by default the folder of the list.
        labels: the known classes in order, for instance those of the training set. By default the classes found:
            names sorted, or, where all are numbers, 0 to the largest.
        labelled: whether labels are needed; without, every video of a folder or list is taken and labels are ignored.
        on_problem: called with (line, problem) for every line that cannot be used, which is then left out; by default
            all of them are told in one error.

    Raises:
        DataError: if the source cannot be read, is empty, lacks a column, or has lines that cannot be used.
    """
    found: list[tuple[int, str]] = []
    tell = on_problem or (lambda line, problem: found.append((line, problem)))
    if source.is_dir():
        root = source
        rows = _folder_rows(source, tell) if labelled else _plain_rows(source)
    else:
        root = root or source.parent
        rows = read_rows(source, tell, labelled=labelled)
    if not rows and not found:
        raise DataError(f"{source} holds no videos")
    names, numbers = _number(rows, labels, tell) if labelled else ((), [UNLABELLED] * len(rows))
    if found:
        found.sort()
        told = [f"{source}:{line}: {problem}" if line else problem for line, problem in found[:SHOWN]]
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise DataError("; ".join(told) + more)
    videos = tuple(
        Video(path=root / row.name, label=number, line=row.line, name=row.name)
        for row, number in zip(rows, numbers, strict=True)
        if number is not None
    )
    return VideoList(source=source, videos=videos, labels=names, digest=_digest(videos, names))


def read_labels(path: Path) -> list[str]:
    """Read class names, one a line.

    Raises:
        DataError: if the file cannot be read, is empty, or names a class twice.
    """
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the labels from {path}: {error}") from error
    if not names:
        raise DataError(f"{path} names no classes; write one name a line")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path} has the name '{twice}' more than once; give every class its own")
    return names


def hold_out(videos: VideoList, patterns: Sequence[str]) -> tuple[VideoList, VideoList]:
    """Split a list by patterns on the names, as `train/Jump_11_*`.

    Returns:
        What fits no pattern, and what fits one.

    Raises:
        DataError: if a pattern fits no video, or nothing is left.
    """
    for pattern in patterns:
        if not any(fnmatchcase(video.name, pattern) for video in videos.videos):
            example = f"; names look like '{videos.videos[0].name}'" if videos.videos else ""
            raise DataError(f"no video of {videos.source} fits the pattern '{pattern}'{example}")
    held = [video for video in videos.videos if any(fnmatchcase(video.name, pattern) for pattern in patterns)]
    taken = set(held)
    kept = [video for video in videos.videos if video not in taken]
    if not kept:
        raise DataError(
            f"every video of {videos.source} is held out by {', '.join(patterns)}; nothing is left to train"
        )
    return videos.keep(kept), videos.keep(held)


def _folder_rows(folder: Path, tell: Problem) -> list[Row]:
    """List the videos of a folder per class."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    rows = [Row(0, path.relative_to(folder).as_posix(), home.name) for home in classes for path in list_videos(home)]
    stray = [path for path in list_videos(folder) if path.parent == folder]
    if stray and not rows:
        raise DataError(
            f"{folder} holds videos but no folder per class; expected {folder}/CLASS/{stray[0].name}, or give a list"
        )
    if rows and {home.name.lower() for home in classes} <= SPLITS:
        raise DataError(f"{folder} holds splits, not classes; give them one by one: {' '.join(map(str, classes))}")
    for path in stray:
        tell(0, f"{path} lies beside the class folders; move it into one")
    return rows


def _plain_rows(folder: Path) -> list[Row]:
    return [Row(0, path.relative_to(folder).as_posix(), "") for path in list_videos(folder)]


def _number(
    rows: Sequence[Row], known: Sequence[str] | None, tell: Problem
) -> tuple[tuple[str, ...], list[int | None]]:
    """Return the class names and every row's class number; None where there is none."""
    by_number = all(re.fullmatch(r"[+-]?\d+", row.label, re.ASCII) for row in rows)
    if known is None and by_number:
        numbers = [_class_number(row, MAX_CLASSES, tell) for row in rows]
        return tuple(map(str, range(1 + max((n for n in numbers if n is not None), default=-1)))), numbers
    names = tuple(sorted({row.label for row in rows})) if known is None else tuple(known)
    places = {name: place for place, name in enumerate(names)}
    out: list[int | None] = []
    for row in rows:
        place = places.get(row.label)
        if place is None and by_number:
            place = _class_number(row, len(names), tell)
        elif place is None:
            near = difflib.get_close_matches(row.label, names, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {_some(names)}"
            tell(row.line, f"label '{row.label}' of {row.name} is not one of the {len(names)} known ones; {hint}")
        out.append(place)
    return names, out


def _class_number(row: Row, classes: int, tell: Problem) -> int | None:
    # the length first: Python refuses to read numbers of thousands of digits
    number = int(row.label) if len(row.label) < 10 else MAX_CLASSES
    if 0 <= number < classes:
        return number
    tell(row.line, f"label {row.label[:40]} of {row.name} is not a class number from 0 to {classes - 1}")
    return None


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (", …" if len(names) > 6 else "")


def _digest(videos: Sequence[Video], labels: Sequence[str]) -> str:
    listed = [[video.name, video.label] for video in videos]
    return hashlib.sha256(json.dumps([listed, list(labels)]).encode()).hexdigest()
