"""Rules that read from the names of clips which ones belong together: one person, scene or recording."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import PurePosixPath
from typing import NamedTuple

from mar_edge.datasets.class_folders import SPLITS

Reading = Callable[[str, str], str]
"""Returns the group that a name and a label show; empty for none."""


class Rule(NamedTuple):
    """A rule.

    Attributes:
        name: a noun for the groups.
        says: how the names show it, for a sentence that begins with "by".
        reads: the rule itself.
        sure: whether the names call it so. What is only inferred from numbers may be a class instead.
    """

    name: str
    says: str
    reads: Reading
    sure: bool


_WORDS = (
    ("person", "subject|subj|sub|person|participant|actor|performer|signer|speaker|user"),
    ("scene", "scene|scn|site|location|loc|room"),
    ("group", "group|grp"),
    ("recording", "recording|rec|session|sess|source|src|video|vid|movie|film"),
)
"""Words before a number, from what differs most between clips to what differs least: other people say most about a model."""

_LETTERS = (("person", "p"), ("group", "s"), ("group", "g"), ("recording", "v"))
"""Letters directly before a number, as in NTU RGB+D (P001), UCF101 (g01) and many others."""

_YOUTUBE = re.compile(r"([\w-]{11})_\d{1,6}(?:_\d{1,6})?")
"""Names of clips of Kinetics and others: the video's id, and where the clip lies in it."""

_RECORDED = re.compile(r"(.+)_(\d{2,})_(\d{3,})\.mp4", re.ASCII)
"""Names of clips of `mar-edge record`: the label without digits, the recording, and the clip's number in it."""

_COUNTER = re.compile(r"[ ._-]*\d+$")
_JOINTS = re.compile(r"[ ._-]+")


def rules() -> Iterator[Rule]:
    """Yield the rules, the most telling one first. They read what `without_shared_folders` returns."""
    for kind, words in _WORDS:
        reads = _numbered(words, "[ ._-]?", at_end=kind != "recording")
        yield Rule(kind, f"the {kind}'s number in the names", reads, sure=True)
    yield Rule("recording", "the recording's number in the names of mar-edge record", _recorded, sure=True)
    for kind, letter in _LETTERS:
        reads = _numbered(letter, "", at_end=kind == "person")
        yield Rule(kind, f"the number after '{letter}' in the names", reads, sure=False)
    yield Rule("source", "the id of the source at the start of the names", _youtube, sure=True)
    yield Rule("folder", "the folders below the classes", _folders, sure=False)
    yield Rule("recording", "the names without the class and the last number", _without_counters(1), sure=False)
    yield Rule("recording", "the names without the class and the last two numbers", _without_counters(2), sure=False)


def without_shared_folders(names: Sequence[str]) -> list[str]:
    """Return paths without the folders that all of them begin with, which tell no clips apart."""
    parents = [PurePosixPath(name).parent.parts for name in names]
    first = parents[0] if parents else ()
    shared = 0
    while all(shared < len(parts) and parts[shared] == first[shared] for parts in parents):
        shared += 1
        if shared == len(first):
            break
    return [str(PurePosixPath(*PurePosixPath(name).parts[shared:])) for name in names]


def expression(pattern: re.Pattern[str]) -> Reading:
    """Return the rule of a regular expression: what its groups match, or else all of it, anywhere in the path."""

    def read(name: str, label: str) -> str:
        found = pattern.search(name)
        if found is None:
            return ""
        return "_".join(part for part in found.groups() if part) if pattern.groups else found[0]

    return read


def _numbered(words: str, joint: str, *, at_end: bool) -> Reading:
    """Return the rule of a word with a number; where it ends a name, as in `video_12.mp4`, it may count the clips."""
    pattern = re.compile(rf"(?<![A-Za-z])({words}){joint}(\d{{1,6}})(?!\d)", re.IGNORECASE)  # not a date

    def read(name: str, label: str) -> str:
        path = PurePosixPath(name)
        text = str(path.parent / path.stem)
        found = pattern.search(text)
        if found is None or (found.end() == len(text) and not at_end):
            return ""
        return f"{found[1]}{found[2]}".lower()

    return read


def _recorded(name: str, label: str) -> str:
    """Return the recording of a clip that `mar-edge record` made: `wave_02_001.mp4` is of 02."""
    found = _RECORDED.fullmatch(PurePosixPath(name).name)
    if found is None:
        return ""
    written, meant = (re.sub(r"[\W\d_]", "", one, flags=re.ASCII) for one in (found[1], label))
    return found[2] if written == (meant or "clip") else ""


def _youtube(name: str, label: str) -> str:
    found = _YOUTUBE.fullmatch(PurePosixPath(name).stem)
    return found[1] if found and not found[1].isupper() and not found[1].islower() else ""


def _folders(name: str, label: str) -> str:
    """Return the folders that are neither a class nor a split."""
    parts = PurePosixPath(name).parent.parts
    return "/".join(part for part in parts if part.lower() not in SPLITS and not _written(label).fullmatch(part))


def _without_counters(count: int) -> Reading:
    """Return the rule of names that end with a clip's number: `Jump_11_3.mp4` is of 11."""

    def read(name: str, label: str) -> str:
        stem = PurePosixPath(name).stem
        rest = stem
        for _ in range(count):
            rest = _COUNTER.sub("", rest)
        if rest == stem and not _written(label).search(stem):
            return ""
        return "_".join(part for part in _JOINTS.split(_written(label).sub("_", rest)) if part)

    return read


@lru_cache(maxsize=4096)
def _written(label: str) -> re.Pattern[str]:
    """Return a pattern of a class's name as file names write it; of one that is a number it never matches."""
    words = [re.escape(word) for word in re.split(r"[\W_]+", label) if word]
    if not any(character.isalpha() for character in label):
        return re.compile(r"(?!)")
    return re.compile(r"(?<![^\W\d_])" + r"[\W_]*".join(words) + r"(?![^\W\d_])", re.IGNORECASE)
