"""Writes docs/reference/recipe.md and docs/reference/site.md, every key with its default and meaning, from the code that reads them.

python docs/make/settings_reference.py
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from mar_edge.files.yaml_part import Part, fields_of
from mar_edge.files.yaml_problems import parts_in
from mar_edge.runtime.streams.site.site import Site
from mar_edge.training.recipe import Recipe

DOCS = Path(__file__).parent.parent

HEADS = {
    "recipe": """# Every key of a recipe

Written by `python docs/make/settings_reference.py` from the docstrings of `mar_edge/training/`; [own classes](../how-to/own-classes.md) shows how they work together.
""",
    "site": """# Every key of a site file

Written by `python docs/make/settings_reference.py` from the docstrings of `mar_edge/runtime/streams/site/`; [many cameras](../how-to/many-cameras.md)
shows how they work together, and `runtime/site.yaml` is an example to copy.

A site file is YAML of at most 1 MB. `${NAME}` in a text is replaced by the environment variable of that name, as it is; `$${` stands for `${`. All
problems are reported at once, each with its line.
""",
}
ROOTS: dict[str, type[Part]] = {"recipe": Recipe, "site": Site}


def reference(page: str) -> str:
    """Return the text of docs/reference/PAGE.md."""
    return "\n".join([HEADS[page], *_section("", ROOTS[page], whole=page == "recipe")])


def _section(path: str, part: type[Part], *, whole: bool) -> list[str]:
    """Return the table of a part, and those of the parts below it; the keys in it are `whole`, or those of the part alone."""
    summary, meanings = _documented(part)
    lines = [f"## {_title(path, part)}\n", f"{summary}\n", "| key | default | |", "|---|---|---|"]
    below: list[str] = []
    for name, field in fields_of(part).items():
        inside = parts_in(field.annotation)
        inner_path = f"{path}{name}{_many(field)}."
        below += [line for inner in inside for line in _section(inner_path, inner, whole=whole)]
        if name != "kind" or not field.is_required():  # the kind of data is in the title
            meaning = meanings.get(name, "see below" if inside else "")
            shown = f"{path}{name}" if whole else name
            lines.append(f"| `{shown}` | {_default(field, bool(inside))} | {_escaped(meaning)} |")
    return [*lines, "", *below]


def _title(path: str, part: type[Part]) -> str:
    title = path.rstrip(".") or "At the top"
    kind = part.model_fields.get("kind")
    if part.tag is not None:
        return f"{title}, {part.tag}"
    return f"{title}, kind {_literal(kind)}" if path == "data." and kind is not None else title


def _many(field: FieldInfo) -> str:
    """Return what stands for one of many parts in the path of a key."""
    kind = get_origin(field.annotation) if parts_in(field.annotation) else None
    return {list: "[]", dict: ".NAME"}.get(kind, "") if kind is not None else ""


def _documented(part: type[Part]) -> tuple[str, dict[str, str]]:
    """Return the words before a class's attributes, and what it and the classes it is made from say of each."""
    words, meanings = "", dict[str, str]()
    for one in reversed(part.__mro__):
        words, _, attributes = inspect.cleandoc(one.__dict__.get("__doc__") or "").partition("Attributes:")
        for entry in re.split(r"\n {4}(?=\w)", attributes):
            names, _, meaning = entry.strip().partition(": ")
            meanings |= dict.fromkeys(names.split(", "), " ".join(meaning.split()))
    return " ".join(words.split()), meanings


def _default(field: FieldInfo, nested: bool) -> str:
    if field.is_required():
        return "needed"
    if field.default is PydanticUndefined:
        return "none"
    if nested and field.default is not None:
        return "all of its own"
    return f"`{json.dumps(field.default, default=str)}`".replace('"', "")


def _literal(field: FieldInfo) -> str:
    return ", ".join(field.annotation.__args__) if field.annotation is not None else ""


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    for page in ROOTS:
        (DOCS / "reference" / f"{page}.md").write_text(reference(page), encoding="utf-8")
