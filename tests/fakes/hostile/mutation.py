"""Changes bytes, texts and plain values at random; the same generator gives the same change."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

DEEP = "[" * 200_000
NASTY_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 7, 255, 40_000, 1_000_000, 2**31, 2**32 - 1, 2**63 - 1, 2**64, -(2**63), 10**30, 10**400,
    0.0, -0.0, 0.5, 1.5, -1e-300, 1e-300, 1e300, 1e308, float("nan"), float("inf"), float("-inf"),
    "", " ", "x", "160", "1e9", "nan", "../..", "/dev/zero", "~nobody", "a\0b", "\x1b[2J", "\ud800", "\ufeff", "\u202e", "ß" * 300, "y" * 100_000,
    [], {}, [[]], [1, 2], {"a": 1}, [None] * 1000, {"": None}, {"__class__": "x"},
]  # fmt: skip
"""Values of every type that are too large, too small, not numbers, not texts, or not what is expected."""

_TEXT_TRICKS: list[Callable[[str, Random], str]] = [
    lambda text, _: "\ufeff" + text,
    lambda text, _: text + text,
    lambda text, _: DEEP + text,
    lambda text, _: '{"a":' * 100_000 + text,
    lambda text, rng: text.replace("}", ', "name": 1, "name": 2}', 1) if rng.random() < 0.5 else text.replace("1", "1" * 5000, 1),
    lambda text, _: text.replace(":", ": NaN //", 1),
    lambda text, _: text.replace("0", "1e999", 1),
    lambda text, _: text.replace('"', '"\\ud800', 2),
    lambda text, rng: text[: rng.randrange(len(text) + 1)],
    lambda text, _: "",
]  # fmt: skip


def change_bytes(data: bytes, rng: Random, *, head: int | None = None) -> bytes:
    """Change some bytes, cut, zero, repeat or remove a part.

    Args:
        data: the content of a file.
        rng: decides.
        head: change only that many bytes at the beginning.
    """
    kind = rng.randrange(8)
    if kind == 0 or not data:
        return data[: rng.randrange(len(data) + 1)]
    changed = bytearray(data)
    end = min(len(data), head or len(data))
    start = rng.randrange(max(1, end))
    length = min(end - start, rng.choice((1, 2, 4, 8, 64, 512, 4096)))
    if kind == 1:
        changed[start : start + length] = bytes(length)
    elif kind == 2:
        changed[start : start + length] = b"\xff" * length
    elif kind == 3:
        changed[start : start + length] = changed[start : start + length] * rng.randrange(2, 5)
    elif kind == 4:
        del changed[start : start + length]
    elif kind == 5:
        changed[start : start + length] = rng.randbytes(length)
    else:
        for _ in range(rng.choice((1, 3, 10, 40))):
            changed[rng.randrange(max(1, end))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return bytes(changed)


def change_value(values: Any, rng: Random) -> Any:
    """Return plain values with one to three of them replaced, removed, renamed or added."""
    changed = copy.deepcopy(values)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(changed))
        if not places:
            return changed
        holder, key = rng.choice(places)
        kind = rng.randrange(6)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[rng.choice(("evil", "", "name", "width", "\ud800", "k" * 5000))] = rng.choice(NASTY_VALUES)
        elif kind == 2 and isinstance(holder[key], (list, str)):
            holder[key] = holder[key] * rng.choice((2, 100))
        elif kind == 3 and isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
            holder[key] = holder[key] * rng.choice((-1, 0, 2, 0.5, 10, 1000, 10**9))
        else:
            holder[key] = copy.deepcopy(rng.choice(NASTY_VALUES))
    return changed


def change_text(text: str, rng: Random) -> str:
    """Return a text with a trick that parsers stumble over, or with other characters."""
    if rng.random() < 0.6:
        return rng.choice(_TEXT_TRICKS)(text, rng)
    return change_bytes(text.encode("utf-8", "surrogatepass"), rng).decode("latin-1")


def to_json(values: Any) -> str:
    """Return JSON with everything that Python's parser reads and no standard allows: NaN, infinity, lone surrogates."""
    return json.dumps(values)


def _places(values: Any) -> list[tuple[Any, Any]]:
    """Return every place of a value: what holds it, and its key."""
    keys: list[Any] = (
        list(values) if isinstance(values, dict) else list(range(len(values))) if isinstance(values, list) else []
    )
    found = [(values, key) for key in keys]
    return found + [place for key in keys[:200] for place in _places(values[key])]
