"""Reads every video of some lists to the end and reports what would impair training or evaluation."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mar_edge.counting import counted, counted_of
from mar_edge.datasets.class_numbers import some
from mar_edge.datasets.clip_reader import MIN_FRAMES, judge
from mar_edge.datasets.groups import shared_groups
from mar_edge.datasets.video_facts import Facts, read_facts
from mar_edge.datasets.video_list import UNLABELLED, Video, VideoList, read_video_list
from mar_edge.errors import DataError
from mar_edge.reporting import Progress, no_progress
from mar_edge.runtime.video.listing import list_videos
from mar_edge.runtime.video.reader import tells_damage

CLIP_FRAMES = 16
"""A shorter video fills a clip of most models only with repeated frames."""

Severity = Literal["error", "warning"]

KINDS: dict[str, str] = {
    "list": "bad lines of a list",
    "folder": "folders that cannot be used",
    "broken": "broken files",
    "short": "too short files",
    "leak": "files in two splits",
    "two_labels": "files with two labels",
    "one_class": "splits of one class only",
    "group": "groups in two splits",
    "damaged": "damaged files, usable",
    "clock": "files whose times were repaired, or that change within",
    "brief": "files shorter than a clip",
    "duplicate": "duplicates within a split",
    "no_videos": "classes without videos",
    "labels": "labels that look like mistakes",
    "left_out": "files and folders left out",
}
"""Kinds of problems, in the order they are reported."""


@dataclass(frozen=True)
class Problem:
    """A problem of a video, a line or a split.

    Attributes:
        severity: an error makes the data unusable.
        kind: one of `KINDS`.
        split: the list or folder.
        line: of the list; 0 if there is none.
        path: the file; empty if the problem is not about a single file.
        message: a sentence that names the file as it is listed.
    """

    severity: Severity
    kind: str
    split: str
    line: int
    path: str
    message: str

    def to_json(self) -> dict[str, Any]:
        """Return the record for JSON lines."""
        return {"type": "problem", **asdict(self)}


@dataclass(frozen=True)
class Split:
    """A checked list: its name, its videos, what each contains, and which can be used."""

    name: str
    videos: VideoList
    facts: tuple[Facts, ...]
    usable: tuple[bool, ...]

    def values(self, name: str) -> list[Any]:
        """Return one of the facts of every usable video."""
        return [getattr(facts, name) for facts, usable in zip(self.facts, self.usable, strict=True) if usable]

    def counts(self) -> dict[str, int]:
        """Return how many usable videos every class has."""
        kept = [video for video, usable in zip(self.videos.videos, self.usable, strict=True) if usable]
        return self.videos.keep(kept).counts()

    def to_json(self) -> dict[str, Any]:
        """Return the record for JSON lines."""
        durations_s = self.values("duration_s")
        return {
            "type": "split",
            "split": self.name,
            "videos": len(self.facts),
            "usable": sum(self.usable),
            "classes": self.counts(),
            "total_s": round(sum(durations_s), 3),
            "shortest_s": round(min(durations_s), 3) if durations_s else None,
            "median_s": round(statistics.median(durations_s), 3) if durations_s else None,
            "longest_s": round(max(durations_s), 3) if durations_s else None,
        }

    def video_records(self) -> Iterator[dict[str, Any]]:
        """Yield the record of every video for JSON lines."""
        for video, facts, usable in zip(self.videos.videos, self.facts, self.usable, strict=True):
            yield {
                "type": "video",
                "split": self.name,
                "line": video.line,
                "path": str(video.path),
                "label": None if video.label == UNLABELLED else self.videos.labels[video.label],
                "usable": usable,
                **asdict(facts),
            }


def check_videos(
    sources: Sequence[Path],
    *,
    root: Path | None = None,
    labels: Sequence[str] | None = None,
    min_frames: int = MIN_FRAMES,
    group: str | None = None,
    progress: Progress = no_progress,
) -> tuple[list[Split], list[Problem]]:
    """Decode every video of some lists on all cores.

    Args:
        sources: lists or folders, as for `read_video_list`; the first is the training set, whose labels the others
            must use. A folder of videos without class folders has no labels.
        root: what relative paths start from; by default the folder of each list.
        labels: the known classes; by default those of the first list.
        min_frames: fewer make a video unusable.
        group: which clips belong together, see `find_groups`.
        progress: called with the current step, the amount done, and the total.

    Raises:
        DataError: if a list cannot be read at all, or lacks groups as `group` states them.
        OptionError: if `group` is not possible.
    """
    problems: list[Problem] = []
    lists: list[VideoList] = []
    for source in sources:
        videos = _read(source, root, labels, problems, progress)
        labels = labels or videos.labels or None
        lists.append(videos)
    named = [(str(videos.source), videos) for videos in lists]
    return _check(named, problems, min_frames, group, progress), _sorted(problems)


def check_lists(
    lists: Sequence[tuple[str, VideoList]],
    *,
    min_frames: int = MIN_FRAMES,
    group: str | None = None,
    progress: Progress = no_progress,
) -> tuple[list[Split], list[Problem]]:
    """Decode every video of lists that were read, such as those of a recipe; see `check_videos`.

    Args:
        lists: each with a name, the training set first.
        min_frames: see `check_videos`.
        group: see `check_videos`.
        progress: see `check_videos`.

    Raises:
        DataError: see `check_videos`.
        OptionError: see `check_videos`.
    """
    problems: list[Problem] = []
    for name, videos in lists:
        problems += [Problem("warning", "labels", name, 0, "", doubt) for doubt in videos.doubts]
        problems += _left_out(name, videos)
    return _check(lists, problems, min_frames, group, progress), _sorted(problems)


def _check(
    lists: Sequence[tuple[str, VideoList]],
    problems: list[Problem],
    min_frames: int,
    group: str | None,
    progress: Progress,
) -> list[Split]:
    problems += _groups_in_two_splits(lists, group)
    facts = read_facts([video.path for _, videos in lists for video in videos.videos], progress)
    splits = []
    for name, videos in lists:
        own, facts = facts[: len(videos.videos)], facts[len(videos.videos) :]
        splits.append(_judge(name, videos, own, min_frames, problems))
    _find_duplicates(splits, problems)
    for place, split in enumerate(splits):
        _check_classes(split, problems, training=place == 0)
    return splits


def _sorted(problems: list[Problem]) -> list[Problem]:
    order = list(KINDS)
    return sorted(problems, key=lambda problem: (problem.severity, order.index(problem.kind)))


def _groups_in_two_splits(lists: Sequence[tuple[str, VideoList]], group: str | None) -> Iterator[Problem]:
    if len(lists) < 2:
        return
    try:
        found = shared_groups([videos for _, videos in lists], group)
    except DataError as error:
        if group is not None:
            raise
        yield Problem("warning", "group", lists[0][0], 0, "", str(error))  # a column that was not asked for
        return
    for shared in found:
        said = f"{shared.said(Path(lists[shared.before][0]).name)}; if clips are independent: --group none"
        yield Problem("warning", "group", lists[shared.place][0], 0, "", said)


def _read(
    source: Path, root: Path | None, labels: Sequence[str] | None, problems: list[Problem], progress: Progress
) -> VideoList:
    found = list_videos(source, progress=progress).videos if source.is_dir() else ()
    plain = bool(found) and all(path.parent == source for path in found)
    split = str(source)

    def tell(line: int, problem: str) -> None:
        problems.append(Problem("error", "list" if line else "folder", split, line, "", problem))

    videos = read_video_list(source, root=root, labels=labels, labelled=not plain, on_problem=tell, progress=progress)
    problems += [Problem("warning", "labels", split, 0, "", doubt) for doubt in videos.doubts]
    problems += _left_out(split, videos)
    return videos


def _left_out(split: str, videos: VideoList) -> Iterator[Problem]:
    for path, reason, _ in videos.left_out:
        named = f"{path.relative_to(videos.source).as_posix()} {reason}"
        yield Problem("warning", "left_out", split, 0, str(path), named)


def _judge(name: str, videos: VideoList, facts: Sequence[Facts], min_frames: int, problems: list[Problem]) -> Split:
    """Report which videos can be used."""
    usable = []
    for video, fact in zip(videos.videos, facts, strict=True):

        def tell(severity: Severity, kind: str, message: str, video: Video = video) -> None:
            named = message.replace(str(video.path), video.name)
            problems.append(Problem(severity, kind, name, video.line, str(video.path), named))

        reason = fact.error or judge(video.path, fact.frames, fact.announced, min_frames)
        usable.append(reason is None)
        if reason is not None:
            tell("error", "short" if fact.error is None and "too short" in reason else "broken", reason)
            continue
        for warning in fact.warnings:
            if not tells_damage(warning, video.path):
                tell("warning", "clock", f"{video.name}: {warning.removeprefix(f'{video.path.name}: ')}")
        damage = [warning for warning in fact.warnings if tells_damage(warning, video.path)]
        told = [warning.removeprefix(f"{video.path.name}: ") for warning in damage[:2]]
        if fact.frames < fact.announced:
            told.append(f"{counted_of(fact.frames, fact.announced, 'frame')} can be read")
        if told:
            tell("warning", "damaged", f"{video.name}: {'; '.join(told)}")
        if fact.frames < max(CLIP_FRAMES, min_frames):
            tell("warning", "brief", f"{video.name} has only {counted(fact.frames, 'frame')} ({fact.duration_s:.2f} s)")
    return Split(name, videos, tuple(facts), tuple(usable))


class _Place(NamedTuple):
    split: Split
    video: Video

    def __str__(self) -> str:
        name = self.split.videos.source.name
        return f"{name}:{self.video.line} {self.video.name}" if self.video.line else f"{name}/{self.video.name}"


def _find_duplicates(splits: Sequence[Split], problems: list[Problem]) -> None:
    """Report files that are listed more than once, under one path or as copies."""
    groups: dict[str, list[_Place]] = defaultdict(list)
    for split in splits:
        for video, facts, usable in zip(split.videos.videos, split.facts, split.usable, strict=True):
            if usable:
                groups[facts.sha256 or str(video.path.resolve())].append(_Place(split, video))
    for first, *others in groups.values():
        for other in others:
            same_file = other.video.path.resolve() == first.video.path.resolve()
            how = "is the same file as" if same_file else "has the same bytes as"
            named = [
                place.split.videos.labels[place.video.label] for place in (first, other) if place.split.videos.labels
            ]
            if len(set(named)) > 1:
                severity: Severity = "error"
                kind, what = "two_labels", f"{how} {first}, but is '{named[1]}', not '{named[0]}'"
            elif other.split is not first.split:
                severity, kind, what = "error", "leak", f"{how} {first}"
            else:
                severity, kind, what = "warning", "duplicate", f"{how} {first}"
            video = other.video
            problems.append(
                Problem(severity, kind, other.split.name, video.line, str(video.path), f"{video.name} {what}")
            )


def _check_classes(split: Split, problems: list[Problem], *, training: bool) -> None:
    """Report classes that cannot be learnt or evaluated."""
    counts = split.counts()
    source = split.name
    if not counts:
        return
    listed = split.videos.counts()
    kept = [label for label, count in counts.items() if count]
    if len(kept) < 2:
        severity: Severity = "error" if training else "warning"
        only = f"only the class '{kept[0]}' has videos that can be used" if kept else "no video can be used"
        problems.append(Problem(severity, "one_class", source, 0, "", f"{only}; a classifier needs two classes"))
    for label in (label for label, count in listed.items() if count and not counts[label]):
        lost = f"none of {counted(listed[label], 'video')} of class '{label}' can be used"
        problems.append(Problem("error", "no_videos", source, 0, "", lost))
    if never := [label for label, count in listed.items() if not count]:
        names = f"class '{never[0]}' has" if len(never) == 1 else f"{counted(len(never), 'class', 'has', 'have')}"
        which = f": {some(never)}" if len(never) > 1 else ""
        problems.append(Problem("warning", "no_videos", source, 0, "", f"{names} no video{which}"))


def require_usable(problems: Sequence[Problem]) -> None:
    """Reject data with errors.

    Raises:
        DataError: counting them by kind.
    """
    kinds = Counter(problem.kind for problem in problems if problem.severity == "error")
    if not kinds:
        return
    told = ", ".join(f"{text}: {kinds[kind]}" for kind, text in KINDS.items() if kinds[kind])
    hint = (
        "; data.skip_broken=true trains without broken and too short files" if set(kinds) <= {"broken", "short"} else ""
    )
    raise DataError(f"the data cannot be used in this state ({told}){hint}")
