"""What every part of a recipe has in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0)]
"""A weight that is not negative."""

Probability = Annotated[float, Field(ge=0, le=1)]


class Part(BaseModel):
    """A part of a recipe: unknown keys are refused, values do not change, numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
