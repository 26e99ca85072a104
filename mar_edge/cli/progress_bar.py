"""The bar that commands show while they work through a known number of things."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


def progress_bar(console: Console, *, transient: bool = False, refresh_per_second: float = 10) -> Progress:
    """Return a bar with counts and the time that is left; it is off where nobody watches.

    Args:
        console: on stderr.
        transient: whether it vanishes when all is done.
        refresh_per_second: drawing takes time, which matters to a command that measures.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=transient,
        refresh_per_second=refresh_per_second,
    )
