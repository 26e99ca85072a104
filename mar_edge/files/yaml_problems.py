"""Reports problems of a YAML file of settings: the key, its place, what was expected, and the nearest known key."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from mar_edge.counting import counted
from mar_edge.files.yaml_file import Keys
from mar_edge.files.yaml_part import KeyProblems, Part, fields_of

_EXPECTED = {
    "int": "an integer",
    "float": "a number",
    "string": "text",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "dict": "keys and values",
    "model": "keys and values",
    "path": "a path",
}
"""By the beginning of pydantic's error names."""

_BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}


Shown = Callable[[Keys, Any], str]
"""Returns the value of a key as a message may quote it."""


def explain(error: ValidationError, root: type[Part], shown: Shown | None = None) -> list[tuple[Keys, str]]:
    """Return every problem of a file: where it is, and what a message says of it.

    Args:
        error: pydantic's.
        root: what was validated.
        shown: how values are quoted; by default, as they are.
    """
    shown = shown or (lambda _, value: shown_value(value))
    found: dict[Keys, list[ErrorDetails]] = {}
    parts: dict[Keys, type[Part]] = {}
    for problem in error.errors(include_url=False):
        keys, part = _follow(problem["loc"], root)
        # a value of several allowed types has a problem for each
        found.setdefault(keys, []).append(problem)
        parts[keys] = part
    return [line for keys, problems in found.items() for line in _lines(keys, parts[keys], problems, root, shown)]


def named(keys: Keys) -> str:
    """Return a key as a message writes it, such as `streams[0].hop`."""
    return "".join(f"[{key}]" if key.isdigit() else f".{key}" for key in keys).removeprefix(".")


def near_hint(name: str, known: Iterable[str]) -> str:
    """Return which known name may be meant; nothing if none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def parts_in(annotation: Any) -> list[type[Part]]:
    """Return the parts that an annotation allows."""
    # Python 3.10 takes list[int] for a class, too
    if isinstance(annotation, type) and get_origin(annotation) is None and issubclass(annotation, Part):
        return [annotation]
    return [part for argument in get_args(annotation) for part in parts_in(argument)]


def _follow(place: tuple[int | str, ...], root: type[Part]) -> tuple[Keys, type[Part]]:
    """Return the keys of a problem without pydantic's insertions, and the part that contains the last one."""
    keys: list[str] = []
    part, inside, names = root, [root], False
    for step in place:
        if step == "[key]":  # the name itself
            continue
        kind = [one for one in inside if len(inside) > 1 and step in _kinds(one)]
        if kind:  # the kind of part is inserted between the keys
            inside = kind
        elif isinstance(step, int) or names:  # a place in a list, or a name that the file gives
            keys.append(str(step))
            names = False
        elif len(inside) == 1:
            part = inside[0]
            keys.append(step)
            field = fields_of(part).get(step)
            inside = parts_in(field.annotation) if field is not None else []
            names = field is not None and get_origin(field.annotation) in (dict, Mapping)
    return tuple(keys), part


def _lines(
    keys: Keys, part: type[Part], problems: list[ErrorDetails], root: type[Part], shown: Shown
) -> Iterator[tuple[Keys, str]]:
    """Yield the problems of a key, or of keys below it."""
    own = problems[0].get("ctx", {}).get("error")
    if isinstance(own, KeyProblems):
        for below, problem in own.problems:
            whole = (*keys, *(below.split(".") if isinstance(below, str) else below))
            yield whole, f"{named(whole)}: {problem}"
    else:
        yield _line(keys, part, problems, root, shown)


