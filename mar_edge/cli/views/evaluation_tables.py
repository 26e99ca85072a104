"""Prints an evaluation as tables in a terminal."""

from __future__ import annotations

from rich.table import Table

from mar_edge.console import Console, literal
from mar_edge.counting import counted, counted_of, form
from mar_edge.evaluation.metrics import Evaluation, confused_pairs
from mar_edge.printable import shown_spaces

MATRIX_CLASSES = 12
"""A confusion matrix with more classes does not fit into 80 columns."""

CLASSES = 20
"""With more classes, only the worst are listed."""

PAIRS = 10
NAMED = 10
WARNINGS = 5


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Print the results of an evaluation."""
    _warnings(evaluation, console)
    _summary(evaluation, console)
    _classes(evaluation, console)
    if len(evaluation.labels) > MATRIX_CLASSES:
        _pairs(evaluation, console)
    else:
        _matrix(evaluation, console)


def _warnings(evaluation: Evaluation, console: Console) -> None:
    messages = list(evaluation.warnings[:WARNINGS])
    if evaluation.warnings[WARNINGS:]:
        messages.append(
            f"{counted(len(evaluation.warnings) - WARNINGS, 'more warning')} of this kind; --json has them all"
        )
    if evaluation.short:
        messages.append(
            f"{counted(evaluation.short, 'clip', 'has', 'have')} fewer frames than a window; frames were repeated"
        )
    if evaluation.broken:
        messages.append(
            f"{counted_of(len(evaluation.broken), len(evaluation.broken) + len(evaluation.names), 'video')} could not be read and {form(len(evaluation.broken), 'was', 'were')} left out:"
        )
        messages += [f"  {reason}" for reason in evaluation.broken]
    for message in messages:
        console.say(f"warning: {message}", "yellow")


def _summary(evaluation: Evaluation, console: Console) -> None:
    low, high = evaluation.interval95
    mean_low, mean_high = evaluation.mean_class_interval95
    views = "" if evaluation.views is None else f", {evaluation.views[0]} x {evaluation.views[1]} per clip"
    rows = [
        ("top-1", _percent(evaluation.top1), f"95 % interval {100 * low:.1f} to {100 * high:.1f} %"),
        (
            "mean class accuracy",
            _percent(evaluation.mean_class_accuracy),
            f"macro recall, 95 % interval {100 * mean_low:.1f} to {100 * mean_high:.1f} %",
        ),
        ("calibration error", _percent(evaluation.ece), "expected, 15 bins"),
        ("loss", f"{evaluation.loss:.3f}", "mean cross entropy"),
        ("clips", f"{len(evaluation.names):,}", f"{counted(evaluation.windows, 'view')}{views}"),
        (
            "time",
            f"{evaluation.elapsed_s:.1f} s",
            f"{len(evaluation.names) / max(1e-9, evaluation.elapsed_s):.3g} clips per second",
        ),
    ]
    if evaluation.top5 is not None:
        rows.insert(1, ("top-5", _percent(evaluation.top5), ""))
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right", style="bold")
    table.add_column(style="dim")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print(evaluation.intervals_said, style="dim")


def _classes(evaluation: Evaluation, console: Console) -> None:
    parts = [part for part in evaluation.per_class if part.clips]
    title = "Accuracy of each class"
    if len(parts) > CLASSES:
        title = f"The {CLASSES} worst of {counted(len(parts), 'class')}; --json and --report have all"
        parts = sorted(parts, key=lambda part: (part.accuracy, -part.clips))[:CLASSES]
    table = Table(title=title, title_justify="left")
    table.add_column("class", overflow="ellipsis", no_wrap=True, max_width=40)
    for column in ("clips", "right", "accuracy", "95 % interval"):
        table.add_column(column, justify="right", no_wrap=True)
    for part in parts:
        assert part.accuracy is not None and part.interval95 is not None
        low, high = part.interval95
        table.add_row(
            shown_spaces(part.label),
            str(part.clips),
            str(part.right),
            _percent(part.accuracy),
            f"{100 * low:.0f} to {100 * high:.0f} %",
        )
    console.print(table)
    if absent := evaluation.absent:
        more = f" and {len(absent) - NAMED} more" if absent[NAMED:] else ""
        console.print(f"Classes without clips: {', '.join(absent[:NAMED])}{more}", style="dim")


def _matrix(evaluation: Evaluation, console: Console) -> None:
    counts = evaluation.confusion
    in_percent = counts.max() > 9999
    shares = 100 * counts / counts.sum(axis=1, keepdims=True).clip(1)
    unit = "percent of the class's clips" if in_percent else "clips"
    console.print(
        f"Confusion, {unit}: true class down, predicted across", style="italic"
    )  # may be wider than the table
    table = Table(box=None, pad_edge=False)
    table.add_column("", overflow="ellipsis", no_wrap=True, max_width=24)
    for number in range(1, len(counts) + 1):
        table.add_column(str(number), justify="right", no_wrap=True)
    for true, label in enumerate(evaluation.labels):
        cells = []
        for said, count in enumerate(counts[true].tolist()):
            shown = (f"{shares[true, said]:.0f}" if in_percent else str(count)) if count else "·"
            cells.append(literal(shown, style="bold green" if true == said else "red" if count else "dim"))
        table.add_row(f"{true + 1} {shown_spaces(label)}", *cells)
    console.print(table)


def _pairs(evaluation: Evaluation, console: Console) -> None:
    pairs = confused_pairs(evaluation.confusion, PAIRS)
    if not pairs:
        return
    table = Table(title="Most confused", title_justify="left")
    for column in ("true", "predicted"):
        table.add_column(column, overflow="ellipsis", no_wrap=True, ratio=1)
    table.add_column("clips", justify="right", no_wrap=True)
    for true, said, count in pairs:
        of = evaluation.per_class[true].clips
        table.add_row(*(shown_spaces(evaluation.labels[index]) for index in (true, said)), f"{count} of {of}")
    console.print(table)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
