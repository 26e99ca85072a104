"""Checks that requested graphs ran: commands that try many graphs continue without failing ones, but report them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from mar_edge.errors import EngineError

if TYPE_CHECKING:
    from mar_edge.manifest import Variant


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
    """Check that at least one graph ran for every named engine and precision, and in total.

    Raises:
        EngineError: naming the first engine or precision without one, and the reason.
    """
    groups = {"": list(found)}
    groups |= {f"in {name} ": [one for one in found if one.engine == name] for name in engines or ()}
    groups |= {f"of {name} ": [one for one in found if one.variant.precision == name] for name in precisions or ()}
    for what, group in groups.items():
        if group and all(one.failure is not None for one in group):
            raise EngineError(f"no graph {what}runs here: {group[0].failure}")
