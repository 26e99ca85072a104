"""`mar-edge data split`: lists of clips for training, validation and test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mar_edge.cli.data.options import GroupOption, LabelsOption, RootOption
from mar_edge.cli.options import ForceOption
from mar_edge.cli.views.progress_bar import progress_bar
from mar_edge.counting import counted
from mar_edge.printable import shown_spaces, typed

if TYPE_CHECKING:
    from mar_edge.console import Console
    from mar_edge.datasets.splits import Split


def split(
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="CSV (path,label), list (path label) or folder of class folders."),
    ],
    group: GroupOption = None,
    val: Annotated[float, typer.Option("--val", metavar="PERCENT", help="Of the clips; 0 for no validation.")] = 15,
    test: Annotated[float, typer.Option("--test", metavar="PERCENT", help="Of the clips; 0 for no test.")] = 25,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", metavar="FOLDER", help="Folder of the lists; default: DATA, or the folder of a list."
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**63 - 1, help="Another one gives another split.")] = 0,
    root: RootOption = None,
    labels: LabelsOption = None,
    force: ForceOption = False,
) -> None:
    """Write train.csv, val.csv and test.csv, in which no person, scene or recording lies twice."""
    from mar_edge.console import Console
    from mar_edge.datasets.groups import find_groups
    from mar_edge.datasets.split_lists import write_split
    from mar_edge.datasets.splits import read_clips
    from mar_edge.datasets.splits import split as split_videos
    from mar_edge.datasets.video_list import read_labels

    console = Console()
    with progress_bar(console) as progress:
        names = None if labels is None else read_labels(labels)
        videos = read_clips(data, root=root, labels=names, progress=progress)
    for remark in videos.remarks:
        console.say(remark, style="yellow")
    grouping = find_groups(videos, group)
    found = split_videos(videos, grouping, val=val / 100, test=test / 100, seed=seed)
    folder = out or (data if data.is_dir() else data.parent)
    asked = {"group": group, "val": val, "test": test, "seed": seed}
    lists = write_split(found, folder, command=asked, inputs=[data if data.is_file() else None, labels], force=force)
    _print(found, console)
    console.say(found.grouping.said)
    for remark in found.remarks:
        console.say(remark, style="yellow")
    written = " ".join(map(typed, lists))
    console.say(f"written: {written}", style="green")
    console.say(f"Run: mar-edge data check {written}")


def _print(found: Split, console: Console) -> None:
    from rich.table import Table

    table = Table()
    table.add_column("clips", overflow="fold")
    for name in found.parts:
        table.add_column(name, justify="right")
    counts = [part.counts() for part in found.parts.values()]
    labels = list(found.train.labels)
    shown = labels if len(labels) <= 30 else labels[:10]
    for label in shown:
        table.add_row(shown_spaces(label), *[str(count[label]) for count in counts])
    if len(shown) < len(labels):
        table.add_row(f"and {counted(len(labels) - len(shown), 'more class')}", *["…"] * len(counts))
    total = sum(len(part.videos) for part in found.parts.values())
    table.add_section()
    table.add_row("all", *[str(len(part.videos)) for part in found.parts.values()])
    table.add_row("percent", *[f"{100 * len(part.videos) / total:.0f}" for part in found.parts.values()])
    if not found.grouping.independent:
        groups = [len({found.groups[video] for video in part.videos}) for part in found.parts.values()]
        table.add_row("groups", *map(str, groups))
    console.print(table)
