"""Labels that are swapped when a clip is mirrored or played backwards."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from mar_edge.errors import RecipeError

Pair = tuple[str, str]


def _each_label_once(pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
    named = [label for pair in pairs for label in sorted(set(pair))]
    twice = sorted({label for label in named if named.count(label) > 1})
    if twice:
        raise ValueError(f"a label can be swapped with one other label only; listed more than once: {', '.join(twice)}")
    return pairs


_Label = Annotated[str, Field(coerce_numbers_to_str=True)]
Swaps = Annotated[tuple[tuple[_Label, _Label], ...], AfterValidator(_each_label_once)]
"""Pairs of labels, by name; a label paired with itself stays unchanged."""

_MIRRORED = {
    "left": "right",
    "leftward": "rightward",
    "leftwards": "rightwards",
    "lefthand": "righthand",
    "clockwise": "counterclockwise",
    "cw": "ccw",
    "links": "rechts",
    "gauche": "droite",
    "izquierda": "derecha",
    "sinistra": "destra",
}
_MIRRORED |= {b: a for a, b in _MIRRORED.items()}


def swap_table(key: str, pairs: Sequence[Pair], labels: Sequence[str]) -> dict[int, int]:
    """Return class index -> class index of the labels that change.

    Args:
        key: of the recipe, for the message.
        pairs: labels to swap.
        labels: all labels in order.

    Raises:
        RecipeError: if a pair names an unknown label; the message names the nearest one.
    """
    index = {label: number for number, label in enumerate(labels)}
    problems = []
    for label in dict.fromkeys(label for pair in pairs for label in pair):
        if label not in index:
            near = difflib.get_close_matches(label, labels, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"the labels are {some(labels)}"
            problems.append(f"{key}: '{label}' is not a label of this data; {hint}")
    if problems:
        raise RecipeError("; ".join(problems))
    return {index[a]: index[b] for pair in pairs for a, b in (pair, pair[::-1])}


def directed_labels(labels: Sequence[str]) -> list[str]:
    """Return the labels that name a direction which mirroring reverses."""
    return [label for label in labels if set(_words(label)) & set(_MIRRORED)]


def mirrored_pairs(labels: Sequence[str]) -> list[Pair]:
    """Return the pairs of labels that differ in nothing but such directions."""
    spelt = {_words(label): label for label in labels}
    directed = directed_labels(labels)
    partners = {label: spelt.get(tuple(_MIRRORED.get(w, w) for w in _words(label)), label) for label in directed}
    return [(a, b) for a, b in partners.items() if a < b and b in partners]


def mirror_warning(pairs: Sequence[Pair], labels: Sequence[str]) -> str | None:
    """Report labels with a direction that mirroring reverses and that are in no pair, and the probable pairs."""
    named = {label for pair in pairs for label in pair}
    directed = directed_labels([label for label in labels if label not in named])
    if not directed:
        return None
    found = [(a, b) for a, b in mirrored_pairs(labels) if a in directed and b in directed]
    meant = ", ".join(f"[{a}, {b}]" for a, b in found)
    # the complete list if there is one: it is meant to be copied
    advice = (
        f"add to augment.flip_swaps: {meant}"
        if found
        else "name the pairs in augment.flip_swaps or set augment.flip to 0"
    )
    return (
        f"augment.flip mirrors clips of labels that name a direction, and {some(directed)} would keep their names; {advice} "
        f"([NAME, NAME] for a label that stays)"
    )


def backwards_warning(pairs: Sequence[Pair], labels: Sequence[str]) -> str | None:
    """Report labels that keep their names when a clip is played backwards, unless the recipe lists them."""
    named = {label for pair in pairs for label in pair}
    kept = [label for label in labels if label not in named]
    if not kept:
        return None
    return (
        f"augment.reverse plays clips backwards, and {some(kept)} keep their names; if one of them then shows another action, "
        f"name the pair in augment.reverse_swaps ([NAME, NAME] for a label that stays)"
    )


def some(labels: Sequence[str], most: int = 8) -> str:
    """Name some labels, and the number of the others."""
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return ", ".join(labels[:most]) + more


def _words(label: str) -> tuple[str, ...]:
    """Split `pan_left`, `PanLeft` or a sentence into lower-case words; counter-clockwise is one word."""
    words = " ".join(re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", label)).lower()
    return tuple(re.sub(r"\b(counter|anti) ?clockwise\b", "counterclockwise", words).split())
