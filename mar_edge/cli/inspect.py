"""`mar-edge inspect`: a bundle as a card."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from mar_edge.bundle import Manifest

SHOWN, HIDDEN = "██", ".."


def inspect(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="A built-in model or a bundle's folder.")],
) -> None:
    """Show what a bundle is: labels, geometry, variants with their work and parity, provenance, and its mask."""
    from rich.console import Console

    from mar_edge.bundle import open_bundle

    console = Console(highlight=False)
    manifest = open_bundle(bundle).manifest
    _card(manifest, console)
    _variants(manifest, console)
    masks = {variant.mask for variant in manifest.variants} - {0}
    if masks:
        _mask(manifest, max(masks), console)


def _card(manifest: Manifest, console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    geometry = manifest.geometry
    t, h, w = geometry.grid
    provenance = manifest.provenance
    rows = {
        "model": f"{manifest.name}: {manifest.description}",
        "labels": f"{len(manifest.labels)}: {', '.join(manifest.labels[:12])}{' …' if manifest.labels[12:] else ''}",
        "idle label": manifest.idle_label or "none",
        "clip": f"{geometry.frames} frames of {geometry.width_px}x{geometry.height_px} px at {manifest.rate_fps:g} frames/s, {manifest.resize}",
        "whole videos": "frames spread over all of it" if manifest.sampling == "uniform" else "frames at that rate",
        "tokens": f"{t}x{h}x{w} of {geometry.tubelet_frames}x{geometry.patch_px}x{geometry.patch_px} px",
        "architecture": ", ".join(
            f"{key} {manifest.architecture[key]}"
            for key in ("width", "depth", "heads", "classifier")
            if key in manifest.architecture
        ),
        "trained at": f"mask {manifest.trained_mask} %",
        "licence": manifest.licence,
        "made by": str(provenance.get("command", "unknown")),
        "exported by": str(provenance.get("export", {}).get("command", "unknown")),
    }
    table = Table.grid(padding=(0, 2))
    for key, value in rows.items():
        table.add_row(f"[dim]{key}[/]", escape(value))
    console.print(table)


def _variants(manifest: Manifest, console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    for column in ("file", "mask", "precision", "GMACs", "size", "parity with torch"):
        table.add_column(column, overflow="fold")
    for variant in manifest.variants:
        parity = variant.parity
        table.add_row(
            variant.file,
            f"{variant.mask} %",
            variant.precision,
            f"{variant.gmacs:.4g}",
            f"{variant.size_bytes / 1e6:.1f} MB",
            escape(f"{parity.max_abs_error:.1e} (bound {parity.bound:.1e}, {parity.clips} clips: {parity.source})"),
        )
    console.print(table)


def _mask(manifest: Manifest, mask: int, console: Console) -> None:
    """Draw the first time steps of the mask side by side, 4 x 4 tokens of each."""
    from mar_edge.masking import PLACES, cell_running_mask

    t, h, w = manifest.geometry.grid
    steps = cell_running_mask((t, h, w), mask / 100)[:PLACES, :4, :4]
    console.print(f"mask {mask} %: what the encoder sees of each 4x4 tokens, in the first {len(steps)} time steps")
    for row in range(steps.shape[1]):
        console.print("   ".join("".join(SHOWN if seen else HIDDEN for seen in step[row]) for step in steps))
