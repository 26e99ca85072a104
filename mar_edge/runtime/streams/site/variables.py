"""Puts environment variables into the texts of a site file, so that no secret needs to stand in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mar_edge.files.yaml_file import Keys

_VARIABLE = re.compile(r"\$(\$\{)|\$\{([^}\s]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def insert_variables(values: Any, environment: Mapping[str, str]) -> tuple[Any, list[tuple[Keys, str]]]:
    """Return values with `${NAME}` replaced in all texts, but not in keys; and what is wrong with which key.

    `$${` stands for `${`. A variable's own text is not searched for others.

    Args:
        values: of a YAML file; not changed.
        environment: the variables.
    """
    problems: list[tuple[Keys, str]] = []

    def inserted(value: Any, keys: Keys) -> Any:
        if isinstance(value, dict):
            return {key: inserted(inner, (*keys, str(key))) for key, inner in value.items()}
        if isinstance(value, list):
            return [inserted(inner, (*keys, str(index))) for index, inner in enumerate(value)]
        if not isinstance(value, str):
            return value
        problems.extend((keys, problem) for problem in _problems(value, environment))
        return _VARIABLE.sub(lambda one: "${" if one[1] else environment.get(one[2], ""), value)

    return inserted(values, ()), problems


def _problems(text: str, environment: Mapping[str, str]) -> list[str]:
    names = [(one[2], one[3]) for one in _VARIABLE.finditer(text) if not one[1]]
    problems = []
    for name, closed in dict.fromkeys(names):
        if not closed or not _NAME.fullmatch(name):
            problems.append("${ begins a variable; write ${NAME}, or $${ for the characters themselves")
        elif not environment.get(name):
            state = "empty" if name in environment else "not set"
            problems.append(f"the environment variable {name} is {state}. Set it before mar-edge starts")
    return problems
