"""Options of the commands on data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

GroupOption = Annotated[
    str | None,
    typer.Option(
        "--group",
        metavar="COLUMN|REGEX|none",
        help="What belongs together: a column of the list, a regular expression on the paths, or none. "
        "Default: as columns or names show.",
    ),
]
RootOption = Annotated[
    Path | None,
    typer.Option("--root", metavar="DIR", help="Folder that relative paths start from; default: that of each list."),
]
LabelsOption = Annotated[
    Path | None,
    typer.Option("--labels", metavar="FILE", help="Class names, one per line, for labels that are numbers."),
]
