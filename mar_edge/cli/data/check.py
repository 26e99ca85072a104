"""`mar-edge data check`: checks the videos for training and evaluation."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mar_edge.cli.data.options import GroupOption, LabelsOption, RootOption
from mar_edge.cli.json_output import json_output
from mar_edge.cli.options import ForceOption, JsonOption
from mar_edge.cli.views.length_table import print_lengths
from mar_edge.cli.views.progress_bar import progress_bar
from mar_edge.counting import counted
from mar_edge.printable import shown_spaces

if TYPE_CHECKING:
    from mar_edge.console import Console
    from mar_edge.datasets.clip_lengths import Lengths
    from mar_edge.datasets.video_check import Problem, Split
    from mar_edge.training.recipe_videos import RecipeVideos

SHOWN_CLASSES = 30
SHOWN_ENDS = 8
"""With more classes, this many of the smallest and of the largest are shown."""

SHOWN_PROBLEMS = {"error": 200, "warning": 10}
"""Problems shown of each kind; the JSON has all."""


def check(
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA...",
            help="CSV (path,label), list (path label) or folder of class folders, the training set first; or a recipe.",
        ),
    ],
    root: RootOption = None,
    labels: LabelsOption = None,
    min_frames: Annotated[
        int, typer.Option("--min-frames", min=1, metavar="N", help="A video with fewer frames cannot be used.")
    ] = 2,
    group: GroupOption = None,
    frames: Annotated[
        int | None,
        typer.Option("--frames", min=1, metavar="N", help="Frames of a model's window; default: 16, or the recipe's."),
    ] = None,
    json: JsonOption = None,
    force: ForceOption = False,
) -> None:
    """Decode every video; report broken and short ones, duplicates, labels and lengths; exit with 1 if unusable."""
    from mar_edge.console import Console
    from mar_edge.datasets.video_check import check_lists, check_videos, require_usable
    from mar_edge.datasets.video_list import read_labels

    console = Console()
    planned = _of_recipe(data, root, labels)
    asked: dict[str, Any] = {"min_frames": min_frames, "group": group}
    with json_output(json, force=force, inputs=[*data, labels]) as sink:
        with progress_bar(console) as progress:
            if planned is None:
                names = None if labels is None else read_labels(labels)
                splits, problems = check_videos(data, root=root, labels=names, progress=progress, **asked)
            else:
                splits, problems = check_lists(planned.lists(progress), progress=progress, **asked)
        spans = _lengths(splits, planned, frames)
        if sink is not None:
            for record in _records(splits, problems, spans):
                sink(record)
    _print_splits(splits, console)
    _print_classes(splits, console)
    if any(spans):
        print_lengths(dict(zip(_titles(splits), spans, strict=True)), console, planned.rate_fps if planned else None)
    _print_problems(problems, splits, console)
    require_usable(problems)
    warnings = f", {counted(len(problems), 'warning')}" if problems else ""
    console.print(
        f"{counted(sum(sum(split.usable) for split in splits), 'video')} can be used{warnings}", style="green"
    )


def _of_recipe(data: list[Path], root: Path | None, labels: Path | None) -> RecipeVideos | None:
    """Return the videos of a recipe, if one was given instead of lists."""
    if not any(path.suffix.lower() in (".yaml", ".yml") for path in data):
        return None
    if len(data) > 1 or root is not None or labels is not None:
        raise typer.BadParameter(
            "a recipe is checked alone: it names its lists, root and labels itself", param_hint="DATA"
        )
    from mar_edge.extras import require

    require("torch", "train")
    from mar_edge.training.recipe_videos import read_recipe_videos

    return read_recipe_videos(data[0])


def _lengths(splits: list[Split], planned: RecipeVideos | None, frames: int | None) -> list[Lengths | None]:
    """Return the lengths of every split's usable videos; None for one without any, and with sampling by segments."""
    from mar_edge.datasets.clip_lengths import RATES_FPS, lengths

    rates_fps = RATES_FPS
    if planned is not None:
        if planned.rate_fps is None:
            return [None] * len(splits)
        rates_fps, frames = (*RATES_FPS, planned.rate_fps), frames or planned.frames
    return [
        lengths(split.values("duration_s"), rates_fps, frames or 16, source_fps=split.values("fps"))
        if any(split.usable)
        else None
        for split in splits
    ]


