"""Prints a model as a detector as tables in a terminal."""

from __future__ import annotations

from rich.table import Table

from mar_edge.console import Console, literal
from mar_edge.counting import counted
from mar_edge.evaluation.detection import Detection
from mar_edge.evaluation.detector import ClassDetector
from mar_edge.evaluation.intervals import Interval
from mar_edge.printable import shown_spaces

CLASSES = 20
"""With more classes, only those of the lowest average precision are listed."""

NAMED = 10


def print_detection(detection: Detection, console: Console) -> None:
    """Print how well each class is told from all others, and what begins an event."""
    shown = list(detection.detectors)
    if len(shown) > CLASSES:
        wanted = [one for one in shown if one.label in detection.chosen]
        shown = (wanted if len(wanted) <= CLASSES else sorted(shown, key=lambda one: one.ranking.average_precision))[
            :CLASSES
        ]
    if shown:
        _rankings(detection, shown, console)
        _points(detection, [one.label for one in shown], console)
    elif detection.unjudged:
        why = "; ".join(
            f"{shown_spaces(label)}: {reason}" for label, reason in list(detection.unjudged.items())[:NAMED]
        )
        console.print(f"No class can be judged as a detector. {why}", style="dim")
    for note in detection.notes[:NAMED]:
        console.say(f"warning: {note}", "yellow")
    for label, onset in detection.chosen.items():
        if onset is None:
            console.say(
                f"warning: {shown_spaces(label)}: no onset; other clips score at least as high as all of it", "yellow"
            )


def _rankings(detection: Detection, shown: list[ClassDetector], console: Console) -> None:
    title = "Each class against all others"
    if len(shown) < len(detection.detectors):
        title = f"{len(shown)} of {counted(len(detection.detectors), 'class')} against all others; --json and --report have all"
    table = Table(title=title, title_justify="left")
    table.add_column("class", overflow="ellipsis", no_wrap=True, max_width=40)
    for column in ("clips", "AUC (95 %)", "avg. prec. (95 %)", "best F1"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in shown:
        rank = one.ranking
        auc, precision = rank.intervals95 if detection.with_intervals else (None, None)
        f1, onset = one.best_f1
        table.add_row(
            shown_spaces(one.label),
            str(rank.positives),
            f"{rank.auc:.2f}{_ends(auc)}",
            f"{rank.average_precision:.2f}{_ends(precision)}",
            "never best" if onset is None else f"{f1:.2f} at {onset:.3g}",
        )
    console.print(table)


def _points(detection: Detection, shown: list[str], console: Console) -> None:
    table = Table(title="Clips in which an event of the class would begin, 95 % interval", title_justify="left")
    table.add_column("class", overflow="ellipsis", no_wrap=True, max_width=40)
    for column in ("onset", "of its clips", "of other clips"):
        table.add_column(column, justify="right", no_wrap=True)
    for label, point, chosen in detection.points():
        if label is not None and label not in shown:
            continue
        table.add_row(
            "any class" if label is None else shown_spaces(label),
            ("each its own" if point.onset is None else f"{point.onset:.3g}") + (" chosen" if chosen else " now"),
            literal(f"{100 * point.recall:.1f} % {_percents(point.recall95)}", style="bold" if chosen else ""),
            literal(
                f"{100 * point.false_alarms:.1f} % {_percents(point.false_alarms95)}", style="bold" if chosen else ""
            ),
        )
    console.print(table)
    if detection.false_alarms is not None:
        console.print(
            f"Chosen for at most {100 * detection.false_alarms:g} % of other clips; they fit these clips best, so judge them on a "
            "test list.",
            style="dim",
        )


def _ends(interval: Interval | None) -> str:
    return "" if interval is None else f" ({interval[0]:.2f}-{interval[1]:.2f})"


def _percents(interval: Interval) -> str:
    return f"({100 * interval[0]:.1f}-{100 * interval[1]:.1f})"
