"""`mar-edge verify`: every graph of a bundle in every engine of this device, against FP32, with its speed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mar_edge.cli.json_output import json_output
from mar_edge.cli.options import EnginesOption, ForceOption, JsonOption, MasksOption, PrecisionsOption, ThreadsOption
from mar_edge.cli.tried import check_ran
from mar_edge.cli.views.milliseconds import milliseconds
from mar_edge.cli.views.progress_bar import progress_bar
from mar_edge.counting import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.text import Text

    from mar_edge.bundle import Bundle
    from mar_edge.console import Console
    from mar_edge.runtime.measurement.clip_set import ClipSet
    from mar_edge.runtime.measurement.verification import Measurement


def verify(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="A built-in model or a bundle's folder.")],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="CLIPS",
            help="A video, a folder of videos, a folder per class, or a CSV with the columns path and label; labels are "
            "used if there are any. Default: the demo camera.",
        ),
    ] = None,
    engine: EnginesOption = None,
    mask: MasksOption = None,
    precision: PrecisionsOption = None,
    clips: Annotated[
        int,
        typer.Option(
            "--clips", min=1, metavar="N", help="Clips to compare; with fewer than 50 the result is not stored."
        ),
    ] = 50,
    threads: ThreadsOption = None,
    json: JsonOption = None,
    force: ForceOption = False,
) -> None:
    """Compare every graph with FP32 on this device, time it, and store what --engine auto and --precision auto use.

    With --engine or --precision nothing is stored: only a complete run can determine what is fastest.
    """
    from mar_edge.bundle import open_bundle
    from mar_edge.console import Console
    from mar_edge.evaluation.labelled_clips import open_labelled_clips
    from mar_edge.runtime.measurement import verification

    console = Console()
    with json_output(json, force=force, inputs=[bundle, data]) as sink:
        opened = open_bundle(bundle)
        warnings: list[str] = []
        with progress_bar(console, refresh_per_second=2) as progress:
            chosen = open_labelled_clips(opened.manifest, data, count=clips, warn=warnings.append, progress=progress)
            found = verification.verify(
                opened, chosen, engines=engine, masks=mask, precisions=precision, threads=threads, progress=progress
            )
        for message in dict.fromkeys(warnings):
            _warn(console, message)
        _print_tables(found, opened, chosen, console)
        for line in verdicts(found):
            console.say(line)
        taken = {}
        if (why_not := _not_remembered(len(chosen), engine, precision)) is None:
            taken = _remember(opened, found, threads, console)
        else:
            console.say(f"not stored, so auto is unchanged: {why_not}")
        if sink is not None:
            for measurement in found:
                sink(measurement.to_json())
            sink(_summary(opened, chosen, found, taken, threads))
    _check_held(found, opened)
    check_ran(found, engine, precision)


def _check_held(found: Sequence[Measurement], bundle: Bundle) -> None:
    """Check that all graphs keep the bounds of their precision.

    Raises:
        ExportError: naming those that do not, and the next step.
    """
    from mar_edge.errors import ExportError

    if missed := [measurement for measurement in found if measurement.missed]:
        told = "; ".join(f"{measurement.title} ({', '.join(measurement.missed)})" for measurement in missed)
        raise ExportError(
            f"{len(missed)} of {len(found)} exceed the bounds of their precision here: {told}. {_next_step(bundle, missed)}"
        )


def _next_step(bundle: Bundle, missed: Sequence[Measurement]) -> str:
    """Return the next step for graphs that miss their bounds."""
    from mar_edge.bundle import BUILTIN
    from mar_edge.model_spec import is_int8
    from mar_edge.runtime.measurement.choice import called

    if any(is_int8(measurement.variant.precision) for measurement in missed):
        name = called(bundle)
        out = f" -o {name}.mar" if bundle.path.parent == BUILTIN else ""
        return (
            "auto does not use them. Recalibrate INT8 with more videos of the place of use: "
            f"mar-edge calibrate {shlex.quote(name)} --data CLIPS{out}"
        )
    return "auto does not use them"


def verdicts(found: Sequence[Measurement]) -> list[str]:
    """Return notes on the rows, each once for all measurements it applies to."""
    groups: dict[str, list[Measurement]] = {}
    for measurement in found:
        for remark in _remarks(measurement, found):
            groups.setdefault(remark, []).append(measurement)
    return [f"{_titles(group)}: {remark}" for remark, group in groups.items()]


def _titles(group: Sequence[Measurement]) -> str:
    """Name measurements; those that differ only in the mask are combined: `mask 50/75 int8 in openvino`."""
    masks: dict[str, list[str]] = {}
    for measurement in group:
        mask = measurement.variant.mask
        masks.setdefault(measurement.title.removeprefix(f"mask {mask} "), []).append(str(mask))
    return ", ".join(f"mask {'/'.join(found)} {title}" for title, found in masks.items())


def _remarks(measurement: Measurement, found: Sequence[Measurement]) -> Iterator[str]:
    if measurement.failure is not None:
        yield f"does not run here. {measurement.failure}"
        return
    if not any(other.is_reference for other in found if other.variant.mask == measurement.variant.mask):
        yield (
            "the bundle has no fp32 graph at this mask to compare it with, so auto does not use "
            "it. Export one with: --precision fp32"
        )
    if measurement.missed:
        yield f"misses its bounds, {'; '.join(measurement.missed)}"
    elif measurement.remark is not None:
        yield measurement.remark
    if measurement.unkept is not None:
        yield measurement.unkept
    if (faster := _faster(measurement, found)) is not None:
        yield f"{_slower(measurement, faster)}, so auto does not use it"


def _faster(measurement: Measurement, found: Sequence[Measurement]) -> Measurement | None:
    """Return the fastest graph of higher precision at the same mask, if it makes this one unnecessary."""
    from mar_edge.model_spec import PRECISIONS
    from mar_edge.runtime.measurement.choice import MARGIN

    rank = PRECISIONS.index(measurement.variant.precision)
    higher = [
        other
        for other in found
        if other.held
        and other.variant.mask == measurement.variant.mask
        and PRECISIONS.index(other.variant.precision) < rank
    ]
    best = min(higher, key=lambda other: other.median_ms or 0, default=None)
    if best is None or not measurement.median_ms or not best.median_ms:
        return None
    return best if measurement.median_ms > best.median_ms * (1 - MARGIN) else None


def _slower(measurement: Measurement, faster: Measurement) -> str:
    from mar_edge.runtime.measurement.choice import MARGIN

    name = f"{faster.variant.precision} in {faster.engine}"
    if (measurement.median_ms or 0) >= (faster.median_ms or 0):
        return f"slower here than {name}"
    return f"hardly faster here than {name} ({100 * MARGIN:g} % or less)"


def _print_tables(found: list[Measurement], bundle: Bundle, clips: ClipSet, console: Console) -> None:
    """Print one table per mask, narrow enough for 80 columns."""
    from rich.table import Table

    from mar_edge.runtime.device.identity import device_name

    line = f"{bundle.manifest.name} on {device_name()}: {counted(len(clips), 'clip')}, {clips.source}"
    console.say(line, "bold")
    for mask in dict.fromkeys(measurement.variant.mask for measurement in found):
        same = [measurement for measurement in found if measurement.variant.mask == mask]
        labelled = any(measurement.parity and measurement.parity.top1 is not None for measurement in same)
        table = Table(box=None, padding=(0, 1, 0, 0), title=f"mask {mask} %", title_justify="left")
        table.add_column("graph", no_wrap=True)
        table.add_column("engine", no_wrap=True)
        for column in ("ms", "speed", "cosine", "error", "KL", "agree", *(["top-1"] if labelled else [])):
            table.add_column(column, justify="right", no_wrap=True)
        table.add_column("runs in", no_wrap=True)
        table.add_column("holds", no_wrap=True)
        for measurement in same:
            table.add_row(*_row(measurement, same, labelled))
        console.print(table)
    if bundle.manifest.streaming:
        console.print("ms: of one time step", style="dim")
    console.print("all but ms: against fp32 in onnxruntime at the same mask", style="dim")


def _row(measurement: Measurement, same: list[Measurement], labelled: bool) -> list[str | Text]:
    from mar_edge.console import literal

    row: list[str | Text] = [measurement.variant.precision, measurement.engine]
    if measurement.failure is not None:
        return [*row, *["-"] * (8 if labelled else 7), literal("-", style="yellow")]
    row += [milliseconds(measurement.median_ms or 0), "-" if measurement.speed is None else f"{measurement.speed:.2f}x"]
    parity = measurement.parity
    if parity is None:
        row += ["-"] * 4
    else:
        row += [
            f"{parity.cosine:.5f}",
            f"{parity.max_abs_error:.1e}",
            f"{parity.kl:.0e}",
            _share(parity.top1_agreement),
        ]
    if labelled:
        row.append(_share(_top1(measurement, same)))
    row.append(_runs_in(measurement))
    if measurement.missed:
        return [*row, literal("no", style="red")]
    return [*row, literal("yes", style="green") if measurement.held else literal("?", style="yellow")]


def _top1(measurement: Measurement, same: list[Measurement]) -> float | None:
    if measurement.parity is not None:
        return measurement.parity.top1
    # the others were compared with FP32 in ONNX Runtime
    return next((other.parity.reference_top1 for other in same if other.parity), None)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.4g}%"


def _runs_in(measurement: Measurement) -> str:
    """Return the precision of all matrix products, or how many have that of the graph: `int8`, `int8 38/39`."""
    from mar_edge.model_spec import number_formats

    counts = measurement.products
    if not counts:
        return "?"
    if len(counts) == 1:
        return next(iter(counts))
    precision = number_formats(measurement.variant.precision)[0]
    return f"{precision} {counts.get(precision, 0)}/{sum(counts.values())}"


def _not_remembered(clips: int, engines: list[str] | None, precisions: list[str] | None) -> str | None:
    """Return why `auto` must not use a run; None if it may."""
    from mar_edge.runtime.measurement.bounds import AGREEMENT_CLIPS

    if engines or precisions:
        return "this run has only part of the graphs and engines, and separate runs are not compared"
    if clips < AGREEMENT_CLIPS:
        return f"{counted(clips, 'clip', 'is', 'are')} too few to judge agreement, which takes {AGREEMENT_CLIPS}"
    return None


def _remember(
    bundle: Bundle, found: list[Measurement], threads: int | None, console: Console
) -> dict[int, dict[str, str]]:
    """Store the measurements, and report what `auto` uses now, by mask."""
    from mar_edge.errors import OutputError
    from mar_edge.runtime.measurement.choice import choose, remember

    try:
        path = remember(bundle, found, threads=threads)
    except OutputError as error:
        _warn(console, f"{error}; nothing is stored, and auto is unchanged")
        return {}
    taken = {}
    for mask in sorted({measurement.variant.mask for measurement in found}):
        choice = choose(bundle, mask=mask, threads=threads)
        taken[mask] = {"engine": choice.engine, "precision": choice.variant.precision, "reason": choice.reason}
        line = f"auto uses at mask {mask}: {choice.variant.precision} in {choice.engine} ({choice.reason})"
        console.say(line, "bold")
    console.say(f"stored in {path}", "dim")
    return taken


def _summary(
    bundle: Bundle,
    clips: ClipSet,
    found: list[Measurement],
    taken: dict[int, dict[str, str]],
    threads: int | None,
) -> dict[str, Any]:
    from mar_edge.runtime.device.identity import device_name

    return {
        "type": "summary",
        "model": bundle.manifest.name,
        "device": device_name(),
        "threads": threads,
        "clips": len(clips),
        "source": clips.source,
        "missed": [measurement.title for measurement in found if measurement.missed],
        "auto": taken,
    }


def _warn(console: Console, message: str) -> None:
    console.say(f"warning: {message}", "yellow")
