"""Prints the graphs that `mar-edge export` and `mar-edge calibrate` wrote."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING

from mar_edge.counting import counted, form
from mar_edge.files.marks import PICTURE
from mar_edge.files.ownership import check_replaceable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mar_edge.bundle import Bundle
    from mar_edge.console import Console
    from mar_edge.export.exported import Exported, Quantised

WORST = 6
"""Number of blocks in a table of damages; the others are counted."""


def print_variants(bundle: Bundle, console: Console) -> None:
    """Print one line per graph: work, size, and its difference from torch."""
    from rich.table import Table

    from mar_edge.cli.views.bundle_card import shorten

    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("graph", no_wrap=True)
    for column in ("GMACs", "MB", "cosine", "error", "KL", "agree"):
        table.add_column(column, justify="right", no_wrap=True)
    labelled = any(variant.parity.top1 is not None for variant in bundle.manifest.variants)
    if labelled:
        table.add_column("top-1", justify="right", no_wrap=True)
    for variant in bundle.manifest.variants:
        parity = variant.parity
        table.add_row(
            variant.title,
            f"{variant.gmacs:.4g}",
            f"{variant.total_bytes / 1e6:.1f}",
            "-" if parity.cosine is None else f"{parity.cosine:.6f}",
            f"{parity.max_abs_error:.1e}",
            "-" if parity.kl is None else f"{parity.kl:.0e}",
            _percent(parity.top1_agreement),
            *([_percent(parity.top1)] if labelled else []),
        )
    console.print(table)
    for variant in bundle.manifest.variants:
        if variant.kept:
            parts = ", ".join(shorten(variant.kept))
            console.say(f"{variant.title} keeps in higher precision: {parts}")
    if streaming := bundle.manifest.streaming:
        console.say("GMACs are those of one time step", "dim")
    compared = {(v.parity.reference, v.parity.clips, v.parity.source) for v in bundle.manifest.variants}
    told = "; ".join(
        f"with {reference} on {counted(clips, 'answer' if streaming else 'clip')} ({source})"
        for reference, clips, source in sorted(compared)
    )
    console.say(f"{bundle.path}: compared {told}")


def check_pictures(out: Path, *, force: bool = False) -> None:
    """Check that the trade-offs of a bundle may be drawn beside it.

    Raises:
        OutputError: if a file of such a name is of another kind.
    """
    for path in sorted(out.parent.glob(f"{glob.escape(out.stem)}-mask*-trade-off.png")):
        check_replaceable(path, PICTURE, force=force)


def print_quantised(
    exported: Exported, out: Path, target_drop: float | None, console: Console, *, force: bool = False
) -> None:
    """Print which blocks INT8 affects most, and the cost of keeping them; draw the latter beside the bundle."""
    for graph in exported.quantised:
        if graph.damages:
            _print_damages(graph, console)
        if graph.rows:
            _print_trade_off(graph, out, target_drop, console, force)


def tell_failures(exported: Exported, console: Console, unbuilt: Sequence[str] = ()) -> None:
    """Print the warnings; a missing graph, or an engine that was not built, is an error.

    Raises:
        ExportError: if a graph is missing, or an engine of one.
    """
    from mar_edge.errors import ExportError

    for message in exported.warnings:
        console.say(f"warning: {message}", "yellow")
    said = f"{exported.bundle.path} was written"
    if exported.failures:
        said += f" without {len(exported.failures)} of the graphs"
    if exported.failures or unbuilt:
        raise ExportError(". ".join([said, *exported.failures, *unbuilt]))


def _print_damages(graph: Quantised, console: Console) -> None:
    from rich.table import Table

    console.print(f"{graph.title}: with only one block in INT8", style="bold")
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("block", no_wrap=True)
    for column in ("KL", "cosine", "agree"):
        table.add_column(column, justify="right")
    for damage in graph.damages[:WORST]:
        table.add_row(damage.block, f"{damage.kl:.1e}", f"{damage.cosine:.5f}", _percent(damage.top1_agreement))
    console.print(table)
    if len(graph.damages) > WORST:
        console.print(
            f"and {counted(len(graph.damages) - WORST, 'block')} that {form(len(graph.damages) - WORST, 'is', 'are')} affected less",
            style="dim",
        )


def _print_trade_off(graph: Quantised, out: Path, target_drop: float | None, console: Console, force: bool) -> None:
    from rich.table import Table

    from mar_edge.calibration.trade_off_plot import plot

    console.print(f"{graph.title}: blocks kept in higher precision", style="bold")
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("kept", no_wrap=True)
    for column in ("MB", "in INT8", "KL", "agree", "loss", ""):
        table.add_column(column, justify="right", no_wrap=True)
    for row in graph.rows:
        chosen = row is graph.rows[-1]
        table.add_row(
            f"+ {row.kept[-1]}" if row.kept else "none",
            f"{row.size_bytes / 1e6:.1f}",
            f"{100 * row.int8_share:.0f} %",
            f"{row.parity.kl:.1e}",
            _percent(row.parity.top1_agreement),
            f"{row.loss:.1f} points",
            "<- chosen" if chosen else "",
        )
    console.print(table)
    if target_drop is None:  # no picture was requested
        return
    picture = out.with_name(f"{out.stem}-{graph.name}-trade-off.png")
    plot(graph.rows, picture, target_drop=target_drop, title=f"{out.stem}: {graph.title}", force=force)
    console.say(f"drawn in {picture}", "dim")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.4g} %"
