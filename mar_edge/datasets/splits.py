"""Splits a list of clips into training, validation and test, by groups; says what can be judged with them."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mar_edge.counting import counted
from mar_edge.datasets.class_numbers import some
from mar_edge.datasets.copies import identities, join_copies
from mar_edge.datasets.groups import Grouping
from mar_edge.datasets.split_advice import (
    RECORD_MORE,
    check_classes,
    check_files,
    check_groups,
    check_part,
    check_shares,
    groups_per_class,
    remarks,
)
from mar_edge.datasets.split_search import distribute
from mar_edge.datasets.video_list import Video, VideoList, read_video_list
from mar_edge.errors import DataError
from mar_edge.reporting import Progress, no_progress
from mar_edge.runtime.video.listing import list_videos

NAMES = ("train", "val", "test")
RECORD = "split.json"

_PLACED = ("train", "test", "val")
"""Splits by the numbers of `distribute`."""


@dataclass(frozen=True)
class Split:
    """A list in parts that share no group.

    Attributes:
        train: to train with.
        val: to choose a checkpoint with; None for none.
        test: to judge with; None for none.
        grouping: of the whole list, with copies joined.
        groups: the group of each video.
        remarks: sentences on what the parts cannot tell.
    """

    train: VideoList
    val: VideoList | None
    test: VideoList | None
    grouping: Grouping
    groups: Mapping[Video, str]
    remarks: tuple[str, ...]

    @property
    def parts(self) -> dict[str, VideoList]:
        """The parts by name, without those that are None."""
        found = {"train": self.train, "val": self.val, "test": self.test}
        return {name: part for name, part in found.items() if part is not None}


def split(videos: VideoList, grouping: Grouping, *, val: float, test: float, seed: int = 0) -> Split:
    """Split a list so that no group lies in two parts, and each class has about its share in each.

    Copies of a file stay together, too. What is not in `val` and `test` is in `train`, which contains every class.

    Args:
        videos: the list; its files are looked at for copies.
        grouping: which clips belong together, from `find_groups`.
        val: share of the clips for validation, from 0 to 1; 0 for none.
        test: share of the clips for the test, from 0 to 1; 0 for none.
        seed: of all random choices; the same list and seed give the same split.

    Raises:
        DataError: with advice, if files are missing, or with these clips there is nothing to learn or to judge: one class,
            one file, one group, or a part that would have fewer than half of the classes.
        OptionError: if the shares are not possible.
    """
    check_shares(val, test)
    check_classes(videos)
    files = identities(videos)
    check_files(videos, files)
    joined = join_copies(grouping, files)
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    for video, group in zip(videos.videos, joined.groups, strict=True):
        counts[group][video.label] += 1
    check_groups(videos, joined, counts)
    groups = dict(zip(videos.videos, joined.groups, strict=True))
    shares = {name: share for name, share in (("val", val), ("test", test)) if share}
    per_class = groups_per_class(videos, counts)

    def place(test: float, val: float) -> dict[str, VideoList]:
        placed = distribute(list(counts.values()), (1 - test - val, test, val), seed)
        where = dict(zip(counts, (_PLACED[number] for number in placed), strict=True))
        return {name: videos.keep([one for one in videos.videos if where[groups[one]] == name]) for name in NAMES}

    parts = place(test, val)
    for name in ("test", "val"):
        if name in shares:
            check_part(
                name, _classes(parts[name]), per_class, joined,
                parts=1 + len(shares), without_val=lambda: _classes(place(test, 0)["test"]),
            )  # fmt: skip
    return Split(
        train=parts["train"],
        val=parts["val"] if val else None,
        test=parts["test"] if test else None,
        grouping=joined,
        groups=groups,
        remarks=tuple(remarks(parts, shares, per_class, joined, groups)),
    )


def _classes(part: VideoList) -> int:
    return sum(map(bool, part.counts().values()))


def read_clips(
    source: Path, *, root: Path | None = None, labels: Sequence[str] | None = None, progress: Progress = no_progress
) -> VideoList:
    """Read a list to split: `read_video_list`, with advice for a folder without classes.

    Args:
        source: see `read_video_list`.
        root: see `read_video_list`.
        labels: see `read_video_list`.
        progress: see `list_videos`.

    Raises:
        DataError: if it cannot be read, or is a folder of videos without classes.
    """
    found = list_videos(source, progress=progress).videos if source.is_dir() else ()
    if not found or any(path.parent != source for path in found):
        videos = read_video_list(source, root=root, labels=labels, progress=progress)
        earlier = {source / RECORD, *(source / f"{name}.csv" for name in NAMES)}  # lists of an earlier split
        return replace(videos, left_out=tuple(one for one in videos.left_out if one.path not in earlier))
    names = sorted({re.sub(r"[ ._-]*\d+$", "", path.stem) for path in found})
    advice = "Put them into a folder for each class, or give a CSV with the columns path and label"
    if len(found) > 1 and len(names) == len(found):
        advice = (
            f"If each name is a class ({some(names)}), there is 1 clip of each: what trains a class cannot judge it too, so "
            f"nothing can be judged: only a check by eye remains. {RECORD_MORE}, which makes a folder for each class"
        )
    raise DataError(f"{source} has {counted(len(found), 'video')} but no class folders. {advice}")
