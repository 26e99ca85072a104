"""Writes docs/reference/recipe.md, every key of a recipe with its default and meaning, from the code that reads it.

python docs/make/recipe_reference.py
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from mar_edge.files.yaml_part import Part
from mar_edge.files.yaml_problems import parts_in
from mar_edge.training.recipe import Recipe

DOCS = Path(__file__).parent.parent

HEAD = """# Every key of a recipe

Written by `python docs/make/recipe_reference.py` from the docstrings of `mar_edge/training/`; [own classes](../how-to/own-classes.md) shows how they work together.
"""


def reference() -> str:
    """Return the text of docs/reference/recipe.md."""
    return "\n".join([HEAD, *_section("", Recipe)])


def _section(path: str, part: type[Part]) -> list[str]:
    summary, meanings = _documented(part)
    kind = part.model_fields.get("kind")
    title = path.rstrip(".") or "At the top"
    if path == "data." and kind is not None:
        title += f", kind {_literal(kind)}"
    lines = [f"## {title}\n", f"{summary}\n", "| key | default | |", "|---|---|---|"]
    below: list[str] = []
    for name, field in part.model_fields.items():
        inside = parts_in(field.annotation)
        if inside:
            below += [line for inner in inside for line in _section(f"{path}{name}.", inner)]
        if name != "kind" or not field.is_required():  # the kind of data is in the title
            meaning = meanings.get(name, "see below" if inside else "")
            lines.append(f"| `{path}{name}` | {_default(field, bool(inside))} | {_escaped(meaning)} |")
    return [*lines, "", *below]


def _documented(part: type[Part]) -> tuple[str, dict[str, str]]:
    """Return the words before a class's attributes, and what it says of each."""
    words, _, attributes = inspect.cleandoc(part.__doc__ or "").partition("Attributes:")
    meanings: dict[str, str] = {}
    for entry in re.split(r"\n {4}(?=\w)", attributes):
        names, _, meaning = entry.strip().partition(": ")
        for name in names.split(", "):
            meanings[name] = " ".join(meaning.split())
    return " ".join(words.split()), meanings


def _default(field: FieldInfo, nested: bool) -> str:
    if field.default is PydanticUndefined:
        return "needed"
    if nested and field.default is not None:
        return "all of its own"
    return f"`{json.dumps(field.default, default=str)}`".replace('"', "")


def _literal(field: FieldInfo) -> str:
    return ", ".join(field.annotation.__args__) if field.annotation is not None else ""


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    (DOCS / "reference" / "recipe.md").write_text(reference(), encoding="utf-8")
