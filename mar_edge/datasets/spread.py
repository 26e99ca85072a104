"""Takes some of a long list as a sample of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """Return at most so many items, evenly spread over the list and in its order."""
    count = min(most, len(items))
    return [items[place * len(items) // count] for place in range(count)]
