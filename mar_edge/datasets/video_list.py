"""Lists of labelled videos: CSV, the lists of VideoMAE and MMAction2, and a folder per class."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from mar_edge.counting import counted
from mar_edge.datasets.class_folders import Rows, read_folder
from mar_edge.datasets.class_numbers import Problem, label_doubts, number_classes, some
from mar_edge.datasets.list_file import Row, read_rows
from mar_edge.errors import DataError
from mar_edge.files.regular_file import read_text
from mar_edge.printable import plain
from mar_edge.reporting import Progress, no_progress
from mar_edge.runtime.video.folder_walk import LeftOut
from mar_edge.runtime.video.listing import name_left_out

SHOWN = 10
"""Number of problems that one error names; the rest is counted."""

UNLABELLED = -1

_EXPECTED = ". Put videos into a folder for each class, or list them in a CSV with the columns path and label"


@dataclass(frozen=True)
class Video:
    """One video of a list.

    Attributes:
        path: the file.
        label: index into the list's `labels`; -1 in a list without labels.
        line: line of the list, from 1; 0 for a folder's.
        name: as written in the list; for a folder the path relative to it, with slashes.
        columns: what a CSV says of it besides, by the columns' names in lower case.
    """

    path: Path
    label: int
    line: int
    name: str
    columns: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class VideoList:
    """Labelled videos, or videos without labels.

    Attributes:
        source: the file or folder that was read.
        videos: in the list's order.
        labels: class names in the order of their numbers; empty without labels.
        digest: hash of names, labels and class names, so that a copy elsewhere has the same.
        left_out: files and folders in the folder that are not read, with the reasons.
        doubts: sentences about labels that look like mistakes.
        shared: names of videos that are one file, but are listed under two classes.
    """

    source: Path
    videos: tuple[Video, ...]
    labels: tuple[str, ...]
    digest: str
    left_out: tuple[LeftOut, ...] = ()
    doubts: tuple[str, ...] = ()
    shared: tuple[tuple[str, str], ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences that a user should read before the videos are used."""
        said = [f"{self.source}: {doubt}" for doubt in self.doubts]
        if self.left_out:
            said.insert(0, f"{self.source}: {name_left_out(self.source, self.left_out)}")
        if self.shared:
            count = counted(len(self.shared), "file", "is", "are")
            named = ", ".join(f"{other} is {one}" for one, other in self.shared[:SHOWN])
            more = f", and {len(self.shared) - SHOWN} more" if len(self.shared) > SHOWN else ""
            said.append(f"{self.source}: {count} listed under two classes: {named}{more}")
        return tuple(said)

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

    def relabel(self, classes: Sequence[int], labels: Sequence[str]) -> VideoList:
        """Return the list with other classes.

        Args:
            classes: the new number of every label of this list.
            labels: names of the new classes.
        """
        videos = tuple(replace(video, label=classes[video.label]) for video in self.videos)
        return replace(self, videos=videos, labels=tuple(labels), digest=_digest(videos, labels))

    def check_kept(self, kept: VideoList, reasons: Sequence[tuple[Video, str]]) -> None:
        """Check that no class has lost all its videos.

        Args:
            kept: what is left of this list.
            reasons: why each of the others is left out, as sentences.

        Raises:
            DataError: naming the classes and the first of their videos.
        """
        left = kept.counts()
        lost = [label for label, count in self.counts().items() if count and not left[label]]
        if lost:
            said = [self.say(video, reason) for video, reason in reasons if self.labels[video.label] in lost]
            more = f"; and {len(said) - SHOWN} more" if len(said) > SHOWN else ""
            raise DataError(
                f"{self.source}: no video is left of the class{'es' * (len(lost) > 1)} {some(lost)}: "
                f"{'; '.join(said[:SHOWN])}{more}"
            )

    def check_classes(self) -> None:
        """Check that there is something to learn.

        Raises:
            DataError: if there is no video, no label, or only one class with videos.
        """
        if not self.videos:
            raise DataError(f"{self.source} contains no videos")
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
    progress: Progress = no_progress,
) -> VideoList:
    """Read a list of videos. Files that a list names are not opened; those in a folder are tested with the decoder.

    Args:
        source: a CSV with the columns `path` and `label`; a list of `path label` lines, separated by space, tab or
            comma (VideoMAE, MMAction2); or a folder with one folder per class.
        root: what relative paths start from; by default the folder of the list.
        labels: the known classes in order, for instance those of the training set. By default the classes found:
            names sorted, or, where all are numbers, 0 to the largest.
        labelled: whether labels are needed; if false, every video of a folder or list is taken and labels are ignored.
        on_problem: called with (line, problem) for every line that cannot be used, which is then left out; by default
            all of them are reported in one error. Line 0 stands for a folder.
        progress: see `list_videos`.

    Raises:
        DataError: if the source cannot be read, is empty, lacks a column, or has lines that cannot be used.
    """
    found: list[tuple[int, str]] = []
    tell = on_problem or (lambda line, problem: found.append((line, problem)))
    if source.is_dir():
        root = source
        rows, left_out, shared = read_folder(source, tell, labelled=labelled, progress=progress)
    else:
        root = root or source.parent
        rows, left_out, shared = _listed(read_rows(source, tell, labelled=labelled))
    if not rows and not found:
        left = f"; {name_left_out(source, left_out)}" if left_out else ""
        raise DataError(f"{source} contains no videos{left}{_EXPECTED if labelled else ''}")
    names, numbers = number_classes(rows, labels, tell) if labelled else ((), [UNLABELLED] * len(rows))
    _refuse(source, found)
    videos = tuple(
        Video(path=root / row.name, label=number, line=row.line, name=row.name, columns=row.columns)
        for row, number in zip(rows, numbers, strict=True)
        if number is not None
    )
    return VideoList(
        source=source,
        videos=videos,
        labels=names,
        digest=_digest(videos, names),
        left_out=left_out,
        doubts=label_doubts(rows, labels) if labelled else (),
        shared=shared,
    )


