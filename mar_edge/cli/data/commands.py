"""The commands of `mar-edge data`."""

from __future__ import annotations

import typer

from mar_edge.cli.data.check import check
from mar_edge.cli.data.split import split

app = typer.Typer(no_args_is_help=True, help="Split and check the videos for training or evaluation.")
app.command("split")(split)
app.command("check")(check)