def _records(splits: list[Split], problems: list[Problem], spans: list[Lengths | None]) -> list[dict[str, Any]]:
    records = [record for split in splits for record in split.video_records()]
    records += [problem.to_json() for problem in problems] + [split.to_json() for split in splits]
    records += [span.to_json(split.name) for split, span in zip(splits, spans, strict=True) if span is not None]
    severities = Counter(problem.severity for problem in problems)
    usable = not severities["error"]
    return [
        *records,
        {"type": "summary", "usable": usable, "errors": severities["error"], "warnings": severities["warning"]},
    ]


def _titles(splits: list[Split]) -> list[str]:
    """Return short names of the splits, unless two have the same."""
    names = [split.name for split in splits]
    short = [Path(name).name or name for name in names]
    return short if len(set(short)) == len(short) else names


def _print_splits(splits: list[Split], console: Console) -> None:
    from rich.table import Table

    table = Table()
    table.add_column("", overflow="fold")
    for title in _titles(splits):
        table.add_column(title, overflow="fold")
    rows = {
        "videos": [str(len(split.facts)) for split in splits],
        "usable": [str(sum(split.usable)) for split in splits],
        "classes": [str(sum(map(bool, split.counts().values())) or "no labels") for split in splits],
        "total length": [_length(sum(split.values("duration_s"))) for split in splits],
        "shortest, median, longest": [_spread(split.values("duration_s"), "{:.2f}") + " s" for split in splits],
        "frames per video": [_spread(split.values("frames"), "{:g}") for split in splits],
        "frames per second": [_most(f"{fps:.1f}" for fps in split.values("fps")) for split in splits],
        "uneven frame rate": [str(split.values("steady").count(False)) for split in splits],
        "picture": [
            _most(f"{w}x{h}" for w, h in zip(split.values("width_px"), split.values("height_px"), strict=True))
            for split in splits
        ],
    }
    for name, values in rows.items():
        table.add_row(name, *values)
    console.print(table)


def _print_classes(splits: list[Split], console: Console) -> None:
    from rich.table import Table

    labelled = [
        (title, split.counts()) for title, split in zip(_titles(splits), splits, strict=True) if split.videos.labels
    ]
    if not labelled:
        return
    labels = list(dict.fromkeys(label for _, counts in labelled for label in counts))
    left_out = len(labels) - 2 * SHOWN_ENDS if len(labels) > SHOWN_CLASSES else 0
    if left_out:
        first = labelled[0][1]
        labels.sort(key=lambda label: first.get(label, 0))
    table = Table(
        caption=f"{counted(left_out, 'more class', 'is', 'are')} not shown" if left_out else None,
        caption_justify="left",
    )
    table.add_column("usable videos", overflow="fold")
    for title, _ in labelled:
        table.add_column(title, justify="right", overflow="fold")
    for place, label in enumerate(labels):
        if left_out and place == SHOWN_ENDS:
            table.add_row("…", *["…"] * len(labelled))
        if not left_out or place < SHOWN_ENDS or place >= len(labels) - SHOWN_ENDS:
            table.add_row(shown_spaces(label), *[str(counts.get(label, 0)) for _, counts in labelled])
    console.print(table)


def _print_problems(problems: list[Problem], splits: list[Split], console: Console) -> None:
    from mar_edge.datasets.video_check import KINDS

    titles = {split.name: title for split, title in zip(splits, _titles(splits), strict=True)}
    groups = dict.fromkeys((problem.severity, problem.kind) for problem in problems)
    for severity, kind in groups:
        group = [problem for problem in problems if (problem.severity, problem.kind) == (severity, kind)]
        console.print(f"{KINDS[kind]} ({len(group)}):", style="bold red" if severity == "error" else "bold yellow")
        for problem in group[: SHOWN_PROBLEMS[severity]]:
            title = titles[problem.split]
            where = f"{title}:{problem.line}" if problem.line else title
            # unbroken lines for searching in files, wrapped lines in a terminal
            console.print(f"  {where}: {problem.message}", soft_wrap=not console.is_terminal)
        if len(group) > SHOWN_PROBLEMS[severity]:
            console.print(f"  and {len(group) - SHOWN_PROBLEMS[severity]} more; --json FILE has them all")


def _length(total_s: float) -> str:
    minutes, seconds = divmod(round(total_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{total_s:.2f} s"


def _spread(values: list[float], form: str) -> str:
    from statistics import median

    return ", ".join(map(form.format, (min(values), median(values), max(values)))) if values else "-"


def _most(values: Any) -> str:
    """Return the most common values with their counts."""
    counts = Counter(values).most_common()
    if len(counts) == 1:
        return str(counts[0][0])
    told = [f"{value} ({count})" for value, count in counts[:3]]
    return ", ".join(told + [f"{len(counts) - 3} more"] * (len(counts) > 3)) or "-"
