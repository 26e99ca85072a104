"""Says what a colleague would say of somebody's clips before a model is trained with them: what is refused, and what is doubted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from mar_edge.counting import counted, counted_of, form
from mar_edge.datasets.class_numbers import some
from mar_edge.datasets.groups import Grouping
from mar_edge.datasets.split_advice import RECORD_MORE
from mar_edge.datasets.video_list import VideoList
from mar_edge.errors import DataError
from mar_edge.printable import shown_spaces

FEW_CLIPS = 5
"""With fewer clips of a class, one clip decides what is learnt of it and another one how good that is."""

SHOWN = 12
"""Classes that a sentence names."""

FEW_TRAINING = 3
"""What a split leaves of so few for training: lists that are split already are not held to more."""

UNEVEN = 1.5
"""Classes are weighted from this ratio of the largest to the smallest on."""

ANYWAY = "To train all the same, with all clips and nothing to judge the model by but your eye: --unjudged"


def too_few(videos: VideoList, *, parts: int) -> DataError | None:
    """Return advice if most classes have too few clips to learn or to judge anything; None if they have enough.

    Args:
        videos: all clips, or those of the training.
        parts: number of parts that these clips are split into; 1 if they are split already.
    """
    counts = {label: count for label, count in videos.counts().items() if count}
    few = [label for label, count in counts.items() if count < (FEW_CLIPS if parts > 1 else FEW_TRAINING)]
    if 2 * len(few) <= len(counts):
        return None
    most = max(counts[label] for label in few)
    told = counted_of(len(few), len(counts), "class", "has", "have")
    told = f"{told} {'only ' if most == 1 else 'at most '}{counted(most, 'clip')} ({some(few)})"
    if parts > 1 and most == 1:
        why = "what trains a class cannot judge it too, so nothing can be judged: only a check by eye remains"
    elif parts > 1:
        why = "some must train and others judge, so any figure would be luck"
    else:
        why = "a model learns their places and people with so few, not the actions"
    anyway = ANYWAY if parts > 1 else "To train all the same: --unjudged"
    return DataError(f"{videos.source}: {told}: {why}. {RECORD_MORE}. {anyway}")


def classes_said(videos: VideoList) -> str:
    """Return a sentence on the classes, by which people see whether the right folders were taken for them."""
    counts = [f"{shown_spaces(label)} {count}" for label, count in videos.counts().items()]
    more = f" and {len(counts) - SHOWN} more" if len(counts) > SHOWN else ""
    return f"Classes: {len(counts)}, with clips: {', '.join(counts[:SHOWN])}{more}."


def persons_as_classes(videos: VideoList) -> Iterator[str]:
    """Yield a sentence if the class folders are probably people or places, because the same folders are in each of them.

    Folders with numbers or dates are recordings instead.
    """
    below: dict[str, set[str]] = defaultdict(set)
    for video in videos.videos:
        parts = PurePath(video.name).parts
        if video.line or len(parts) < 3 or parts[-3] != videos.labels[video.label]:
            return
        below[parts[-3]].add(parts[-2])
    folders = next(iter(below.values()), set())
    words = not any(character.isdigit() for name in folders for character in name)
    if len(below) > 1 and len(folders) > 1 and words and all(one == folders for one in below.values()):
        classes, first = sorted(folders), min(below)
        yield (
            f"the classes are the folders {some(sorted(below))}, and each of them has the folders {some(classes)}. If those are the classes, "
            f"put them first, as in {videos.source / classes[0] / first}, or give a CSV with the columns path, label and person"
        )


def single_groups(videos: VideoList, grouping: Grouping) -> Iterator[str]:
    """Yield sentences on classes that lie in one group, by which a model may recognise them."""
    if grouping.independent:
        return
    groups: dict[int, set[str]] = defaultdict(set)
    for video, group in zip(videos.videos, grouping.groups, strict=True):
        groups[video.label].add(group)
    single = [videos.labels[label] for label, found in sorted(groups.items()) if len(found) == 1]
    if single and len(set(grouping.groups)) > 1:
        noun = grouping.name.removesuffix("_id")
        yield (
            f"all clips of {some(single)} are of one {noun}: a model may know {form(len(single), 'it', 'them')} by that {noun} "
            f"instead of by what is done, and no figure here would show it. Record {form(len(single), 'it', 'them')} elsewhere, too"
        )


def few_clips(train: VideoList) -> Iterator[str]:
    """Yield sentences on classes with few training clips, absolutely or beside the largest one."""
    counts = {label: count for label, count in train.counts().items() if count}
    few = [label for label, count in counts.items() if count < FEW_CLIPS]
    if few:
        yield (
            f"{some(few)} {form(len(few), 'has', 'have')} fewer than {FEW_CLIPS} training clips: expect little of "
            f"{form(len(few), 'it', 'them')}. 20 and more are better"
        )
    missing = [label for label, count in train.counts().items() if not count]
    if missing:
        yield f"there are no training clips of {some(missing)}, so the model cannot learn {form(len(missing), 'it', 'them')}"


def why_weighted(counts: Sequence[int]) -> str | None:
    """Return why classes should count the same however many clips they have; None if they have about as many."""
    there = [count for count in counts if count]
    if max(there) < UNEVEN * min(there):
        return None
    return f"the largest class has {counted(max(there), 'clip')} and the smallest {min(there)}: each counts the same"
