"""Maps the labels of a list to class numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from mar_edge.datasets.label_likeness import doubts, nearest
from mar_edge.datasets.list_file import Row
from mar_edge.printable import printable

MAX_CLASSES = 100_000
"""A larger class number is treated as a mistake, for instance an identifier."""

Problem = Callable[[int, str], None]
"""Called with a line's number and what is wrong there; 0 for a folder."""


def number_classes(
    rows: Sequence[Row], known: Sequence[str] | None, tell: Problem
) -> tuple[tuple[str, ...], list[int | None]]:
    """Return the class names and every row's class number; None for a row without one.

    Args:
        rows: of a list.
        known: the classes in order; by default the labels, sorted, or, where all are numbers, 0 to the largest.
        tell: called with the line of each label that is unknown or contains control characters.
    """
    odd = _with_control_characters(rows, tell)
    by_number = _are_numbers(rows)
    if known is None and by_number:
        numbers = [_class_number(row, MAX_CLASSES, tell) for row in rows]
        return tuple(map(str, range(1 + max((n for n in numbers if n is not None), default=-1)))), numbers
    names = tuple(sorted({row.label for row in rows} - odd)) if known is None else tuple(known)
    places = {name: place for place, name in enumerate(names)}
    out: list[int | None] = []
    for row in rows:
        place = places.get(row.label)
        if row.label in odd:
            out.append(None)
            continue
        if place is None and by_number:
            place = _class_number(row, len(names), tell)
        elif place is None:
            near = nearest(row.label, names)
            hint = f"did you mean '{near}'?" if near is not None else f"the labels are {some(names)}"
            tell(row.line, f"label '{row.label}' of {row.name} is not one of the {len(names)} known labels; {hint}")
        out.append(place)
    return names, out


def _with_control_characters(rows: Sequence[Row], tell: Problem) -> set[str]:
    """Return the labels that are not plain text; each is told once, with the first line that has it."""
    found = {row.label: row for row in reversed(rows) if printable(row.label) != row.label}
    for label, row in found.items():
        tell(row.line, f"label '{label}' of {row.name} contains control characters; rename it")
    return set(found)


def _are_numbers(rows: Sequence[Row]) -> bool:
    return all(re.fullmatch(r"[+-]?\d+", row.label, re.ASCII) for row in rows)


def label_doubts(rows: Sequence[Row], known: Sequence[str] | None) -> tuple[str, ...]:
    """Return sentences on labels of a list that look like mistakes."""
    counts = Counter(row.label for row in rows)
    numbers = _are_numbers(rows) and all(len(label) < 10 for label in counts) and not counts.keys() & set(known or ())
    return tuple(doubts(counts, numbers=numbers))


def _class_number(row: Row, classes: int, tell: Problem) -> int | None:
    # the length first: Python refuses to read numbers of thousands of digits
    number = int(row.label) if len(row.label) < 10 else MAX_CLASSES
    if 0 <= number < classes:
        return number
    tell(row.line, f"label {row.label[:40]} of {row.name} is not a class number from 0 to {classes - 1}")
    return None


def some(names: Sequence[str]) -> str:
    """Name the first ten and count the others, for a sentence."""
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
