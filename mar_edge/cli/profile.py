"""`mar-edge profile`: time and memory of every graph of a bundle in every engine of this device, by block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mar_edge.cli.json_output import json_output
from mar_edge.cli.options import EnginesOption, ForceOption, JsonOption, MasksOption, PrecisionsOption, ThreadsOption
from mar_edge.cli.tried import check_ran
from mar_edge.cli.views.milliseconds import milliseconds
from mar_edge.cli.views.progress_bar import progress_bar

if TYPE_CHECKING:
    from mar_edge.console import Console
    from mar_edge.runtime.measurement.profiling import Profile

COLUMNS = 4
"""Number of graphs in one table of blocks, to fit into 80 columns."""


def profile(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="A built-in model or a bundle's folder.")],
    engine: EnginesOption = None,
    mask: MasksOption = None,
    precision: PrecisionsOption = None,
    runs: Annotated[
        int, typer.Option("--runs", min=1, metavar="N", help="Inferences that the median is taken over.")
    ] = 15,
    threads: ThreadsOption = None,
    json: JsonOption = None,
    force: ForceOption = False,
) -> None:
    """Measure time and memory of every graph on this device, and the time of each block of the model."""
    from mar_edge.bundle import open_bundle
    from mar_edge.console import Console
    from mar_edge.runtime.device.identity import device_name
    from mar_edge.runtime.measurement import profiling

    console = Console()
    with json_output(json, force=force, inputs=[bundle]) as sink:
        opened = open_bundle(bundle)
        # drawing would affect the measurement
        with progress_bar(console, refresh_per_second=2) as progress:
            found = profiling.profile(
                opened,
                engines=engine,
                masks=mask,
                precisions=precision,
                threads=threads,
                rounds=runs,
                progress=progress,
            )
        streaming = opened.manifest.streaming
        unit = "one time step after the other" if streaming else "one clip"
        line = f"{opened.manifest.name} on {device_name()}: median of {runs}{' or more' if streaming else ''}, {unit} of the demo camera"
        console.say(line, "bold")
        for ratio in dict.fromkeys(one.variant.mask for one in found):
            same = [one for one in found if one.variant.mask == ratio]
            _print_totals(same, console)
            _print_blocks(same, console)
        for one in found:
            if one.failure is not None:
                line = f"{one.variant.title} in {one.engine} does not run: {one.failure}"
                console.say(line)
        if sink is not None:
            for one in found:
                sink(one.to_json())
    check_ran(found, engine, precision)


def _print_totals(same: list[Profile], console: Console) -> None:
    from rich.table import Table

    streaming = any(one.layout is not None for one in same)
    title = f"mask {same[0].variant.mask} %: {same[0].variant.gmacs:.4g} GMACs" + (" a time step" if streaming else "")
    table = Table(box=None, padding=(0, 1, 0, 0), title=title, title_justify="left")
    table.add_column("graph")
    table.add_column("engine")
    columns = [
        "ms",
        "speed",
        "GMACs/s",
        "file MB",
        "held MB",
        "peak MB",
        *(["reads MB", "writes MB"] if streaming else []),
    ]
    for column in columns:
        table.add_column(column, justify="right")
    base = next((one.median_ms for one in same if (one.variant.precision, one.engine) == ("fp32", "onnxruntime")), None)
    for one in same:
        row = [one.variant.precision, one.engine]
        if one.median_ms is None:
            table.add_row(*row, *["-"] * len(columns))
            continue
        memory = one.memory or (None, None)
        table.add_row(
            *row,
            milliseconds(one.median_ms),
            "-" if base is None else f"{base / one.median_ms:.2f}x",
            f"{one.gmacs_per_s:.4g}",
            f"{one.variant.total_bytes / 1e6:.1f}",
            *("-" if value is None else f"{value:.0f}" for value in memory),
            *([f"{size / 1e6:.3g}" for size in (one.layout.bytes, one.layout.step_bytes)] if one.layout else []),
        )
    console.print(table)
    if streaming:
        console.print("a time step reads the keys and values that are kept, and writes its own", style="dim")
    console.print("memory is that of a process that does nothing else, Python included", style="dim")


def _print_blocks(same: list[Profile], console: Console) -> None:
    from rich.table import Table

    from mar_edge.console import literal

    shown = [one for one in same if one.blocks is not None]
    if not shown:
        if any(one.failure is None for one in same):
            console.print("no engine reports blocks of these graphs; newer exports name them", style="dim")
        return
    console.print("milliseconds by block, and their share", style="italic")
    for start in range(0, len(shown), COLUMNS):
        part = shown[start : start + COLUMNS]
        table = Table(box=None, padding=(0, 1, 0, 0))
        table.add_column("block", no_wrap=True)
        for one in part:
            table.add_column(literal(one.variant.precision, one.engine), justify="right", no_wrap=True)
        for block in dict.fromkeys(block for one in part for block in one.blocks or {}):
            table.add_row(block, *(_share(one.blocks or {}, block) for one in part))
        console.print(table)


def _share(blocks: dict[str, float], block: str) -> str:
    if block not in blocks:
        return "-"
    return f"{blocks[block]:.2f} {100 * blocks[block] / (sum(blocks.values()) or 1):3.0f}%"
