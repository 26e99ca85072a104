"""The base class of all parts of a YAML file of settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

LARGEST = 1_000_000_000
"""Largest number that has no bound of its own, such as steps or clips; beyond it counters overflow."""

LONGEST = 4096
"""Longest text, in characters: that of a path."""

Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""A seed that numpy and torch accept."""

Share = Annotated[float, Field(ge=0)]
"""A non-negative weight."""

Probability = Annotated[float, Field(ge=0, le=1)]


class Part(BaseModel):
    """A part of a file of settings: unknown keys are rejected, values are immutable, numbers and texts are finite and bounded."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    tag: ClassVar[str | None] = None
    """The key by which one of several parts is known, if it is not the value of its key `kind`."""

    @model_validator(mode="after")
    def _bounded(self) -> Part:
        refuse(
            *(
                (field.alias or name, problem)
                for name, field in type(self).model_fields.items()
                for problem in _beyond(
                    getattr(self, name), any(hasattr(one, key) for one in field.metadata for key in ("le", "lt"))
                )
            )
        )
        return self


def fields_of(part: type[Part]) -> dict[str, FieldInfo]:
    """Return the fields of a part by the keys that people write."""
    return {field.alias or name: field for name, field in part.model_fields.items()}


class KeyProblems(ValueError):
    """The problems found by a part's own check, each with the key to change.

    Args:
        problems: keys below the part, such as `ratio` or `data.val`, or as tuples where a name may contain a dot; and
            their problems.
    """

    def __init__(self, problems: Sequence[tuple[str | tuple[str, ...], str]]) -> None:
        super().__init__(
            "; ".join(f"{key if isinstance(key, str) else '.'.join(key)}: {problem}" for key, problem in problems)
        )
        self.problems = tuple(problems)


def refuse(*problems: tuple[str | tuple[str, ...], str] | None) -> None:
    """Raise the problems of a part, if there are any.

    Raises:
        KeyProblems: with all problems that are not None.
    """
    found = [problem for problem in problems if problem is not None]
    if found:
        raise KeyProblems(found)


def _beyond(value: Any, has_bound: bool) -> Iterator[str]:
    """Yield why a value, or one in it, cannot be used by any key."""
    if isinstance(value, (list, tuple, set, frozenset)):
        for inner in value:
            yield from _beyond(inner, has_bound)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _beyond(key, has_bound)
            yield from _beyond(inner, has_bound)
    elif isinstance(value, (int, float)) and not has_bound and abs(value) > LARGEST:
        yield f"expected a number of at most {LARGEST}, not {value}"
    elif isinstance(value, (str, PurePath)):
        text = str(value)
        if "\0" in text:
            yield "it contains a null character"
        elif len(text) > LONGEST:
            yield f"expected at most {LONGEST} characters, not {len(text)}"
        elif not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            yield "it contains text that cannot be encoded in UTF-8"
