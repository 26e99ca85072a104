"""Options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, cast

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


def load_model(model: str, engine: str, mask: str, precision: str) -> Model:
    """Load what the options name."""
    from mar_edge.runtime.model import load

    number = "auto" if mask == "auto" else int(mask)
    return load(model, engine=engine, mask=cast("int | Literal['auto']", number), precision=precision)
