"""Reads JSON that others wrote: what parses is plain, bounded data that can be hashed, compared and written again."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

MAX_DEPTH = 64
"""Deepest nesting of lists and objects; deeper JSON overflows the stack of whatever handles it."""

MAX_INTEGER = 2**64
"""Integers up to this magnitude are read; no library that receives one accepts more."""


def parse_json(text: str | bytes | bytearray) -> Any:
    """Parse JSON text from a file.

    Args:
        text: text, or bytes in UTF-8; a byte order mark is skipped.

    Returns:
        Dicts, lists, strings, numbers, booleans and None.

    Raises:
        ValueError: if it is not JSON in UTF-8, repeats a key, is nested deeper than `MAX_DEPTH`, or has a number that is NaN,
            infinite or beyond 64 bits, or text that cannot be encoded (a lone surrogate).
    """
    if not isinstance(text, str):
        text = bytes(text).decode("utf-8")
    text = text.removeprefix("\ufeff")
    try:
        values = json.loads(
            text, object_pairs_hook=_distinct, parse_constant=_constant, parse_float=_float, parse_int=_int
        )
    except RecursionError:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels") from None
    check_plain(values)
    return values


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {ascii(twice)[:80]} occurs twice")
    return values


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _int(text: str) -> int:
    if len(text) > 20 or abs(value := int(text)) >= MAX_INTEGER:
        raise ValueError(f"the number {text[:20]}... is beyond 64 bits")
    return value


def check_plain(values: Any) -> None:
    """Check what a parser returned, level by level.

    Raises:
        ValueError: if it is nested deeper than `MAX_DEPTH`, or has an integer beyond 64 bits or text that cannot be encoded.
    """
    level = [values]
    for _ in range(MAX_DEPTH):
        if not level:
            return
        keys = [key for one in level if isinstance(one, dict) for key in one]
        for one in (*level, *keys):
            _check_one(one)
        level = [
            inner
            for one in level
            if isinstance(one, (dict, list))
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
    if level:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")


def _check_one(value: object) -> None:
    if isinstance(value, int) and abs(value) >= MAX_INTEGER:
        raise ValueError("it has a number beyond 64 bits")
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("it has text that cannot be encoded in UTF-8 (a lone surrogate)") from None
