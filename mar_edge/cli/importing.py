"""`mar-edge import`: checkpoints of others."""

from __future__ import annotations

import math
import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from mar_edge.cli.options import ForceOption


def import_(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT",
            help="Official MAR or VideoMAE (.pth), or Hugging Face VideoMAE (a folder, its file, or its shards).",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT.safetensors", help="The checkpoint to write.")],
    labels: Annotated[Path | None, typer.Option("--labels", metavar="FILE", help="Class names, one a line.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the model; default: the output file's.")] = None,
    licence: Annotated[str, typer.Option("--licence", help="Licence of the weights.")] = "unknown",
    frames: Annotated[
        int | None, typer.Option("--frames", min=1, help="Frames in a clip; default: what the file says, else 16.")
    ] = None,
    size: Annotated[
        int | None,
        typer.Option("--size", min=1, help="Side of a clip in pixels; default: what the file says, else 224."),
    ] = None,
    rate: Annotated[float, typer.Option("--rate", min=0.1, help="Frames a second at which clips are sampled.")] = 7.5,
    sampling: Annotated[
        Literal["dense", "uniform"],
        typer.Option(
            "--sampling",
            help="dense: frames at --rate (Kinetics); uniform: spread over the whole video (Something-Something).",
        ),
    ] = "dense",
    heads: Annotated[
        int | None,
        typer.Option("--heads", min=1, help="Attention heads of the encoder; default: as published for its width."),
    ] = None,
    bridge_heads: Annotated[
        int | None, typer.Option("--bridge-heads", min=1, help="Those of the bridging classifier.")
    ] = None,
    decoder_heads: Annotated[
        int | None, typer.Option("--decoder-heads", min=1, help="Those of the pixel decoder.")
    ] = None,
    force: ForceOption = False,
) -> None:
    """Turn a foreign checkpoint into ours; which kind it is, is found out by itself."""
    from rich.console import Console

    from mar_edge.errors import CheckpointError
    from mar_edge.extras import require

    require("torch", "train")
    from mar_edge.files.ownership import check_replaceable
    from mar_edge.model import checkpoint as checkpoints
    from mar_edge.model.importing.imported import Heads
    from mar_edge.model.importing.importer import import_checkpoint

    if not math.isfinite(rate):
        raise typer.BadParameter(f"{rate} is not a number of frames a second", param_hint="--rate")
    if out.exists() and checkpoint.exists() and out.samefile(checkpoint):
        raise CheckpointError(f"{out} is the checkpoint itself; choose another name for the output")
    check_replaceable(out, checkpoints.CHECKPOINT, force=force)
    console = Console(stderr=True, highlight=False)
    imported = import_checkpoint(
        checkpoint,
        frames=frames,
        size_px=size,
        heads=Heads(encoder=heads, bridge=bridge_heads, decoder=decoder_heads),
    )
    classes = imported.config.classes
    names = _read_labels(labels) if labels else imported.labels or [f"class_{index}" for index in range(classes)]
    source = labels or "config.json"
    if len(names) != classes:
        raise CheckpointError(f"{source} has {len(names)} different names, but the model has {classes} classes")
    if len(set(names)) != classes:
        twice = next(name for name in names if names.count(name) > 1)
        raise CheckpointError(f"{source} has the name '{twice}' more than once; give every class its own")
    info = checkpoints.CheckpointInfo(
        name=name or out.stem,
        description=f"Imported from {imported.format}",
        licence=licence,
        labels=names,
        rate_fps=rate,
        resize=imported.resize,
        sampling=sampling,
        mask_ratio=0.5 if imported.config.classifier == "bridge" else 0.0,
        provenance={"command": shlex.join(["mar-edge", *sys.argv[1:]]), "format": imported.format},
    )
    checkpoints.save(out, imported.model, imported.config, info, force=force)
    config = imported.config
    parameters = sum(p.numel() for p in imported.model.parameters()) / 1e6
    console.print(
        f"{checkpoint} is {imported.format}: {parameters:.1f} M parameters, {classes} classes", soft_wrap=True
    )
    console.print(
        f"width {config.width}, depth {config.depth}, heads {config.heads}, classifier {config.classifier}, "
        f"{config.geometry.frames} frames of {config.geometry.width_px} x {config.geometry.height_px} px at {rate:g} frames/s",
        soft_wrap=True,
        markup=False,
    )
    for tensor, reason in imported.unused.items():
        console.print(f"not used: {tensor} ({reason})", markup=False)
    for note in imported.notes:
        console.print(f"note: {note}", soft_wrap=True, markup=False)
    if not classes:
        console.print("it has no classifier: name it as start.weights of a recipe to train one", soft_wrap=True)
    console.print(f"every tensor of the model was filled; written to {out}", soft_wrap=True, markup=False)


def _read_labels(path: Path) -> list[str]:
    from mar_edge.errors import CheckpointError

    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"cannot read the labels from {path}: {error}") from error