def _line(
    keys: Keys, part: type[Part], problems: list[ErrorDetails], root: type[Part], shown: Shown
) -> tuple[Keys, str]:
    name, first = named(keys), problems[0]
    kind = first["type"]
    if kind == "union_tag_not_found":
        keys, name = (*keys, "kind"), f"{name}.kind"
        what = f"{name} is missing; choose from {_listed(_tags(keys[:-1], root))}"
    elif kind == "union_tag_invalid":
        keys, name = (*keys, "kind"), f"{name}.kind"
        what = _not_one_of(name, first["ctx"]["tag"], _tags(keys[:-1], root), shown_value(first["ctx"]["tag"]))
    elif kind == "value_error":
        what = f"{name}: {first['ctx']['error']}" if name else str(first["ctx"]["error"])
    elif kind == "missing":
        what = f"{name} is missing"
    elif kind == "invalid_key" or first["loc"][-1:] == ("[key]",):
        what = f"the key {name} is not text; put it in quotes"
    elif kind == "extra_forbidden":
        what = _unknown(keys, part, root)
    elif kind == "literal_error" and len(problems) == 1:
        what = _not_one_of(name, first["input"], _literals(part, keys), shown(keys, first["input"]))
    else:
        expected = " or ".join(dict.fromkeys(_expected(problem) for problem in problems))
        what = f"{name}: expected {expected}, not {shown(keys, first['input'])}"
        if isinstance(first["input"], (int, float)) and all(one["type"].startswith("string") for one in problems):
            what += "; put it in quotes"
    return keys, what


def _expected(problem: ErrorDetails) -> str:
    """Return what pydantic expects, in words."""
    kind, context = problem["type"], problem.get("ctx", {})
    if kind in _BOUNDS:
        word, key = _BOUNDS[kind]
        return f"a number {word} {context[key]:g}"
    if kind == "finite_number":
        return "a finite number"
    if kind in ("too_short", "too_long"):
        bound = int(context.get("min_length", context.get("max_length", 0)))
        return f"{'at least' if kind == 'too_short' else 'at most'} {counted(bound, 'entry')}"
    if kind == "missing":
        return "one entry more"
    if kind == "literal_error":
        return str(context["expected"]).replace("'", "")
    begin = kind.split("_")[0]
    return _EXPECTED.get(begin) or problem["msg"].removeprefix("Input should be ").replace("'", "")


def _unknown(keys: Keys, part: type[Part], root: type[Part]) -> str:
    """Report an unknown key, and which one may be meant."""
    name, above = named(keys), keys[:-1]
    near = difflib.get_close_matches(keys[-1], fields_of(part), n=1)
    if near:
        return f"unknown key '{name}'; did you mean '{named((*above, near[0]))}'?"
    # in another part, under the same or a similar name
    here = tuple(key for key in keys if not key.isdigit())  # the same key may be one of another kind of part
    there = {".".join(known): known[-1] for known in all_keys(root) if known != here}
    ends = difflib.get_close_matches(keys[-1], there.values(), n=1, cutoff=0.75)
    if ends:
        where = [known for known, end in there.items() if end == ends[0]]
        return f"unknown key '{name}'; did you mean '{difflib.get_close_matches(name, where, n=1, cutoff=0)[0]}'?"
    return f"unknown key '{name}'; the keys are {_listed(fields_of(part))}"


def all_keys(part: type[Part], above: Keys = ()) -> Iterator[Keys]:
    """Yield every key below a part, including those that contain other keys."""
    for name, field in fields_of(part).items():
        yield (*above, name)
        for inner in parts_in(field.annotation):
            yield from all_keys(inner, (*above, name))


def _tags(keys: Keys, root: type[Part]) -> list[str]:
    """Return the kinds that a part may have."""
    inside = [root]
    for key in keys:
        fields: Mapping[str, Any] = inside[0].model_fields
        inside = parts_in(fields[key].annotation)
    return [kind for part in inside for kind in _kinds(part)]


def _kinds(part: type[Part]) -> tuple[Any, ...]:
    if part.tag is not None:
        return (part.tag,)
    field = part.model_fields.get("kind")
    return get_args(field.annotation) if field is not None and field.is_required() else ()


def _literals(part: type[Part], keys: Keys) -> list[str]:
    """Return the words that a key may have."""
    field = part.model_fields[[key for key in keys if not key.isdigit()][-1]]

    def words(annotation: Any) -> Iterator[Any]:
        for argument in get_args(annotation):
            yield from [str(argument)] if isinstance(argument, (str, int)) else words(argument)

    return list(words(field.annotation))


def _not_one_of(name: str, value: Any, known: list[str], shown: str) -> str:
    return f"{name}: {shown} is not one of {_listed(known)}{near_hint(value, known) if isinstance(value, str) else ''}"


def _listed(names: Any) -> str:
    return ", ".join(names)


def shown_value(value: Any) -> str:
    """Return a value as a message quotes it."""
    if value is None:
        return "nothing"
    text = f"'{value}'" if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
