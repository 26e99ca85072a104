"""`mar-edge import`: foreign checkpoints."""

from __future__ import annotations

import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mar_edge.cli.options import ForceOption
from mar_edge.counting import counted

if TYPE_CHECKING:
    from mar_edge.model.importing.imported import Imported


CheckpointArgument = Annotated[
    Path,
    typer.Argument(
        metavar="CHECKPOINT",
        help="Official MAR or VideoMAE (.pth), or Hugging Face VideoMAE (a folder, its file, or its shards).",
    ),
]
OutOption = Annotated[Path, typer.Option("-o", "--out", metavar="OUT.safetensors", help="The checkpoint to write.")]
LabelsOption = Annotated[Path | None, typer.Option("--labels", metavar="FILE", help="Class names, one per line.")]
NameOption = Annotated[str | None, typer.Option("--name", help="Name of the model; default: the output file's.")]
LicenceOption = Annotated[str, typer.Option("--licence", help="Licence of the weights.")]
FramesOption = Annotated[
    int | None, typer.Option("--frames", min=1, help="Frames in a clip; default: as in the file, otherwise 16.")
]
SizeOption = Annotated[
    int | None, typer.Option("--size", min=1, help="Side of a clip in pixels; default: as in the file, otherwise 224.")
]
RateOption = Annotated[float, typer.Option("--rate", min=0.1, help="Frames per second at which clips are sampled.")]
SamplingOption = Annotated[
    Literal["dense", "uniform"],
    typer.Option(
        "--sampling",
        help="dense: frames at --rate (Kinetics); uniform: spread over the entire video (Something-Something).",
    ),
]
HeadsOption = Annotated[
    int | None,
    typer.Option("--heads", min=1, help="Attention heads of the encoder; default: as published for its width."),
]
BridgeHeadsOption = Annotated[
    int | None, typer.Option("--bridge-heads", min=1, help="Attention heads of the bridging classifier.")
]
DecoderHeadsOption = Annotated[
    int | None, typer.Option("--decoder-heads", min=1, help="Attention heads of the pixel decoder.")
]


def import_(
    checkpoint: CheckpointArgument,
    out: OutOption,
    labels: LabelsOption = None,
    name: NameOption = None,
    licence: LicenceOption = "unknown",
    frames: FramesOption = None,
    size: SizeOption = None,
    rate: RateOption = 7.5,
    sampling: SamplingOption = "dense",
    heads: HeadsOption = None,
    bridge_heads: BridgeHeadsOption = None,
    decoder_heads: DecoderHeadsOption = None,
    force: ForceOption = False,
) -> None:
    """Convert a foreign checkpoint to one of mar-edge; its format is detected automatically."""
    from mar_edge.console import Console
    from mar_edge.extras import require

    require("torch", "train")
    from mar_edge.files.ownership import check_not_input, check_replaceable
    from mar_edge.model import checkpoint as checkpoints
    from mar_edge.model.importing.imported import Heads
    from mar_edge.model.importing.importer import import_checkpoint
    from mar_edge.model.importing.weight_files import locate

    if not math.isfinite(rate):
        raise typer.BadParameter(f"{rate} is not a number of frames per second", param_hint="--rate")
    check_not_input(out, [*locate(checkpoint), labels])
    check_replaceable(out, checkpoints.CHECKPOINT, force=force)
    console = Console()
    imported = import_checkpoint(
        checkpoint,
        frames=frames,
        size_px=size,
        heads=Heads(encoder=heads, bridge=bridge_heads, decoder=decoder_heads),
    )
    info = checkpoints.CheckpointInfo(
        name=name or out.stem,
        description=f"Imported from {imported.format}",
        licence=licence,
        labels=_labels(labels, imported),
        rate_fps=rate,
        resize=imported.resize,
        sampling=sampling,
        mask_ratio=0.5 if imported.config.classifier == "bridge" else 0.0,
        provenance={"command": shlex.join(["mar-edge", *sys.argv[1:]]), "format": imported.format},
    )
    checkpoints.save(out, imported.model, imported.config, info, force=force)
    for line in _summary(checkpoint, imported, rate):
        console.say(line)
    console.say(f"every tensor of the model was filled; written to {out}")


def _labels(path: Path | None, imported: Imported) -> list[str]:
    """Return the class names: of a file, of the checkpoint, or numbers.

    Raises:
        CheckpointError: if they are not one unique name for each class.
    """
    from mar_edge.errors import CheckpointError

    classes = imported.config.classes
    names = _read_labels(path) if path else imported.labels or [f"class_{index}" for index in range(classes)]
    source = path or "config.json"
    if len(names) != classes:
        raise CheckpointError(
            f"{source} has {counted(len(names), 'different name')}, but the model has {counted(classes, 'class')}"
        )
    if len(set(names)) != classes:
        twice = next(name for name in names if names.count(name) > 1)
        raise CheckpointError(f"{source} has the name '{twice}' more than once; give every class a unique name")
    return names


def _summary(checkpoint: Path, imported: Imported, rate_fps: float) -> list[str]:
    """Return a readable summary of the import."""
    config, geometry = imported.config, imported.config.geometry
    parameters = sum(p.numel() for p in imported.model.parameters()) / 1e6
    return [
        f"{checkpoint} is {imported.format}: {parameters:.1f} M parameters, {counted(config.classes, 'class')}",
        f"width {config.width}, depth {config.depth}, heads {config.heads}, classifier {config.classifier}, "
        f"{counted(geometry.frames, 'frame')} of {geometry.width_px} x {geometry.height_px} px at {rate_fps:g} frames/s",
        *(f"not used: {tensor} ({reason})" for tensor, reason in imported.unused.items()),
        *(f"note: {note}" for note in imported.notes),
        *([] if config.classes else ["it has no classifier: set it as start.weights of a recipe to train one"]),
    ]


def _read_labels(path: Path) -> list[str]:
    from mar_edge.errors import CheckpointError
    from mar_edge.files.regular_file import read_text

    try:
        return [line.strip() for line in read_text(path).split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"cannot read the labels from {path}: {error}") from error
