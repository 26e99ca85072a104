"""Reads folders of videos as rows of a list: with a folder for each class, or without labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from mar_edge.datasets.list_file import Row
from mar_edge.errors import DataError
from mar_edge.printable import typed
from mar_edge.reporting import Progress
from mar_edge.runtime.video.folder_walk import LeftOut
from mar_edge.runtime.video.listing import Listing, list_videos, name_left_out

SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}
"""Folders with only these names are splits that contain classes, not classes."""


class Rows(NamedTuple):
    """The videos of a folder.

    Attributes:
        rows: one per video, without line numbers.
        left_out: everything else in the folder.
        shared: names of videos that are in two class folders.
    """

    rows: list[Row]
    left_out: tuple[LeftOut, ...]
    shared: tuple[tuple[str, str], ...]


def read_folder(folder: Path, problem: Callable[[int, str], None], *, labelled: bool, progress: Progress) -> Rows:
    """Find the videos of a folder, and those of each class.

    Args:
        folder: where to look.
        problem: called with (0, problem) for class folders and files that cannot be used.
        labelled: whether each folder directly below is a class; if false, every video counts.
        progress: see `list_videos`.

    Raises:
        DataError: if there are videos but no classes, or if the folders are splits.
    """
    found = list_videos(folder, apart=labelled, progress=progress)

    def name(path: Path) -> str:
        return path.relative_to(folder).as_posix()

    if not labelled:
        return Rows([Row(0, name(path), "") for path in found.videos], found.left_out, ())
    stray = [path for path in found.videos if path.parent == folder]
    rows = [Row(0, name(path), path.relative_to(folder).parts[0]) for path in found.videos if path.parent != folder]
    if stray and not rows:
        raise DataError(
            f"{folder} contains videos but no folder per class; expected {folder}/CLASS/{stray[0].name}, or give a list"
        )
    _check_classes(found, {row.label for row in rows}, problem)
    for path in stray:
        problem(0, f"{path} is not in a class folder; move it into one")
    return Rows(rows, found.left_out, tuple((name(one), name(other)) for one, other in found.shared))


def _check_classes(found: Listing, classes: set[str], problem: Callable[[int, str], None]) -> None:
    """Report class folders without videos."""
    if classes and {label.lower() for label in classes} <= SPLITS:
        homes = " ".join(typed(home) for home in found.folders if home.name in classes)
        raise DataError(
            f"{found.folder} contains splits, not classes; give them one by one, as in: mar-edge data check {homes}"
        )
    for home in found.folders:
        if classes and home.name not in classes:
            problem(
                0,
                f"the class folder {home} contains no video{_lost(home, found.left_out)}; add some, or remove the folder",
            )


def _lost(home: Path, left_out: Sequence[LeftOut]) -> str:
    """Return why a class folder contains no video; empty if the folder is empty."""
    inside = [one for one in left_out if one.path == home or home in one.path.parents]
    if not inside:
        return ""
    return f": it {inside[0].reason}" if inside[0].path == home else f" ({name_left_out(home, inside)})"
