"""Prints a bundle as a card: its manifest, and its mask drawn with characters."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

from mar_edge.counting import counted

if TYPE_CHECKING:
    from mar_edge.console import Console
    from mar_edge.manifest import Manifest, Variant

SHOWN, HIDDEN = "██", ".."
LABELS_SHOWN = 12


def print_card(manifest: Manifest, console: Console) -> None:
    """Print the model, its clips, and its provenance."""
    from rich.table import Table

    geometry = manifest.geometry
    t, h, w = geometry.grid
    rows = {
        "model": f"{manifest.name}: {manifest.description}",
        "labels": f"{len(manifest.labels)}: {', '.join(manifest.labels[:LABELS_SHOWN])}"
        + (" …" if manifest.labels[LABELS_SHOWN:] else ""),
        "idle label": manifest.idle_label or "there is none",
        **_events(manifest),
        "clip": f"{geometry.frames} frames of {geometry.width_px}x{geometry.height_px} px at {manifest.rate_fps:g} frames/s, {manifest.resize}",
        **_streaming(manifest),
        "video files": "frames spread over the entire video"
        if manifest.sampling == "uniform"
        else "frames at that rate",
        "tokens": f"{t}x{h}x{w} of {geometry.tubelet_frames}x{geometry.patch_px}x{geometry.patch_px} px",
        "architecture": ", ".join(
            f"{key} {manifest.architecture[key]}"
            for key in ("width", "depth", "heads", "classifier")
            if key in manifest.architecture
        ),
        "trained at": f"mask {manifest.trained_mask} %",
        "licence": manifest.licence,
        **_provenance(manifest.provenance),
    }
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in rows.items():
        table.add_row(key, value)
    console.print(table)


def _events(manifest: Manifest) -> dict[str, str]:
    """Return what the model says of its events, and of whole clips; nothing where the defaults hold."""
    said = manifest.events.said() if manifest.events is not None else []
    rows = {"events": f"{', '.join(said)}; unless a stream says otherwise"} if said else {}
    if manifest.clip_answer == "peak":
        rows["clip answer"] = "the answer that is surest of a class other than the idle one"
    return rows


def _streaming(manifest: Manifest) -> dict[str, str]:
    if not manifest.streaming:
        return {}
    steps, frames = manifest.geometry.grid[0], manifest.geometry.tubelet_frames
    return {
        "streaming": f"an answer every {counted(frames, 'frame')}, a time step, whose work alone is done (GMACs); "
        f"attention sees the band of {counted(steps, 'step')} that ends with it"
    }


def _provenance(provenance: dict[str, Any]) -> dict[str, str]:
    export = provenance.get("export", {})
    rows = {
        "made by": str(provenance.get("command", "unknown")),
        "made from": _text(provenance.get("data", "")),
        "exported by": str(export.get("command", "unknown")),
        "exported with": ", ".join(f"{name} {version}" for name, version in export.get("versions", {}).items()),
        "checkpoint": str(export.get("checkpoint_sha256", ""))[:12],
    }
    return {key: value for key, value in rows.items() if value}


def print_variants(manifest: Manifest, console: Console) -> None:
    """Print the graphs: size, work and parity as a table, followed by notes."""
    from rich.box import SIMPLE
    from rich.table import Table

    variants = manifest.variants
    labelled = any(variant.parity.top1 is not None for variant in variants)
    columns = ["size", "GMACs", "cosine", "agree", "KL", "error", "allowed", *(["top-1"] if labelled else [])]
    table = Table(box=SIMPLE, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("graph")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for variant in variants:
        parity = variant.parity
        table.add_row(
            variant.title,
            f"{variant.total_bytes / 1e6:.1f} MB",
            f"{variant.gmacs:.4g}",
            _number(parity.cosine, "{:.6f}"),
            _number(parity.top1_agreement, "{:.1%}"),
            _number(parity.kl, "{:.1e}"),
            f"{parity.max_abs_error:.1e}",
            f"{parity.bound:.1e}",
            *([_number(parity.top1, "{:.1%}")] if labelled else []),
        )
    console.print()
    console.print(table)
    console.print()
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="fold")
    notes: dict[str, Callable[[Variant], str]] = {"parity": partial(_compared, manifest)}
    if manifest.streaming:
        notes["state"] = partial(_state, manifest)
    for title, tell in {**notes, "kept higher": _kept, "quantised": _quantised}.items():
        for text in _shared(variants, tell):
            rows.add_row(title, text)
            title = ""
    rows.add_row("files", ", ".join(name for variant in variants for name in variant.files))
    console.print(rows)
    console.print()


def _shared(variants: Sequence[Variant], tell: Callable[[Variant], str]) -> Iterator[str]:
    """Yield the notes on variants, once for all variants that share a note."""
    members: dict[str, list[Variant]] = {}
    for variant in variants:
        members.setdefault(tell(variant), []).append(variant)
    for text, group in members.items():
        if text:
            everyone = len(group) == len(variants)
            yield text if everyone else f"{_titles(group)}: {text}"


def _titles(variants: Sequence[Variant]) -> str:
    """Name variants; those that differ only in the mask are combined."""
    masks: dict[str, list[str]] = {}
    for variant in variants:
        masks.setdefault(variant.title.removeprefix(f"mask {variant.mask} "), []).append(str(variant.mask))
    return ", ".join(f"mask {'/'.join(found)} {title}" for title, found in masks.items())


def _state(manifest: Manifest, variant: Variant) -> str:
    return f"{state_bytes(manifest, variant) / 1e6:.3g} MB for a stream, read by every step"


def state_bytes(manifest: Manifest, variant: Variant) -> int:
    """Return the size of the state of one stream of a streaming model; keys and values are in the graph's own precision."""
    from mar_edge.masking import running_places

    model = manifest.architecture
    widths: int = model.get("depth", 0) * model.get("width", 0) + model.get("bridge_depth", 0) * model.get(
        "bridge_width", 0
    )
    tokens = int(running_places(manifest.geometry.grid, variant.mask / 100).shape[1])
    half = {variant.precision, variant.quantisation.get("rest")} & {"fp16", "bf16"}
    return 2 * (manifest.geometry.grid[0] - 1) * tokens * widths * (2 if half else 4)


