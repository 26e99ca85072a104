"""Reads a recipe's YAML and the `key=value` pairs of the command line, and records the place of every value."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from mar_edge.errors import RecipeError
from mar_edge.files.regular_file import read_limited
from mar_edge.files.yaml_text import parse_yaml

MAX_DEPTH = 20
"""Deeper nesting than any recipe has is rejected before a parser's stack overflows."""

Keys = tuple[str, ...]


@dataclass(frozen=True)
class RecipeFile:
    """A recipe as written, with its overrides applied.

    Attributes:
        path: of the file.
        sha256: of the file.
        overrides: as typed, in order.
        values: combined values of file and overrides.
        places: of every key, such as `recipe.yaml:12` or the override as typed.
    """

    path: Path
    sha256: str
    overrides: tuple[str, ...]
    values: dict[str, Any]
    places: dict[Keys, str] = field(repr=False)

    def place(self, keys: Keys) -> str:
        """Return the place of a key; for a missing one, the place of the part that lacks it."""
        while keys and keys not in self.places:
            keys = keys[:-1]
        return self.places.get(keys, str(self.path))


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> RecipeFile:
    """Read a recipe and apply overrides.

    Args:
        path: the YAML file.
        overrides: `key.key=value`, the values in YAML.

    Raises:
        RecipeError: if the file cannot be read or is not a mapping, a key occurs twice, or an override is invalid.
    """
    try:
        data = read_limited(path)
        root, values = parse_yaml(data.decode("utf-8-sig"))
    except yaml.YAMLError as error:
        raise RecipeError(f"cannot read the recipe {_not_yaml(str(path), error)}") from error
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {path}: {error.strerror}") from error
    except ValueError as error:  # not UTF-8; an invalid date or number; nested too deeply
        raise RecipeError(f"cannot read the recipe {path}: it is not YAML text ({error})") from error
    if not isinstance(values, dict) or root is None:
        raise RecipeError(f"{path} is not a recipe: expected keys and values, got {_kind(values)}")
    places: dict[Keys, str] = {}
    _note(root, (), str(path), places)
    for override in overrides:
        _apply(values, places, override)
    return RecipeFile(path, hashlib.sha256(data).hexdigest(), tuple(overrides), values, places)


def typed(path: Path) -> str:
    """Return a path as typed in a shell."""
    return shlex.quote(str(path))


def _note(node: Node, keys: Keys, source: str, places: dict[Keys, str]) -> None:
    """Record the place of every key below a node."""
    if len(keys) > MAX_DEPTH:
        raise RecipeError(f"{source}:{node.start_mark.line + 1}: nested too deeply for a recipe")
    if isinstance(node, SequenceNode):
        for index, inner in enumerate(node.value):
            place = f"{source}:{inner.start_mark.line + 1}"
            places[(*keys, str(index))] = place
            _note(inner, (*keys, str(index)), source, places)
    if not isinstance(node, MappingNode):
        return
    seen: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        name = str(key.value) if isinstance(key, ScalarNode) else "?"
        if name in seen and name != "<<":
            raise RecipeError(
                f"{source}:{line}: the key '{'.'.join((*keys, name))}' is already in line {seen[name]}; keep one of the two"
            )
        seen[name] = line
        places[(*keys, name)] = f"{source}:{line}"
        _note(value, (*keys, name), source, places)


def _apply(values: dict[str, Any], places: dict[Keys, str], override: str) -> None:
    """Set one value from the command line."""
    name, equals, text = override.partition("=")
    keys = tuple(name.split("."))
    if not equals or not all(keys) or name != name.strip():
        raise RecipeError(f"'{override}' is not an override; write key=value, for instance trainer.max_minutes=5")
    above: Any = values
    for depth, key in enumerate(keys[:-1]):
        if above.get(key) is None:
            above[key] = {}
            places.setdefault(keys[: depth + 1], override)
        above = above[key]
        if not isinstance(above, dict):
            raise RecipeError(
                f"{override}: '{name}' is not a key, because {'.'.join(keys[: depth + 1])} has a value, not keys"
            )
    try:
        _, value = parse_yaml(text)
    except (yaml.YAMLError, ValueError) as error:
        raise RecipeError(f"{override}: the value of '{name}' cannot be read as YAML: {text}") from error
    above[keys[-1]] = value
    for inner in [place for place in places if place[: len(keys)] == keys]:
        del places[inner]
    places[keys] = override


def _not_yaml(source: str, error: yaml.YAMLError) -> str:
    """Report in one line where a text is not valid YAML, and why."""
    mark = getattr(error, "problem_mark", None)
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    line = f":{mark.line + 1}" if mark is not None else ""
    return f"{source}{line}: not valid YAML: {reason}"


def _kind(value: Any) -> str:
    return {"NoneType": "nothing", "str": "a text", "list": "a list"}.get(type(value).__name__, type(value).__name__)
