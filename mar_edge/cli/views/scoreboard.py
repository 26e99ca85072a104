"""Prints how recognition compares with the script of sources that have one."""

from __future__ import annotations

from collections import Counter

from rich.table import Table

from mar_edge.console import Console, literal
from mar_edge.counting import counted
from mar_edge.runtime.results import EVENT_GRACE_S, ScriptScore

_LABELS = 6  # that are named at most


def print_score(console: Console, score: ScriptScore, *, model: str) -> None:
    """Print a score, or why there is none; nothing if there was too little to compare.

    Args:
        console: where.
        score: of one stream.
        model: name of the model.
    """
    if score.unknown:
        names = ", ".join(score.unknown[:_LABELS]) + (", ..." if len(score.unknown) > _LABELS else "")
        console.print(literal(f"No score: the script shows what {model} has no classes for ({names})."), soft_wrap=True)
    elif score.idle is None and score.total:
        _print_states(console, score)
    elif score.events is not None:
        _print_events(console, score)


def _print_states(console: Console, score: ScriptScore) -> None:
    table = _table("Scripted and recognised moves", "agreed")
    for part in score.parts:
        seen, right = sum(part.seen.values()), part.seen.get(part.label, 0)
        said = ", ".join(f"{label} {count}" for label, count in Counter(part.seen).most_common(3)) or "-"
        share = literal(f"{right}/{seen}", style="green" if right > seen / 2 else "red")
        table.add_row(f"{part.start_s:.1f}-{part.end_s:.1f} s", part.label, said, share)
    console.print(table)
    console.print(
        literal("Agreed: ")
        + literal(f"{score.right / score.total:.1%}", style="bold")
        + f" of {counted(score.total, 'prediction')} that lie {score.window_s:g} s or more within a move."
    )


def _print_events(console: Console, score: ScriptScore) -> None:
    table = _table("Scripted and recognised events", "after its end")
    for part in score.parts:
        label, start_s = part.event or ("-", None)
        said = literal(label, style="green" if label == part.label else "red")
        after = "-" if start_s is None else f"{start_s - part.end_s:+.2f} s"
        table.add_row(f"{part.start_s:.1f}-{part.end_s:.1f} s", part.label, said, after)
    console.print(table)
    console.print(
        literal("Right: ")
        + literal(f"{score.right} of {score.total}", style="bold")
        + f", which began by {EVENT_GRACE_S:g} s after the end; {counted(score.false, 'false event')}."
    )


def _table(title: str, last: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column, justify in (("time", "right"), ("scripted", "left"), ("recognised", "left"), (last, "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    return table
