"""The base class of all parts of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0)]
"""A non-negative weight."""

Probability = Annotated[float, Field(ge=0, le=1)]


class Part(BaseModel):
    """A part of a recipe: unknown keys are rejected, values are immutable, numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class KeyProblems(ValueError):
    """The problems found by a part's own check, each with the key to change.

    Args:
        problems: keys below the part, such as `ratio` or `data.val`, and their problems.
    """

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{key}: {problem}" for key, problem in problems))
        self.problems = tuple(problems)


def refuse(*problems: tuple[str, str] | None) -> None:
    """Raise the problems of a part, if there are any.

    Raises:
        KeyProblems: with all problems that are not None.
    """
    found = [problem for problem in problems if problem is not None]
    if found:
        raise KeyProblems(found)
