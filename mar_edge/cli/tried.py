"""What was named must have run: commands that try many graphs go on without those that do not, but not silently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from mar_edge.errors import EngineError

if TYPE_CHECKING:
    from mar_edge.bundle import Variant


class Tried(Protocol):
    """A graph in an engine."""

    @property
    def engine(self) -> str:
        """Name of the engine."""

    @property
    def variant(self) -> Variant:
        """The graph."""

    @property
    def failure(self) -> str | None:
        """Why it does not run; None if it does."""


def check_ran(found: Sequence[Tried], engines: Sequence[str] | None, precisions: Sequence[str] | None) -> None:
    """Check that something ran of every engine and every precision that was named, and of all.

    Raises:
        EngineError: naming the first of which nothing did, and why.
    """
    groups = {"": list(found)}
    groups |= {f"in {name} ": [one for one in found if one.engine == name] for name in engines or ()}
    groups |= {f"of {name} ": [one for one in found if one.variant.precision == name] for name in precisions or ()}
    for what, group in groups.items():
        if group and all(one.failure is not None for one in group):
            raise EngineError(f"nothing {what}runs here: {group[0].failure}")
