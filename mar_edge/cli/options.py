"""Options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from mar_edge.runtime.model import Model

MaskChoice = Literal["auto", "0", "25", "50", "75"]
EngineChoice = Literal["auto", "onnxruntime"]
PrecisionChoice = Literal["auto", "fp32"]

ModelOption = Annotated[
    str, typer.Option("--model", metavar="NAME|PATH", help="A built-in model or a bundle's folder.")
]
EngineOption = Annotated[EngineChoice, typer.Option("--engine", help="What runs the graph.")]
MaskOption = Annotated[
    MaskChoice, typer.Option("--mask", help="Percent of the tubelets that stay hidden; auto: as trained.")
]
PrecisionOption = Annotated[PrecisionChoice, typer.Option("--precision", help="Numbers the graph computes with.")]
JsonOption = Annotated[
    str | None, typer.Option("--json", metavar="FILE|-", help="Write JSON lines to a file, or to stdout with '-'.")
]

ViewsOption = Annotated[
    str | None,
    typer.Option(
        "--views",
        metavar="CLIPSxCROPS",
        help="Windows x crops to average, as 5x3; default: all that fit side by side, or one over the whole clip for a "
        "model that samples so.",
    ),
]


def load_model(model: str, engine: str, mask: str, precision: str) -> Model:
    """Load what the options name."""
    from mar_edge.runtime.model import load

    return load(model, engine=engine, mask=mask_percent(mask), precision=precision)


def mask_percent(mask: str) -> int | Literal["auto"]:
    """Return what `--mask` means."""
    return "auto" if mask == "auto" else int(mask)


def read_views(text: str | None) -> tuple[int, int] | None:
    """Return (clips, crops) of `--views`; None without it.

    Raises:
        BadParameter: if it is nothing like 5x3.
    """
    if text is None:
        return None
    clips, x, crops = text.partition("x")
    if not (x and text.isascii() and clips.isdigit() and crops.isdigit()):
        raise typer.BadParameter(f"'{text}' is not CLIPSxCROPS, for instance 2x3", param_hint="--views")
    return int(clips), int(crops)