def _compared(manifest: Manifest, variant: Variant) -> str:
    parity = variant.parity
    clips = counted(parity.clips, "answer" if manifest.streaming else "clip")
    reference = f", whose top-1 is {parity.reference_top1:.1%}" if parity.reference_top1 is not None else ""
    return f"{clips} ({parity.source}) against {parity.reference}{reference}"


def _kept(variant: Variant) -> str:
    return ", ".join(shorten(variant.kept))


def _quantised(variant: Variant) -> str:
    about = variant.quantisation
    if not about:
        return ""
    alpha = about.get("equalisation")
    told = [
        f"{about.get('method', 'unknown')} ranges of {counted(about['clips'], 'clip') if 'clips' in about else 'unknown clips'}"
        + (f" ({about['source']})" if about.get("source") else ""),
        f"channels equalised at {alpha:g}" if alpha is not None else "not equalised",
    ]
    if about.get("residuals"):
        told.append("residuals in INT8")
    if "int8_share" in about:
        told.append(f"{100 * about['int8_share']:.0f} % of the work in INT8")
    if "rest" in about:
        told.append(f"rest {about['rest']}")
    if about.get("in_fp32"):
        told.append(f"{', '.join(shorten(about['in_fp32']))} in fp32")
    if damages := about.get("sensitivity"):
        told.append(f"worst block {damages[0]['block']} (alone {damages[0]['kl']:.0e} nats)")
    return ", ".join(told)


def shorten(names: Iterable[str]) -> list[str]:
    """Join the names of parts that differ in the number of their block: `encoder.blocks.0-11.norm1`."""
    numbered: dict[tuple[str, str], list[int]] = {}
    short: list[str] = []
    for name in names:
        head, found, tail = name.partition(".blocks.")
        number, _, rest = tail.partition(".")
        if found and number.isdigit():
            numbered.setdefault((head, rest), []).append(int(number))
        else:
            short.append(name)
    for (head, rest), numbers in numbered.items():
        short.append(f"{head}.blocks.{_ranges(numbers)}" + (f".{rest}" if rest else ""))
    return sorted(short)


def _ranges(numbers: list[int]) -> str:
    found = []
    for _, run in groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0]):
        members = [number for _, number in run]
        found.append(str(members[0]) if len(members) == 1 else f"{members[0]}-{members[-1]}")
    return ",".join(found)


def print_mask(manifest: Manifest, mask: int, console: Console) -> None:
    """Draw the first time steps of a mask side by side, 4 x 4 tokens of each."""
    from mar_edge.masking import PLACES, cell_running_mask

    if not mask:
        console.print("mask 0 %: the encoder sees every token")
        return
    steps = cell_running_mask(manifest.geometry.grid, mask / 100)[:PLACES, :4, :4]
    console.print(f"mask {mask} %: what the encoder sees of each 4x4 tokens, in the first {len(steps)} time steps")
    for row in range(steps.shape[1]):
        console.print("   ".join("".join(SHOWN if seen else HIDDEN for seen in step[row]) for step in steps))


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "; ".join(_text(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    return value if isinstance(value, str) else json.dumps(value)


def print_unlisted(names: list[str], console: Console) -> None:
    """Print the files of a bundle that its manifest does not list."""
    if names:
        listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if names[5:] else "")
        console.say(f"{listed}: not listed in the manifest, and never read", style="yellow")
