"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

if TYPE_CHECKING:
    from mar_edge.runtime.model import Model

MaskChoice = Literal["auto", "0", "25", "50", "75"]
EngineChoice = Literal["auto", "onnxruntime", "openvino", "tensorrt", "tensorrt-rtx"]
BuildChoice = Literal["tensorrt", "tensorrt-rtx"]
CalibrateMethod = Literal["auto", "minmax", "percentile", "entropy", "mse"]
PrecisionChoice = Literal["auto", "fp32", "fp16", "bf16", "int8-bf16", "int8"]

ModelOption = Annotated[
    str, typer.Option("--model", metavar="NAME|PATH", help="A built-in model or a bundle's folder.")
]
EngineOption = Annotated[
    EngineChoice,
    typer.Option(
        "--engine", help="Engine that runs the graph; auto: the fastest on this device according to mar-edge verify."
    ),
]
MaskOption = Annotated[MaskChoice, typer.Option("--mask", help="Percent of hidden tubelets; auto: as trained.")]
PrecisionOption = Annotated[
    PrecisionChoice,
    typer.Option(
        "--precision",
        help="Precision of the graph; auto: the fastest on this device according to mar-edge verify, otherwise fp32.",
    ),
]


def one_of(known: tuple[str, ...]) -> Callable[[list[str] | None], list[str] | None]:
    """Return a check of an option that may be repeated; typer has choices for single ones only."""

    def check(given: list[str] | None) -> list[str] | None:
        for value in given or ():
            if value not in known:
                raise typer.BadParameter(f"'{value}' is not one of {', '.join(known)}")
        return given or None

    return check


# for commands that use several graphs
EnginesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--engine",
        metavar="|".join(get_args(EngineChoice)[1:]),
        callback=one_of(get_args(EngineChoice)[1:]),
        help="Only this engine; repeat for more. Default: all installed engines.",
    ),
]
MasksOption = Annotated[
    list[int] | None,
    typer.Option("--mask", metavar="PERCENT", help="Only graphs of this mask ratio; repeat for more. Default: all."),
]
PrecisionsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--precision",
        metavar="|".join(get_args(PrecisionChoice)[1:]),
        callback=one_of(get_args(PrecisionChoice)[1:]),
        help="Only graphs of this precision; repeat for more. Default: all.",
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option("--threads", min=1, max=1024, metavar="N", help="CPU threads for one inference; default: all cores."),
]
CalibrateMethodOption = Annotated[
    CalibrateMethod, typer.Option("--method", help="How INT8 ranges are chosen; auto: by the smallest divergence.")
]
TargetDropOption = Annotated[
    float | None,
    typer.Option(
        "--target-drop",
        min=0.0,
        metavar="POINTS",
        help="Keep the worst blocks of INT8 in FP32 until at most this much top-1 is lost (without labels: until at most this "
        "percentage of clips gets another class than in FP32). Default: as few as needed to keep the bounds of INT8.",
    ),
]
JsonOption = Annotated[
    str | None, typer.Option("--json", metavar="FILE|-", help="Write JSON lines to a file, or to stdout with '-'.")
]
ForceOption = Annotated[
    bool,
    typer.Option("--force", help="Replace an existing file at an output path, even if mar-edge did not write it."),
]

ViewsOption = Annotated[
    str | None,
    typer.Option(
        "--views",
        metavar="CLIPSxCROPS",
        help="Windows x crops to average, such as 5x3; default: all that fit side by side, or one over the entire clip for a "
        "model that samples uniformly.",
    ),
]


def load_model(model: str, engine: str, mask: str, precision: str) -> Model:
    """Load the model that the options name."""
    from mar_edge.runtime.model import load

    return load(model, engine=engine, mask=mask_percent(mask), precision=precision)


def mask_percent(mask: str) -> int | Literal["auto"]:
    """Return the value of `--mask`."""
    return "auto" if mask == "auto" else int(mask)


def read_views(text: str | None) -> tuple[int, int] | None:
    """Return (clips, crops) of `--views`; None without it.

    Raises:
        BadParameter: if it does not have the form 5x3.
    """
    if text is None:
        return None
    clips, x, crops = text.partition("x")
    if not (x and text.isascii() and clips.isdigit() and crops.isdigit()):
        raise typer.BadParameter(f"'{text}' is not CLIPSxCROPS, for instance 2x3", param_hint="--views")
    return int(clips), int(crops)
