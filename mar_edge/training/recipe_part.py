"""What every part of a recipe has in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0)]
"""A weight that is not negative."""

Probability = Annotated[float, Field(ge=0, le=1)]


class Part(BaseModel):
    """A part of a recipe: unknown keys are refused, values do not change, numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class KeyProblems(ValueError):
    """What a part's own check finds wrong, each with the key to change.

    Args:
        problems: keys below the part, as `ratio` or `data.val`, and what is wrong there.
    """

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{key}: {problem}" for key, problem in problems))
        self.problems = tuple(problems)


def refuse(*problems: tuple[str, str] | None) -> None:
    """Raise what was found wrong with a part, if anything was.

    Raises:
        KeyProblems: with all problems that are not None.
    """
    found = [problem for problem in problems if problem is not None]
    if found:
        raise KeyProblems(found)
