"""Writes docs/reference/cli.md, every command with its options, from the command line itself.

python docs/make/cli_reference.py
"""

from __future__ import annotations

from pathlib import Path

import typer
from typer.cli import get_docs_for_click

from mar_edge.cli.main import app

DOCS = Path(__file__).parent.parent

INTRODUCTION = """Written by `python docs/make/cli_reference.py` from the commands themselves.

Exit codes: 0 done; 1 an error, reported in one line with the next step; 2 wrong usage; 130 interrupted. A second Ctrl-C or signal ends a command at once. JSON goes to stdout
(`--json -`) or to a file, everything for people to stderr.
"""


def reference() -> str:
    """Return the text of docs/reference/cli.md."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command, info_name="mar-edge"), name="mar-edge")
    _heading, _, rest = text.partition("\n")
    lines = [line.rstrip() for line in rest.strip().splitlines()]
    return "\n".join(["# Command line", "", INTRODUCTION, *lines, ""])


if __name__ == "__main__":
    (DOCS / "reference" / "cli.md").write_text(reference(), encoding="utf-8")
