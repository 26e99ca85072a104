"""Counts with their nouns and verbs: 1 video, 2 videos; 1 video is, 2 videos are."""

from __future__ import annotations

import re


def counted(count: int, noun: str, *verb: str) -> str:
    """Return a count with its noun, as `1 video` or `1,000 videos`.

    Args:
        count: how many.
        noun: its singular; the last word is made a plural.
        verb: forms of the verb that follows, for one and for several, as `is`, `are`; none for no verb.
    """
    return " ".join([f"{count:,}", noun if count == 1 else _plural(noun), *(form(count, *verb) for _ in verb[:1])])


def counted_of(count: int, total: int, noun: str, *verb: str) -> str:
    """Return a part of a number of things, as `1 of 2 videos`.

    Args:
        count: how many.
        total: of how many.
        noun: see `counted`.
        verb: see `counted`; its form depends on `count`.
    """
    return " ".join([f"{count:,} of {counted(total, noun)}", *(form(count, *verb) for _ in verb[:1])])


def form(count: int, one: str, several: str) -> str:
    """Return the form of a verb or pronoun for a count."""
    return one if count == 1 else several


def _plural(noun: str) -> str:
    if re.search(r"(s|x|ch|sh)$", noun):
        return f"{noun}es"
    if re.search(r"[^aeiou]y$", noun):
        return f"{noun[:-1]}ies"
    return f"{noun}s"
