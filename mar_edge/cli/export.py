"""`mar-edge export`: checkpoint to bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A mar-edge checkpoint (.safetensors).")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="NAME.mar", help="The bundle to write.")],
    mask: Annotated[
        list[int] | None,
        typer.Option(
            "--mask", help="Percent of hidden tubelets: 0, 25, 50 or 75; repeat for more graphs. Default: as trained."
        ),
    ] = None,
    precision: Annotated[list[str] | None, typer.Option("--precision", help="fp32; repeat for more graphs.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="CLIPS",
            help="A video or a folder of videos for the parity check; default: the demo camera.",
        ),
    ] = None,
) -> None:
    """Export a checkpoint to a bundle of ONNX graphs, each checked against torch before it is kept."""
    from rich.console import Console

    from mar_edge.extras import require

    require("torch", "export")
    require("onnx", "export")
    require("onnxscript", "export")
    from mar_edge.export.exporter import export as start

    console = Console(stderr=True, highlight=False)
    with console.status("exporting") as status:
        bundle = start(checkpoint, out, masks=mask, precisions=precision or ["fp32"], data=data, progress=status.update)
    for variant in bundle.manifest.variants:
        console.print(
            f"{bundle.path / variant.file}: {variant.gmacs:.4g} GMACs, {variant.size_bytes / 1e6:.1f} MB, "
            f"largest error {variant.parity.max_abs_error:.1e} over {variant.parity.clips} clips ({variant.parity.source})",
            soft_wrap=True,
            markup=False,
        )
