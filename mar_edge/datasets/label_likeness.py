"""Finds labels that look alike: which are probably one class, how they differ, and which known one was meant."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from mar_edge.counting import counted, form

SHOWN = 10
"""Number of groups of labels that are named; the rest is counted."""

MISSING = {"nan", "<na>", "n/a", "#n/a", "null"}
"""Placeholders for a missing label in tables, in lower case."""

_INVISIBLE = re.compile("[\u034f\u115f\u1160\u2800\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_KEPT = str.maketrans(dict.fromkeys("\t\n\r\v\f", " "))
# letters of Cyrillic and Greek that are drawn as Latin ones
_LATIN = str.maketrans(
    "АВЕЅЗІЈКМНОРСТУХаеѕіјорсухԁԛԝһΑΒΕΖΗΙΚΜΝΟΡΤΥΧονϲ",
    "ABES3IJKMHOPCTYXaesijopcyxdqwhABEZHIKMNOPTYXovc",
)
_MINUS = "−"
_QUOTES = str.maketrans({"’": "'", "‘": "'", "`": "'", "´": "'", "“": '"', "”": '"'})


def _seen(label: str) -> str:
    """Remove invisible characters."""
    label = _INVISIBLE.sub("", label.translate(_KEPT))
    return "".join(char for char in label if unicodedata.category(char) not in ("Cf", "Cc"))


def _spaced(label: str) -> str:
    return " ".join(label.split())


def _composed(label: str) -> str:
    return unicodedata.normalize("NFKC", label)


def _short_numbers(label: str) -> str:
    """Remove leading zeros from integers."""
    return re.sub(r"(?<!\d)(?<!\d[.,])0+(?=\d)", "", label)


def _joined(label: str) -> str:
    """Take separators away, except between digits and before a number, where they may be a sign."""
    label = label.translate(_QUOTES).replace(_MINUS, "-")
    parts = re.split(r"(?:(?!(?<!\w)-\d)[\s\-_.,:;/\\|‐-―·'\"])+", label)
    words = [part for part in parts if part]
    out = words[:1]
    for word in words[1:]:
        out.append(f" {word}" if out[-1][-1].isdigit() and word[0].isdigit() else word)
    return "".join(out)


_STEPS: dict[str, Callable[[str], str]] = {
    "invisible characters": _seen,
    "spaces": _spaced,
    "their Unicode form": _composed,
    "letters of another script": lambda label: label.translate(_LATIN),
    "upper and lower case": lambda label: unicodedata.normalize("NFKC", label.casefold()),
    "leading zeros": _short_numbers,
    "separators": _joined,
}
"""Possible differences, and the function that removes each; in this order."""

_ESCAPED = {"invisible characters", "their Unicode form", "letters of another script"}


def likeness(label: str, without: str | None = None) -> str:
    """Return the common form of labels that look alike.

    Args:
        label: as written.
        without: one of the differences to leave in.
    """
    for name, step in _STEPS.items():
        if name != without:
            label = step(label) or label  # of separators alone nothing is left
    return label


def nearest(label: str, known: Iterable[str]) -> str | None:
    """Return the known label that was probably meant: one that looks alike, or has a similar spelling."""
    names = list(known)
    alike = likeness(label)
    for name in names:
        if likeness(name) == alike:
            return name
    near = difflib.get_close_matches(label, names, n=1)
    if near:
        return near[0]
    spelt = {likeness(name): name for name in names}
    return next((spelt[key] for key in difflib.get_close_matches(alike, spelt, n=1)), None)


def doubts(counts: Mapping[str, int], *, numbers: bool) -> list[str]:
    """Return sentences on labels that look like mistakes.

    Args:
        counts: number of videos of every label as written.
        numbers: whether all labels are numbers, so that `7` and `07` are one class.
    """
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for label in sorted(counts):
        groups[str(int(label)) if numbers else likeness(label)].append(label)
    found = []
    alike = [group for group in groups.values() if len(group) > 1]
    for group in alike[:SHOWN]:
        named, what = _name(group, counts)
        end = (
            f"they are read as one class, {int(group[0])}"
            if numbers
            else "they are probably one class; spell them the same way"
        )
        found.append(f"labels {named} differ only in {what}: {end}")
    if len(alike) > SHOWN:
        found.append(
            f"{counted(len(alike) - SHOWN, 'more group')} of labels {form(len(alike) - SHOWN, 'looks', 'look')} alike"
        )
    if missing := [label for label in sorted(counts) if label.lower() in MISSING]:
        found.append(f"{_some(missing)}: is this a class, or does it stand for a missing label?")
    if numbers and min(map(int, counts), default=0) == 1:
        found.append("the labels are numbers that start at 1, so class 0 has no video; classes are counted from 0")
    return found


def _name(group: Sequence[str], counts: Mapping[str, int]) -> tuple[str, str]:
    """Return labels that look alike with their counts and visible differences, and how they differ."""
    needed = [name for name in _STEPS if len({likeness(label, without=name) for label in group}) > 1]
    # one difference may be removed by two of the steps
    needed = needed or [name for name, step in _STEPS.items() if len({step(label) for label in group}) == 1][:1]
    show = ascii if _ESCAPED & set(needed) else repr
    named = [f"{show(label)} ({counts[label]} video{'s' * (counts[label] != 1)})" for label in group]
    return f"{', '.join(named[:-1])} and {named[-1]}", " and ".join(needed or ["how they are written"])


def _some(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else ""
    return f"label{'s' * (len(labels) > 1)} {', '.join(map(repr, labels[:SHOWN]))}{more}"
