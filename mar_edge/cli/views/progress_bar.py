"""The progress bar of all commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mar_edge.console import Console
    from mar_edge.reporting import Progress


@contextmanager
def progress_bar(console: Console, *, transient: bool = True, refresh_per_second: float = 10) -> Iterator[Progress]:
    """Show the current step, its progress, and the time left; nothing if stderr is not a terminal.

    Args:
        console: on stderr.
        transient: whether the bar disappears at the end.
        refresh_per_second: drawing takes time, which affects commands that measure.

    Yields:
        The progress callback. A new task replaces the previous one.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TimeRemainingColumn

    from mar_edge.console import Field

    with console.bar(
        SpinnerColumn(),
        Field(),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        disable=not console.is_terminal,
        transient=transient,
        refresh_per_second=refresh_per_second,
    ) as bar:
        shown = bar.add_task("starting", total=None)
        name = ""

        def report(task: str, done: int, total: int) -> None:
            nonlocal name
            if task != name:  # the time left is that of this task
                name = task
                bar.reset(shown, description=task, total=total or None, completed=done)
            else:
                bar.update(shown, total=total or None, completed=done)

        yield report
