"""Prints a graph's layer report as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mar_edge.console import Console
    from mar_edge.export.layer_report import Blocks

ANSWERS = {True: "yes", False: "no", None: "?"}


def print_layers(blocks: Sequence[Blocks], console: Console) -> None:
    """Print one row per step; identical neighbouring blocks share their rows."""
    from rich.box import SIMPLE
    from rich.table import Table

    from mar_edge.console import literal

    total = max(1, sum(block.macs for block in blocks))
    table = Table(box=SIMPLE, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("part")
    table.add_column("operators")
    table.add_column("precision")
    table.add_column("MACs", justify="right", no_wrap=True)
    table.add_column("one kernel in TensorRT?")
    for block in blocks:
        title = block.name or "pixels"
        if block.count > 1 or any(step.name for step in block.steps):
            table.add_row(literal(title, style="bold"), "", "", literal(_percent(block.macs, total), style="bold"), "")
            title = ""
        for step in block.steps:
            macs = block.count * step.macs
            answer = ANSWERS[step.fusion.one_kernel]
            table.add_row(
                f"  {step.name}" if step.name else title,
                step.operators,
                step.precision,
                _percent(macs, total) if macs else "",
                f"{answer}: {step.fusion.why}" if step.fusion.why else answer,
            )
    console.print(table)
    console.print(
        "Precision is read from the graph. Fusion in TensorRT is according to its documentation; no engine was built.",
        style="dim",
    )


def _percent(macs: int, total: int) -> str:
    return f"{100 * macs / total:.1f} %"
