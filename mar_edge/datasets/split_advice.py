"""Says what a colleague would say of clips before they are split: what can be judged with them, and what cannot."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from mar_edge.counting import counted, counted_of, form
from mar_edge.datasets.class_numbers import some
from mar_edge.datasets.groups import Grouping
from mar_edge.datasets.video_list import Video, VideoList
from mar_edge.errors import DataError, OptionError

ENOUGH_GROUPS = 5
"""With fewer groups in a split, one of them decides its figure."""

ENOUGH_CLIPS = 100
"""A figure from fewer clips is uncertain by more than 10 points."""

OFF = 0.1
"""A split whose share of all clips is off by more is told."""


RECORD_MORE = (
    "Record each class at least 5 times, better 20, with changing people and places, "
    "for instance with: mar-edge record --camera 0 --label NAME -o FOLDER"
)


def check_shares(val: float, test: float) -> None:
    """Check the shares of a split.

    Raises:
        OptionError: if they are not possible.
    """
    if not (0 <= val < 1 and 0 <= test < 1 and 0 < val + test <= 0.9):
        raise OptionError(
            f"val is {100 * val:g} % and test {100 * test:g} % of the clips; together they must be above 0 and at most 90, "
            "for instance --val 15 --test 25"
        )


def check_classes(videos: VideoList) -> None:
    """Check that there are two classes.

    Raises:
        DataError: with advice.
    """
    there = [label for label, count in videos.counts().items() if count]
    if len(there) == 1:
        raise DataError(
            f"{videos.source} has {counted(len(videos.videos), 'clip')} of one class only, '{there[0]}': a model of one class "
            f"always answers '{there[0]}'. Add clips of what is not '{there[0]}', from the same places and people, as a second class"
        )
    videos.check_classes()


def check_files(videos: VideoList, files: Sequence[str]) -> None:
    """Refuse files that say nothing about a class, because they are listed under two, or are the only one.

    Args:
        videos: the list.
        files: from `copies.identities`.

    Raises:
        DataError: with advice.
    """
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


def check_groups(videos: VideoList, grouping: Grouping, counts: Mapping[str, Counter[int]]) -> None:
    """Check that some class has two groups.

    Args:
        videos: the list.
        grouping: of it.
        counts: clips of every group by class.

    Raises:
        DataError: with advice.
    """
    clips, classes = len(videos.videos), sum(map(bool, videos.counts().values()))
    if len(counts) == 1:
        raise DataError(
            f"all {counted(clips, 'clip')} of {videos.source} are of one {_noun(grouping)}, '{next(iter(counts))}' (by {grouping.rule}). "
            "A model can be trained with them, but nothing can be judged: train and test would show the same people and "
            "places at the same time. Record more, on other days, at other places or of other people; 5 recordings of "
            "every class are a start. If these clips are independent, say so: --group none"
        )
    per_class = groups_per_class(videos, counts)
    if max(per_class.values()) == 1:
        each = "1 clip each" if clips == classes else f"each with clips of one {_noun(grouping)}"
        wrong = "" if grouping.independent or clips == classes else f" (by {grouping.rule})"
        raise DataError(
            f"{videos.source} has {counted(classes, 'class')}, {each}{wrong}: what trains a class cannot judge it too, so "
            f"nothing can be judged, and a model would learn people and places along with the actions. {RECORD_MORE}"
        )


def check_part(
    name: str,
    classes: int,
    per_class: Mapping[str, int],
    grouping: Grouping,
    *,
    parts: int,
    without_val: Callable[[], int],
) -> None:
    """Refuse a part that judges fewer than two classes, or than half of them.

    Args:
        name: of the part.
        classes: number of classes in it.
        per_class: see `groups_per_class`.
        grouping: of the list.
        parts: number of parts.
        without_val: returns how many classes a test without validation has.

    Raises:
        DataError: with advice.
    """
    all_of_them = len(per_class)
    needed = max(2, math.ceil(all_of_them / 2))
    if classes >= needed:
        return
    noun, by = _noun(grouping), "" if grouping.independent else f" (by {grouping.rule})"
    few = [count for count in per_class.values() if count < parts]
    if few:
        most = f"only {counted(few[0], noun)}" if len(set(few)) == 1 else f"at most {counted(max(few), noun)}"
        why = f"{counted_of(len(few), all_of_them, 'class', 'has', 'have')} {most}{by}, and {parts} parts need one each"
    else:
        why = f"whole {noun}s cannot be distributed so that each part has all classes{by}"
    way_out = ""
    if parts == 3 and (judged := without_val()) >= needed:
        which = "all classes" if judged == all_of_them else counted_of(judged, all_of_them, "class")
        way_out = f" Without validation (--val 0), {which} can be judged, on a {noun} that training has not seen."
    raise DataError(
        f"{name} would have clips of {counted_of(classes, all_of_them, 'class')}: {why}.{way_out} For {parts} parts, record each "
        f"class {parts} times or more, with changing people and places; from 5 times on a figure begins to mean something"
    )


def groups_per_class(videos: VideoList, counts: Mapping[str, Counter[int]]) -> dict[str, int]:
    """Return how many groups have clips of each class; without classes that have none."""
    number = Counter(label for clips in counts.values() for label in clips)
    return {label: number[place] for place, label in enumerate(videos.labels) if number[place]}


def _noun(grouping: Grouping) -> str:
    return "clip" if grouping.independent else grouping.name.removesuffix("_id")


def remarks(
    parts: Mapping[str, VideoList],
    shares: Mapping[str, float],
    per_class: Mapping[str, int],
    grouping: Grouping,
    groups: Mapping[Video, str],
) -> list[str]:
    """Return sentences on what the parts of a split cannot tell.

    Args:
        parts: by name.
        shares: of the parts that judge, by name.
        per_class: see `groups_per_class`.
        grouping: of the list.
        groups: of each video.
    """
    return [
        *_absent_classes(parts, shares, per_class, grouping),
        *_uncertainty(parts, shares, grouping, groups),
        *_off_shares(parts, shares, grouping),
    ]


def _absent_classes(
    parts: Mapping[str, VideoList], shares: Mapping[str, float], per_class: Mapping[str, int], grouping: Grouping
) -> list[str]:
    said = []
    for name in shares:
        found = parts[name].counts()
        absent = [label for label in per_class if not found[label]]
        if not absent:
            continue
        stays = form(len(absent), "its accuracy stays unknown", "their accuracies stay unknown")
        effect = (
            stays if name == "test" else "the choice of a checkpoint does not regard " + form(len(absent), "it", "them")
        )
        single = [label for label in absent if per_class[label] == 1]
        why = f"; of {some(single)} there is one {_noun(grouping)} only, which trains" if single else ""
        said.append(f"{name} has no clip of {some(absent)}{why}: {effect}.")
    return said


def _uncertainty(
    parts: Mapping[str, VideoList], shares: Mapping[str, float], grouping: Grouping, groups: Mapping[Video, str]
) -> list[str]:
    said = []
    for name in shares:
        clips = len(parts[name].videos)
        number = len({groups[video] for video in parts[name].videos})
        few_groups = not grouping.independent and number < ENOUGH_GROUPS
        if clips >= ENOUGH_CLIPS and not few_groups:
            continue
        of = "" if grouping.independent else f" of {counted(number, _noun(grouping))}"
        # half of a 95 % interval of a share near one half (normal approximation); clips of one group vary less
        points = math.ceil(98 / math.sqrt(clips))
        most = "at least " if not grouping.independent else "about "
        said.append(
            f"{name} has {counted(clips, 'clip')}{of}: a top-1 from {form(clips, 'it', 'them')} is uncertain by {most}{points} points."
        )
    return said


def _off_shares(parts: Mapping[str, VideoList], shares: Mapping[str, float], grouping: Grouping) -> list[str]:
    total = sum(len(part.videos) for part in parts.values())
    off = [name for name, share in shares.items() if abs(len(parts[name].videos) / total - share) > OFF]
    if not off:
        return []
    told = " and ".join(
        f"{name} has {100 * len(parts[name].videos) / total:.0f} % of the clips instead of {100 * shares[name]:g} %"
        for name in off
    )
    if grouping.independent:
        return [f"{told}: each class needs a clip in each part."]
    largest, clips = Counter(grouping.groups).most_common(1)[0]
    return [f"{told}: a {_noun(grouping)} stays whole, and the largest one, '{largest}', has {counted(clips, 'clip')}."]
