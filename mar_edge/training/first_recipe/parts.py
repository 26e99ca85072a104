"""Finds the clips to train with, to validate with and to test with: as they are given, or split by group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from mar_edge.counting import counted, form
from mar_edge.datasets.class_folders import SPLITS
from mar_edge.datasets.class_numbers import some
from mar_edge.datasets.copies import identities
from mar_edge.datasets.groups import find_groups, shared_groups
from mar_edge.datasets.split_advice import check_classes, check_files
from mar_edge.datasets.split_lists import write_split
from mar_edge.datasets.splits import read_clips, split
from mar_edge.datasets.video_list import VideoList, read_video_list
from mar_edge.errors import DataError, OptionError
from mar_edge.printable import typed
from mar_edge.reporting import Progress, no_progress
from mar_edge.training.first_recipe.advice import ANYWAY, classes_said, persons_as_classes, single_groups, too_few
from mar_edge.training.first_recipe.unlisted import unlisted_clips

SHARES = ((0.2, 0.2), (0.25, 0.0))
"""Validation and test, tried in this order: with few groups there is no test."""

_FOLDERS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}


@dataclass(frozen=True)
class SplitOptions:
    """How clips are split that are not yet.

    Attributes:
        group: see `find_groups`; None for what columns or names show.
        val, test: shares of the clips; None for those of `SHARES`.
        unjudged: train even if nothing can be judged; then there is no validation.
    """

    group: str | None = None
    val: float | None = None
    test: float | None = None
    unjudged: bool = False


@dataclass(frozen=True)
class Parts:
    """The clips of a recipe; each part knows the file or folder that it was read from.

    Attributes:
        train: to train with.
        val: to choose a checkpoint with; None for none.
        test: to judge with; None for none.
        said: sentences on how they were found.
        doubts: sentences on what they cannot tell.
    """

    train: VideoList
    val: VideoList | None
    test: VideoList | None
    said: tuple[str, ...]
    doubts: tuple[str, ...]


def find_parts(
    data: Path,
    options: SplitOptions,
    lists: Path,
    *,
    force: bool = False,
    instead: str = "Choose another folder",
    progress: Progress = no_progress,
) -> Parts:
    """Find the parts of somebody's clips; those that are not split yet are split by group, into lists.

    Args:
        data: a folder with train, val and test as lists or folders; a folder of class folders; or a list.
        options: how to split.
        lists: folder for the lists of a split.
        force: replace files of others that have the lists' names.
        instead: what to do if they are in the way, for the error message.
        progress: called while files are opened.

    Raises:
        DataError: with advice, if the clips cannot be used, or nothing can be judged with them.
        OptionError: if `options` ask for what is not possible.
        OutputError: if the lists cannot be written.
    """
    given = _given(data)
    if "train" in given and len(given) > 1:
        return _as_given(data, given, options, progress)
    write = partial(write_split, folder=lists, force=force, advice=instead)
    return _newly_split(given.get("train", data), options, lists, write, progress)


def _given(data: Path) -> dict[str, Path]:
    """Return the lists, or else the folders, of a data set that is split already, by name."""
    if not data.is_dir():
        return {}
    lists = {name: data / f"{name}.csv" for name in _FOLDERS if (data / f"{name}.csv").is_file()}
    if "train" in lists:
        return lists
    folders = {path.name.lower(): path for path in data.iterdir() if path.is_dir() and not path.name.startswith(".")}
    if not folders or not folders.keys() <= SPLITS:  # a class may be called train, too
        return {}
    return {name: folders[one] for name, names in _FOLDERS.items() for one in names if one in folders}


def _as_given(data: Path, given: Mapping[str, Path], options: SplitOptions, progress: Progress) -> Parts:
    if options.val is not None or options.test is not None:
        raise OptionError(
            f"{data} is split already, into {', '.join(str(path) for path in given.values())}. Leave out --val and --test, or "
            "give one list of all clips"
        )
    train = read_video_list(given["train"], progress=progress)
    check_classes(train)
    rest = {
        name: read_video_list(path, labels=train.labels, progress=progress)
        for name, path in given.items()
        if name != "train"
    }
    _check_apart({"train": train, **rest})
    counts = ", ".join(f"{name} {counted(len(one.videos), 'clip')}" for name, one in {"train": train, **rest}.items())
    said = [f"{data} is split already: {counts}.", classes_said(train)]
    doubts = [remark for part in (train, *rest.values()) for remark in part.remarks]
    doubts += [*_unlisted(data, given), *persons_as_classes(train), *_shared(train, rest, options.group)]
    if not options.unjudged and (refused := too_few(train, parts=1)):
        raise refused
    if "val" not in rest:
        rest["val"] = rest.pop("test")
        doubts.append(
            f"there is no validation list, so {rest['val'].source} chooses the best model, and figures from it flatter. "
            "Give clips of other people and places as a test list"
        )
    doubts += _unseen(train, rest)
    return Parts(train, rest["val"], rest.get("test"), tuple(said), tuple(doubts))


def _unlisted(data: Path, given: Mapping[str, Path]) -> list[str]:
    lists = [path for path in given.values() if path.is_file()]
    if not lists or not (names := unlisted_clips(data, lists)):
        return []
    return [
        f"{counted(len(names), 'clip')} of {data} {form(len(names), 'is', 'are')} in none of its lists and {form(len(names), 'is', 'are')} "
        f"not used: {some(names)}. To split all clips anew run: mar-edge data split {typed(data)}"
    ]


def _check_apart(parts: Mapping[str, VideoList]) -> None:
    """Check that no file, nor a copy of one, lies in two parts.

    Raises:
        DataError: naming the first.
    """
    placed = [(name, part, video) for name, part in parts.items() for video in part.videos]
    train = parts["train"]
    files = identities(VideoList(train.source, tuple(video for _, _, video in placed), train.labels, ""))
    first: dict[str, tuple[str, str]] = {}
    found: list[str] = []
    for (name, part, video), file in zip(placed, files, strict=True):
        before, its_name = first.setdefault(file, (name, video.name))
        if before != name:
            found.append(part.say(video, f"{video.name} of {name} is the same file as {its_name} of {before}"))
    if found:
        raise DataError(
            f"{counted(len(found), 'clip', 'lies', 'lie')} in two parts, so that a model knows by heart what judges it. {found[0]}. Remove "
            f"{form(len(found), 'it', 'them')} from one of the parts, or give one list of all clips, which is then split by group"
        )


def _shared(train: VideoList, rest: Mapping[str, VideoList], group: str | None) -> list[str]:
    parts = [train, *rest.values()]
    return [
        f"{counted(one.clips, 'clip')} of {parts[one.place].source} {form(one.clips, 'is', 'are')} of groups that "
        f"{parts[one.before].source} has, too (by {one.rule}): figures from {form(one.clips, 'it', 'them')} are too good"
        for one in shared_groups(parts, group)
    ]


def _unseen(train: VideoList, rest: Mapping[str, VideoList]) -> Iterator[str]:
    """Yield which classes a part cannot judge.

    Raises:
        DataError: if the validation has one class only.
    """
    there = [label for label, count in train.counts().items() if count]
    for name, part in rest.items():
        counts = part.counts()
        absent = [label for label in there if not counts[label]]
        if name == "val" and len(there) - len(absent) < 2:
            raise DataError(
                f"{part.source} has clips of one class only, so it cannot validate. Add clips of {some(absent)}"
            )
        if absent:
            yield f"{name} has no clip of {some(absent)}: how well {form(len(absent), 'it is', 'they are')} recognised stays unknown"


def _newly_split(
    data: Path, options: SplitOptions, lists: Path, write: partial[list[Path]], progress: Progress
) -> Parts:
    videos = read_clips(data, progress=progress)
    check_classes(videos)
    check_files(videos, identities(videos))
    grouping = find_groups(videos, options.group)
    few, refused = too_few(videos, parts=2), None
    if few is not None and not options.unjudged:
        raise few
    doubts = [*videos.remarks, *persons_as_classes(videos), *single_groups(videos, grouping)]
    for val, test in _shares(options, all_train=few is not None):
        try:
            found = split(videos, grouping, val=val, test=test)
        except DataError as error:
            refused = refused or error
            continue
        asked = {"group": options.group, "val": 100 * val, "test": 100 * test, "seed": 0}
        paths = write(found, command=asked, inputs=[data if data.is_file() else None])
        parts = {path.stem: replace(found.parts[path.stem], source=path) for path in paths}
        counts = ", ".join(f"{name} {counted(len(one.videos), 'clip')}" for name, one in parts.items())
        told = f"{data} is not split yet, so it is now, into {lists}: {counts}."
        if refused is not None:
            doubts.append(
                "there are too few groups for a test list; validation chooses the best model, so figures from it flatter"
            )
        said = (told, classes_said(videos), found.grouping.said)
        return Parts(parts["train"], parts.get("val"), parts.get("test"), said, (*doubts, *found.remarks))
    if not options.unjudged:
        assert refused is not None
        raise DataError(f"{str(refused).rstrip('.')}. {ANYWAY}")
    alone = f"all {counted(len(videos.videos), 'clip')} of {data} train and none judges, as --unjudged says."
    return Parts(videos, None, None, (alone, classes_said(videos)), tuple(doubts))


def _shares(options: SplitOptions, *, all_train: bool) -> tuple[tuple[float, float], ...]:
    """Return the shares of validation and test to try; none if all clips train and nothing else was asked for."""
    if options.val is None and options.test is None:
        return () if all_train else SHARES
    return ((SHARES[1][0] if options.val is None else options.val, options.test or 0.0),)
