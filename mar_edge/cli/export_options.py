"""Options of `mar-edge export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mar_edge.cli.options import BuildChoice

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="CHECKPOINT",
        help="A mar-edge checkpoint (.safetensors); or a bundle or built-in model, to export it again.",
    ),
]
OutOption = Annotated[Path, typer.Option("-o", "--out", metavar="NAME.mar", help="The bundle to write.")]
MasksOption = Annotated[
    list[int] | None,
    typer.Option(
        "--mask", help="Percent of hidden tubelets: 0, 25, 50 or 75; repeat for more graphs. Default: as trained."
    ),
]
PrecisionOption = Annotated[
    list[str] | None,
    typer.Option("--precision", help="fp32, fp16, bf16, int8-bf16 or int8; repeat for more graphs. Default: fp32."),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="CLIPS",
        help="Clips to compare every graph with torch on: a video, a folder of videos, a folder per class, or a CSV "
        "with the columns path and label. Default: some of the videos of --calibrate, held out from calibration, otherwise the demo camera.",
    ),
]
ClipsOption = Annotated[
    int | None, typer.Option("--clips", min=1, metavar="N", help="Clips to compare; default 8, or 64 with --data.")
]
CalibrateOption = Annotated[
    Path | None,
    typer.Option("--calibrate", metavar="CLIPS", help="Clips to calibrate INT8 on; videos, as for --data."),
]
CalibrationClipsOption = Annotated[
    int | None, typer.Option("--calibration-clips", min=1, metavar="N", help="Clips of --calibrate; default 64.")
]
ProfileOption = Annotated[
    Path | None,
    typer.Option(
        "--profile",
        metavar="FILE.yaml",
        help="Use masks, precisions, build and workspace of a device's profile; other options override it.",
    ),
]
BuildOption = Annotated[
    BuildChoice | None,
    typer.Option("--build", help="Also build the engines, into this device's cache; on the device that runs them."),
]
WorkspaceOption = Annotated[
    int | None,
    typer.Option("--workspace", min=1, metavar="MIB", help="Maximum memory that a layer may use during --build."),
]
BatchOption = Annotated[
    int | None,
    typer.Option(
        "--batch", min=1, metavar="N", help="Maximum clips in one inference of an engine from --build; default 1."
    ),
]
TritonOption = Annotated[
    Path | None,
    typer.Option("--triton", metavar="DIR", help="Also write a model repository for Triton Inference Server."),
]
