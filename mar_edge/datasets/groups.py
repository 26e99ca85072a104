"""Finds which clips belong together, because they show one person, scene or recording: a split must not part them."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from mar_edge.counting import counted
from mar_edge.datasets.class_numbers import some
from mar_edge.datasets.group_names import expression, rules, without_shared_folders
from mar_edge.datasets.video_list import UNLABELLED, VideoList
from mar_edge.errors import DataError, OptionError
from mar_edge.printable import printable

NONE = "none"
"""Value of `--group` that says that clips are independent of each other."""

COLUMNS = (
    "group", "group_id", "subject", "subject_id", "person", "person_id", "participant", "actor", "performer", "signer",
    "user", "scene", "scene_id", "site", "location", "session", "recording", "source", "source_video", "source_id",
    "video", "video_id", "youtube_id",
)  # fmt: skip
"""Columns of a list that state the group, the first one that is there and tells clips apart."""

MIN_SHARE = 0.5
"""A rule on names is taken if at least this share of them shows a group; each other clip is a group of its own."""


@dataclass(frozen=True)
class Grouping:
    """Which clips belong together.

    Attributes:
        name: what a group is, such as `person`, or the column; `none` where clips are independent.
        rule: how they were found, after "by".
        said: sentences on the rule and the number of groups, with the next step.
        groups: the group of every video, in the list's order; where clips are independent, each has its own.
    """

    name: str
    rule: str
    said: str
    groups: tuple[str, ...]

    @property
    def independent(self) -> bool:
        """Whether no clips belong together."""
        return self.name == NONE


def find_groups(videos: VideoList, rule: str | None = None) -> Grouping:
    """Find which clips of a list belong together.

    Args:
        videos: the list.
        rule: the column of the list that states the group; or a regular expression, searched in the paths as listed, whose
            groups (or else the match) are the clip's group; or `none`. By default a column with a usual name, or else what
            the file names show.

    Raises:
        DataError: if a video has no value in the column, or no match.
        OptionError: if the rule is neither a column, nor an expression that matches any name.
    """
    columns = set.intersection(*(set(video.columns) for video in videos.videos)) if videos.videos else set()
    if rule == NONE:
        return _independent(videos, "Clips are taken as independent of each other, as --group none says.")
    if rule is not None and rule.lower() in columns:
        return _by_column(videos, rule.lower())
    if rule is not None:
        return _by_expression(videos, rule, columns)
    for name in COLUMNS:
        if name in columns and (name == COLUMNS[0] or _tells_apart([video.columns[name] for video in videos.videos])):
            return _by_column(videos, name)
    return _by_names(videos)


class SharedGroups(NamedTuple):
    """Groups that lie in two splits.

    Attributes:
        before, place: of the two lists.
        rule: how the groups were found, after "by".
        groups: their names.
        clips: number of clips in the later list.
    """

    before: int
    place: int
    rule: str
    groups: tuple[str, ...]
    clips: int

    def said(self, before: str) -> str:
        """Return what it means, with the next step.

        Args:
            before: name of the earlier list.
        """
        groups = f"{counted(len(self.groups), 'group')}, {some(self.groups)}, by {self.rule}"
        return (
            f"{counted(self.clips, 'clip', 'is', 'are')} of groups that {before} has too ({groups}): figures from them are too good. "
            "Split by groups with mar-edge data split"
        )


def shared_groups(lists: Sequence[VideoList], rule: str | None = None) -> list[SharedGroups]:
    """Find groups that lie in two splits.

    Args:
        lists: the splits, the training set first.
        rule: see `find_groups`.

    Returns:
        For every list with groups of an earlier one, these groups.

    Raises:
        DataError: see `find_groups`.
        OptionError: see `find_groups`.
    """
    videos = tuple(video for one in lists for video in one.videos)
    # labels of the first list, whose classes the others have
    grouping = find_groups(VideoList(lists[0].source, videos, lists[0].labels, ""), rule)
    places = [place for place, one in enumerate(lists) for _ in one.videos]
    first: dict[str, int] = {}
    shared: dict[tuple[int, int], Counter[str]] = defaultdict(Counter)
    for place, group in zip(places, grouping.groups, strict=True):
        if (before := first.setdefault(group, place)) != place and not grouping.independent:
            shared[before, place][group] += 1
    return [
        SharedGroups(before, place, grouping.rule, tuple(clips), clips.total())
        for (before, place), clips in shared.items()
    ]


def _by_column(videos: VideoList, name: str) -> Grouping:
    empty = [video for video in videos.videos if not video.columns.get(name)]
    if empty:
        count = counted(len(empty), "video", "has", "have")
        raise DataError(
            videos.say(empty[0], f"{count} no value in the column '{name}', the first one is {empty[0].name}. ")
            + "Fill the column in, or choose the groups with --group COLUMN, REGEX or none"
        )
    groups = tuple(video.columns[name] for video in videos.videos)
    return _grouping(name, f"the column '{printable(name)}'", groups)


def _by_expression(videos: VideoList, rule: str, columns: Iterable[str]) -> Grouping:
    there = f"the list's other columns are {', '.join(sorted(columns))}" if columns else "there are no other columns"
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise OptionError(f"--group: '{rule}' is no column ({there}), and no regular expression: {error}") from None
    read = expression(pattern)
    groups = [read(video.name, "") for video in videos.videos]
    missing = [video for video, group in zip(videos.videos, groups, strict=True) if not group]
    example = videos.videos[0].name
    if len(missing) == len(groups):
        raise OptionError(
            f"--group: '{rule}' is no column ({there}), and as a regular expression it is found in none of "
            f"{counted(len(groups), 'name')} like '{example}'"
        )
    if missing:
        count = counted(len(missing), "name")
        raise DataError(f"--group: '{rule}' is not found in {count}, the first one is '{missing[0].name}'")
    return _grouping("group", f"'{printable(rule)}' in the names", groups)


def _by_names(videos: VideoList) -> Grouping:
    """Return the groups of the first rule that the names follow; a rule with one group only if it is sure and the only one."""
    names = without_shared_folders([video.name for video in videos.videos])
    labels = [videos.labels[video.label] if video.label != UNLABELLED else "" for video in videos.videos]
    single: Grouping | None = None
    doubt = ""
    for rule in rules():
        if single is not None and rule.name == single.name:
            continue  # names already called them one; a weaker rule for the same does not know better
        found = [rule.reads(name, label) for name, label in zip(names, labels, strict=True)]
        shown = [group for group in found if group]
        if len(shown) < MIN_SHARE * len(found) or len(set(shown)) == len(shown):
            continue
        if not rule.sure and (reason := _doubt(found, labels)):
            doubt = doubt or reason
            continue
        example = next(place for place, group in enumerate(found) if group)
        says = f"{rule.says}, such as {printable(found[example])} of {printable(videos.videos[example].name)}"
        own = [group or video.name for group, video in zip(found, videos.videos, strict=True)]
        more = ""
        if alone := len(found) - len(shown):
            more = f" {counted(alone, 'name', 'shows', 'show')} none: each of these clips is a group of its own."
        grouping = _grouping(rule.name, says, own, f"{more} Other groups: --group COLUMN, REGEX or none.")
        if len(set(own)) > 1:
            return grouping if single is None else replace(grouping, said=f"{grouping.said} {_of_one(single)}")
        single = single or grouping
    return single or _independent(
        videos,
        f"Neither names nor columns show groups, so clips are taken as independent{doubt}. If several are of one person, "
        "scene or recording, figures will be too good: name it in a column 'group', or with --group REGEX.",
    )


def _of_one(grouping: Grouping) -> str:
    return (
        f"All clips are of one {grouping.name} ({printable(grouping.groups[0])}), so figures say nothing about others."
    )


def _doubt(groups: Sequence[str], labels: Sequence[str]) -> str | None:
    """Return why what names seem to show is probably no group; None if it is one."""
    classes: dict[str, set[str]] = defaultdict(set)
    of_class: dict[str, set[str]] = defaultdict(set)
    for group, label in zip(groups, labels, strict=True):
        if group:
            classes[group].add(label)
            of_class[label].add(group)
    one = printable(next(iter(classes)))
    if len(classes) == 1:
        return f" ('{one}' is in all names)"
    if all(len(there) == 1 for there in (*classes.values(), *of_class.values())):
        return f" ('{one}' and the like seem to stand for the class)"
    words = [group for group in classes if not any(character.isdigit() for character in group)]
    spanning = sum(len(classes[group]) > 1 for group in words)
    if len(words) > len(classes) / 2 and len(of_class) > 1 and 2 * spanning < len(words):
        return f" ('{one}' and the like may be kinds of a class)"
    return None


def _tells_apart(values: Sequence[str]) -> bool:
    """Return whether a column has several values, some of them several times."""
    return 1 < len(set(values)) < len(values)


def _grouping(name: str, rule: str, groups: Sequence[str], more: str = "") -> Grouping:
    return Grouping(name, rule, f"Groups: {len(set(groups))}, by {rule}.{more}", tuple(groups))


def _independent(videos: VideoList, said: str) -> Grouping:
    return Grouping(NONE, NONE, said, tuple(video.name for video in videos.videos))
