"""Reads a YAML file of settings, and records the place of every key."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from mar_edge.errors import MarEdgeError
from mar_edge.files.regular_file import SMALL_BYTES, read_limited
from mar_edge.files.yaml_text import parse_yaml

MAX_DEPTH = 20
"""Deeper nesting than any settings have is rejected before a parser's stack overflows."""

Keys = tuple[str, ...]
"""Where a value is: names, and numbers within a list, as in `("streams", "0", "hop")`."""


@dataclass(frozen=True)
class YamlFile:
    """Settings as written.

    Attributes:
        path: of the file.
        sha256: of the file.
        values: of the root.
        places: of every key, such as `site.yaml:12`.
        repeated: (key, problem) for keys that occur twice in a mapping; the last one is in `values`.
    """

    path: Path
    sha256: str
    values: dict[str, Any] = field(repr=False)
    places: dict[Keys, str] = field(repr=False)
    repeated: tuple[tuple[Keys, str], ...] = ()

    def place(self, keys: Keys) -> str:
        """Return the place of a key; for a missing one, the place of the part that lacks it."""
        while keys and keys not in self.places:
            keys = keys[:-1]
        return self.places.get(keys, str(self.path))


def read_yaml(path: Path, noun: str, error: type[MarEdgeError], limit_bytes: int = SMALL_BYTES) -> YamlFile:
    """Read a file of settings.

    Args:
        path: the file.
        noun: what it contains, for messages, such as `recipe`.
        error: what is raised.
        limit_bytes: a larger file is not read.

    Raises:
        MarEdgeError: `error`, if it cannot be read, is not YAML, or is not a mapping.
    """
    places: dict[Keys, str] = {}
    try:
        data = read_limited(path, limit_bytes)
        root, values = parse_yaml(data.decode("utf-8-sig"))
    except yaml.YAMLError as cause:
        raise error(f"cannot read the {noun} {_not_yaml(str(path), cause)}") from cause
    except OSError as cause:
        raise error(f"cannot read the {noun} {path}: {cause.strerror}") from cause
    except ValueError as cause:  # not UTF-8; an invalid date or number; nested too deeply
        raise error(f"cannot read the {noun} {path}: it is not YAML text ({cause})") from cause
    if not isinstance(values, dict) or root is None:
        raise error(f"{path} is not a {noun}: expected keys and values, got {_kind(values)}")
    try:
        repeated = tuple(_note(root, (), str(path), places))
    except ValueError as cause:
        raise error(f"{cause} for a {noun}") from cause
    return YamlFile(path, hashlib.sha256(data).hexdigest(), values, places, repeated)


def _note(node: Node, keys: Keys, source: str, places: dict[Keys, str]) -> Iterator[tuple[Keys, str]]:
    """Record the place of every key below a node; yield those that occur twice."""
    if len(keys) > MAX_DEPTH:
        raise ValueError(f"{source}:{node.start_mark.line + 1}: nested too deeply")
    if isinstance(node, SequenceNode):
        for index, inner in enumerate(node.value):
            places[(*keys, str(index))] = f"{source}:{inner.start_mark.line + 1}"
            yield from _note(inner, (*keys, str(index)), source, places)
    if not isinstance(node, MappingNode):
        return
    seen: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        name = str(key.value) if isinstance(key, ScalarNode) else "?"
        places[(*keys, name)] = f"{source}:{line}"
        if name in seen and name != "<<":
            yield (*keys, name), f"is already in line {seen[name]}; keep one of the two"
        seen[name] = line
        yield from _note(value, (*keys, name), source, places)


def _not_yaml(source: str, error: yaml.YAMLError) -> str:
    """Report in one line where a text is not valid YAML, and why."""
    mark = getattr(error, "problem_mark", None)
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    line = f":{mark.line + 1}" if mark is not None else ""
    return f"{source}{line}: not valid YAML: {reason}"


def _kind(value: Any) -> str:
    return {"NoneType": "nothing", "str": "a text", "list": "a list"}.get(type(value).__name__, type(value).__name__)
