"""The table of sampling rates: how many clips are shorter than a window at each."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mar_edge.console import Console
    from mar_edge.datasets.clip_lengths import Lengths


def print_lengths(spans: dict[str, Lengths | None], console: Console, recipe_fps: float | None = None) -> None:
    """Print it, and the rate that suits the first split.

    Args:
        spans: of every split by its title; None for one without videos.
        console: where to.
        recipe_fps: the rate of the recipe, which is marked.
    """
    from rich.table import Table

    there = {title: span for title, span in spans.items() if span is not None}
    rows = {title: {row.rate_fps: row for row in span.rows} for title, span in there.items()}
    first = next(iter(there.values()))
    table = Table()
    table.add_column("frames per second")
    table.add_column(f"{first.frames} frames last", justify="right")
    for title in there:
        table.add_column(f"shorter in {title}", justify="right", overflow="fold")
    rates_fps = sorted({rate for by_rate in rows.values() for rate in by_rate})
    none_short = [rate for rate in rates_fps if not any(rate in by and by[rate].short for by in rows.values())]
    for rate_fps in rates_fps:
        if rate_fps in none_short[1:] and rate_fps not in (recipe_fps, first.suggested_fps):
            continue  # nothing changes any more
        cells = []
        for title, by_rate in rows.items():
            row, clips = by_rate.get(rate_fps), there[title].clips
            cells.append("-" if row is None else f"{row.short} ({100 * row.short / clips:.0f} %)")
        mark = " (recipe)" if rate_fps == recipe_fps else ""
        table.add_row(f"{rate_fps:g}{mark}", f"{first.frames / rate_fps:.2f} s", *cells)
    console.print(table)
    console.print(first.said)
