"""How a sink tells what an operator should know and is no error."""

from __future__ import annotations

from collections.abc import Callable

from mar_edge.runtime.results import Notice

Notify = Callable[[Notice], None]
"""Called with a notice, from the thread that writes to the sink."""


def no_notice(_notice: Notice) -> None:
    """Report nothing."""
