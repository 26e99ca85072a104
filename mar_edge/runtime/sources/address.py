"""The options of a source's address, as in `camera:0?size=1280x720&fps=30`, and how mistakes in them are reported."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from urllib.parse import unquote

from mar_edge.errors import SourceError
from mar_edge.runtime.video.limits import why_too_large

# a '?' is also a wildcard of a pattern, so only `?key=...` at the end begins options
_OPTIONS = re.compile(r"(.*)\?([A-Za-z][\w-]*=[^?]*)", re.DOTALL)
_SIZE = re.compile(r"(\d{1,6})[xX](\d{1,6})", re.ASCII)
MAX_RATE_FPS = 1000.0


def split_options(text: str) -> tuple[str, dict[str, str]]:
    """Return what an address names, and its options; none if it has none.

    Raises:
        SourceError: if an option is given twice.
    """
    match = _OPTIONS.fullmatch(text)
    if match is None:
        return text, {}
    options: dict[str, str] = {}
    for part in filter(None, match[2].split("&")):
        key, _, value = part.partition("=")
        if key in options:
            raise invalid(f"{match[1]}: option {key} is given twice")
        options[key] = unquote(value)
    return match[1], options


def check_options(name: str, options: dict[str, str], known: Sequence[str]) -> None:
    """Check the keys of options.

    Raises:
        SourceError: if one is unknown; the message has the nearest known one and the list.
    """
    for key, value in options.items():
        if key not in known:
            listed = f"its options are {', '.join(known)}" if known else "it has no options"
            raise invalid(f"{name} has no option '{key}'{did_you_mean(key, known)}; {listed}")
        if not value:
            raise invalid(f"{name}: option {key} has no value")


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Return `, did you mean 'fps'?` for the nearest known word; nothing if none is near."""
    near = difflib.get_close_matches(word.lower(), known, n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""


def parse_size(name: str, text: str) -> tuple[int, int]:
    """Return (width, height) in pixels of `1280x720`.

    Raises:
        SourceError: if it is something else, or too large.
    """
    match = _SIZE.fullmatch(text)
    if match is None or not (int(match[1]) and int(match[2])):
        raise invalid(f"{name}: size is '{text}'; write width x height in pixels, for instance size=1280x720")
    size_px = int(match[1]), int(match[2])
    if why := why_too_large(*size_px):
        raise invalid(f"{name} {why.partition('. ')[0]}")
    return size_px


def parse_rate(name: str, text: str) -> float:
    """Return frames per second of `30`, `29.97` or `30000/1001`.

    Raises:
        SourceError: if it is something else, or not between 0 and 1000.
    """
    over, slash, under = text.partition("/")
    try:
        rate_fps = float(over) / float(under) if slash else float(over)
    except (ValueError, ZeroDivisionError):
        rate_fps = math.nan
    if not 0 < rate_fps <= MAX_RATE_FPS:
        raise invalid(
            f"{name}: fps is '{text}'; write frames per second from above 0 to {MAX_RATE_FPS:g}, for instance fps=30"
        )
    return rate_fps


def invalid(message: str) -> SourceError:
    """Return the error for a mistake in what was asked for, which no later attempt mends."""
    return SourceError(message, retry=False)
