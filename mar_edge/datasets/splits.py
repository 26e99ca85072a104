"""Splits a list of clips into training, validation and test, by groups; says what can be judged with them."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mar_edge.counting import counted, counted_of, form
from mar_edge.datasets.class_numbers import some
from mar_edge.datasets.copies import identities, join_copies
from mar_edge.datasets.groups import Grouping
from mar_edge.datasets.split_search import distribute
from mar_edge.datasets.video_list import Video, VideoList, read_video_list
from mar_edge.errors import DataError, OptionError
from mar_edge.reporting import Progress, no_progress
from mar_edge.runtime.video.listing import list_videos

NAMES = ("train", "val", "test")

ENOUGH_GROUPS = 5
"""With fewer groups in a split, one of them decides its figure."""

ENOUGH_CLIPS = 100
"""A figure from fewer clips is uncertain by more than 10 points."""

OFF = 0.1
"""A split whose share of all clips is off by more is told."""


RECORD_MORE = "Record each class at least 5 times, better 20, with changing people and places"


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
    _check_shares(val, test)
    _check_classes(videos)
    files = identities(videos)
    _check_files(videos, files)
    joined = join_copies(grouping, files)
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    for video, group in zip(videos.videos, joined.groups, strict=True):
        counts[group][video.label] += 1
    _check_groups(videos, joined, counts)
    placed = distribute(list(counts.values()), (1 - val - test, test, val), seed)
    where = dict(zip(counts, (("train", "test", "val")[number] for number in placed), strict=True))
    kept: dict[str, list[Video]] = {name: [] for name in NAMES}
    for video, group in zip(videos.videos, joined.groups, strict=True):
        kept[where[group]].append(video)
    parts = {name: videos.keep(kept[name]) for name in NAMES}
    shares = {name: share for name, share in (("val", val), ("test", test)) if share}
    per_class = _groups_per_class(videos, counts)
    for name in ("test", "val"):
        if name in shares:
            _check_part(name, parts[name], per_class, joined, shares)
    remarks = [
        *_absent_classes(parts, shares, per_class, joined),
        *_uncertainty(parts, where, shares, joined),
        *_off_shares(parts, shares, videos, counts, joined),
    ]
    return Split(
        train=parts["train"],
        val=parts["val"] if val else None,
        test=parts["test"] if test else None,
        grouping=joined,
        groups=dict(zip(videos.videos, joined.groups, strict=True)),
        remarks=tuple(remarks),
    )


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
        return read_video_list(source, root=root, labels=labels, progress=progress)
    names = sorted({re.sub(r"[ ._-]*\d+$", "", path.stem) for path in found})
    advice = "Put them into a folder for each class, or give a CSV with the columns path and label"
    if len(found) > 1 and len(names) == len(found):
        advice = (
            f"If each name is a class ({some(names)}), there is 1 clip of each: what trains a class cannot judge it too, so "
            f"nothing can be judged. {RECORD_MORE}, and put the clips into a folder for each class"
        )
    raise DataError(f"{source} has {counted(len(found), 'video')} but no class folders. {advice}")


def _check_shares(val: float, test: float) -> None:
    if not (0 <= val < 1 and 0 <= test < 1 and 0 < val + test <= 0.9):
        raise OptionError(
            f"val is {100 * val:g} % and test {100 * test:g} % of the clips; together they must be above 0 and at most 90, "
            "for instance --val 15 --test 25"
        )


def _check_classes(videos: VideoList) -> None:
    there = [label for label, count in videos.counts().items() if count]
    if len(there) == 1:
        raise DataError(
            f"{videos.source} has {counted(len(videos.videos), 'clip')} of one class only, '{there[0]}': a model of one class "
            f"always answers '{there[0]}'. Add clips of what is not '{there[0]}', from the same places and people, as a second class"
        )
    videos.check_classes()


def _check_files(videos: VideoList, files: Sequence[str]) -> None:
    """Refuse files that say nothing about a class, because they are listed under two, or are the only one."""
    if len(set(files)) == 1:
        raise DataError(
            f"all {counted(len(files), 'line')} of {videos.source} are one file, {videos.videos[0].name}; cut it into a file "
            "for each action first, as in: ffmpeg -ss START -to END -i IN.mp4 CLASS/OUT.mp4"
        )
    first: dict[str, Video] = {}
    for video, file in zip(videos.videos, files, strict=True):
        other = first.setdefault(file, video)
        if other.label != video.label:
            one, two = videos.labels[other.label], videos.labels[video.label]
            raise DataError(
                videos.say(video, f"{video.name} is '{two}', but {other.name}, the same file or a copy, is '{one}'. ")
                + "Keep one of them, or cut the file into one for each action"
            )


def _check_groups(videos: VideoList, grouping: Grouping, counts: Mapping[str, Counter[int]]) -> None:
    clips, classes = len(videos.videos), sum(map(bool, videos.counts().values()))
    if len(counts) == 1:
        raise DataError(
            f"all {counted(clips, 'clip')} of {videos.source} are of one {_noun(grouping)}, '{next(iter(counts))}' (by {grouping.rule}). "
            "A model can be trained with them, but nothing can be judged: train and test would show the same people and "
            "places at the same time. Record more, on other days, at other places or of other people; 5 recordings of "
            "every class are a start. If these clips are independent, say so: --group none"
        )
    per_class = _groups_per_class(videos, counts)
    if max(per_class.values()) == 1:
        each = "1 clip each" if clips == classes else f"each with clips of one {_noun(grouping)}"
        wrong = "" if grouping.independent or clips == classes else f" (by {grouping.rule})"
        raise DataError(
            f"{videos.source} has {counted(classes, 'class')}, {each}{wrong}: what trains a class cannot judge it too, so "
            f"nothing can be judged, and a model would learn people and places along with the actions. {RECORD_MORE}"
        )


def _check_part(
    name: str, part: VideoList, per_class: Mapping[str, int], grouping: Grouping, shares: Mapping[str, float]
) -> None:
    """Refuse a part that judges fewer than two classes, or than half of them."""
    there = sum(map(bool, part.counts().values()))
    if there >= max(2, math.ceil(len(per_class) / 2)):
        return
    parts = 1 + len(shares)
    few = [label for label, count in per_class.items() if count < parts]
    noun = "clip" if grouping.independent else _noun(grouping)
    each = sorted({per_class[label] for label in few})
    numbers = f"{each[0]}" if len(each) == 1 else f"{each[0]} to {each[-1]}"
    enough = sum(count >= 2 for count in per_class.values())
    way_out = ""
    if len(shares) == 2 and enough >= max(2, math.ceil(len(per_class) / 2)):
        way_out = (
            f" Without validation, {counted_of(enough, len(per_class), 'class')} can be judged, each on clips of at least one "
            f"{noun} that training has not seen: --val 0."
        )
    by = "" if grouping.independent else f" (by {grouping.rule})"
    why = f"{counted_of(len(few), len(per_class), 'class', 'has', 'have')} clips of only {numbers} {noun}s{by}"
    if grouping.independent:
        why = f"{counted_of(len(few), len(per_class), 'class', 'has', 'have')} only {numbers} {noun}{'s' * (each[-1] > 1)}"
    if not few:
        why = f"the {noun}s cannot be distributed so that each part has all classes{by}"
    raise DataError(
        f"{name} would have clips of {counted_of(there, len(per_class), 'class')}: {why}, and {parts} parts need as many of each class."
        f"{way_out} Record these classes {parts} times or more, with changing people and places; from 5 on a figure begins to mean something"
    )


def _groups_per_class(videos: VideoList, counts: Mapping[str, Counter[int]]) -> dict[str, int]:
    number = Counter(label for clips in counts.values() for label in clips)
    return {label: number[place] for place, label in enumerate(videos.labels) if number[place]}


def _noun(grouping: Grouping) -> str:
    return {"none": "clip", "folder": "folder"}.get(grouping.name, grouping.name.removesuffix("_id"))


def _absent_classes(
    parts: Mapping[str, VideoList], shares: Mapping[str, float], per_class: Mapping[str, int], grouping: Grouping
) -> list[str]:
    said = []
    for name in shares:
        found = parts[name].counts()
        absent = [label for label in per_class if not found[label]]
        if not absent:
            continue
        effect = "can be judged by nothing in it" if name == "test" else "has no say in which checkpoint is chosen"
        single = [label for label in absent if per_class[label] == 1]
        why = f"; of {some(single)} there is one {_noun(grouping)} only, which trains" if single else ""
        said.append(f"{name} has no clip of {some(absent)}{why}: {form(len(absent), 'it', 'each')} {effect}.")
    return said


def _uncertainty(
    parts: Mapping[str, VideoList], where: Mapping[str, str], shares: Mapping[str, float], grouping: Grouping
) -> list[str]:
    said = []
    groups = Counter(where.values())
    for name in shares:
        clips = len(parts[name].videos)
        few_groups = not grouping.independent and groups[name] < ENOUGH_GROUPS
        if clips >= ENOUGH_CLIPS and not few_groups:
            continue
        of = "" if grouping.independent else f" of {counted(groups[name], _noun(grouping))}"
        # half of a 95 % interval of a share near one half (normal approximation); clips of one group vary less
        points = math.ceil(98 / math.sqrt(clips))
        most = "at least " if not grouping.independent else "about "
        said.append(
            f"{name} has {counted(clips, 'clip')}{of}: a top-1 from {form(clips, 'it', 'them')} is uncertain by {most}{points} points."
        )
    return said


def _off_shares(
    parts: Mapping[str, VideoList],
    shares: Mapping[str, float],
    videos: VideoList,
    counts: Mapping[str, Counter[int]],
    grouping: Grouping,
) -> list[str]:
    total = len(videos.videos)
    off = [name for name, share in shares.items() if abs(len(parts[name].videos) / total - share) > OFF]
    if not off:
        return []
    largest = max(counts, key=lambda group: counts[group].total())
    told = " and ".join(
        f"{name} has {100 * len(parts[name].videos) / total:.0f} % of the clips instead of {100 * shares[name]:g} %"
        for name in off
    )
    many = counted(counts[largest].total(), "clip")
    return [f"{told}: whole groups do not fit better. The largest {_noun(grouping)}, '{largest}', has {many}."]
