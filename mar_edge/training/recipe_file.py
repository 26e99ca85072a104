"""Reads a recipe's YAML and the `key=value` pairs of the command line, and records the place of every value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mar_edge.errors import RecipeError
from mar_edge.files.yaml_file import Keys, YamlFile, read_yaml
from mar_edge.files.yaml_text import parse_yaml


@dataclass(frozen=True)
class RecipeFile(YamlFile):
    """A recipe as written, with its overrides applied.

    Attributes:
        overrides: as typed, in order; in `places`, they stand for the file's line.
    """

    overrides: tuple[str, ...] = ()


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> RecipeFile:
    """Read a recipe and apply overrides.

    Args:
        path: the YAML file.
        overrides: `key.key=value`, the values in YAML.

    Raises:
        RecipeError: if the file cannot be read or is not a mapping, a key occurs twice, or an override is invalid.
    """
    file = read_yaml(path, "recipe", RecipeError)
    if file.repeated:
        raise RecipeError(
            "; ".join(f"{file.place(keys)}: the key '{'.'.join(keys)}' {problem}" for keys, problem in file.repeated)
        )
    for override in overrides:
        _apply(file.values, file.places, override)
    return RecipeFile(file.path, file.sha256, file.values, file.places, overrides=tuple(overrides))


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
