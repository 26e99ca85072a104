"""Reads YAML that others wrote: what parses is plain, bounded data, without aliases that expand to billions of values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mar_edge.files.json_text import MAX_DEPTH, check_plain

MAX_VALUES = 100_000
"""Most values of a text, those of an alias counted each time."""


def parse_yaml(text: str) -> tuple[Any, Any]:
    """Parse YAML text with PyYAML's safe loader.

    Args:
        text: one document.

    Returns:
        The root node, with the place of every value, and the values; None for both if the text is empty.

    Raises:
        yaml.YAMLError: if it is not YAML.
        ValueError: if a value is invalid, too many, nested too deeply, or a number is beyond 64 bits.
    """
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is None:
            return None, None
        _count(root)
        values = yaml.safe_load(text)
    except RecursionError:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels") from None
    except (TypeError, AttributeError, KeyError) as error:  # of PyYAML, on malformed tags such as `!!int x:`
        raise ValueError(f"it has a value that does not fit its tag ({type(error).__name__})") from error
    check_plain(values)
    return root, values


def _count(root: Any) -> None:
    """Count the nodes, level by level, before any value is constructed."""
    level, seen = [root], 1
    for _ in range(MAX_DEPTH):
        below = []
        for inner in (inner for node in level for inner in _inside(node)):
            below.append(inner)
            seen += 1
            if seen > MAX_VALUES:
                raise ValueError(f"it has more than {MAX_VALUES} values, those of an alias counted each time")
        if not below:
            return
        level = below
    raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")


def _inside(node: Any) -> Iterator[Any]:
    """Yield the nodes directly below a node; those of a mapping are pairs."""
    for child in node.value if isinstance(node.value, list) else ():
        yield from child if isinstance(child, tuple) else (child,)