def _refuse(source: Path, found: list[tuple[int, str]]) -> None:
    """Raise one error for all problems of a list."""
    if found:
        found.sort()
        told = [f"{source}:{line}: {problem}" if line else problem for line, problem in found[:SHOWN]]
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise DataError("; ".join(told) + more)


def read_labels(path: Path) -> list[str]:
    """Read class names, one per line.

    Raises:
        DataError: if the file cannot be read, is empty, names a class twice, or a name contains control characters.
    """
    try:
        names = [line.strip() for line in read_text(path, encoding="utf-8-sig").split("\n") if line.strip()]
        for name in names:
            plain(name)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the labels from {path}: {error}") from error
    if not names:
        raise DataError(f"{path} contains no class names; write one name per line")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path} has the name '{twice}' more than once; give every class a unique name")
    return names


def hold_out(videos: VideoList, patterns: Sequence[str]) -> tuple[VideoList, VideoList]:
    """Split a list by patterns on the names, such as `train/Jump_11_*`.

    Returns:
        The videos that match no pattern, and those that match one.

    Raises:
        DataError: if a pattern matches no video, or nothing is left.
    """
    for pattern in patterns:
        if not any(fnmatchcase(video.name, pattern) for video in videos.videos):
            example = f"; names look like '{videos.videos[0].name}'" if videos.videos else ""
            raise DataError(f"no video of {videos.source} matches the pattern '{pattern}'{example}")
    held = [video for video in videos.videos if any(fnmatchcase(video.name, pattern) for pattern in patterns)]
    taken = set(held)
    kept = [video for video in videos.videos if video not in taken]
    if not kept:
        raise DataError(
            f"every video of {videos.source} is held out by {', '.join(patterns)}; nothing is left to train on"
        )
    return videos.keep(kept), videos.keep(held)


def _listed(rows: list[Row]) -> Rows:
    """Find the files that a list has under two labels."""
    first: dict[str, Row] = {}
    pairs = [(first.setdefault(row.name, row), row) for row in rows]
    shared = tuple(
        (f"{one.name} of line {one.line} ('{one.label}')", f"line {other.line} ('{other.label}')")
        for one, other in pairs
        if one.label != other.label
    )
    return Rows(rows, (), shared)


def _digest(videos: Sequence[Video], labels: Sequence[str]) -> str:
    listed = [[video.name, video.label] for video in videos]
    return hashlib.sha256(json.dumps([listed, list(labels)]).encode()).hexdigest()
