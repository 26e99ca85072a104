"""`mar-edge calibrate`: INT8 for an existing bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mar_edge.cli.options import CalibrateMethodOption, ForceOption, MasksOption, TargetDropOption, one_of
from mar_edge.cli.views.progress_bar import progress_bar

Int8Option = Annotated[
    list[str] | None,
    typer.Option(
        "--precision",
        metavar="int8|int8-bf16",
        callback=one_of(("int8", "int8-bf16")),
        help="int8-bf16 is INT8 whose rest is BF16, for CPUs that have BF16; repeat for both. Default: int8, and what the "
        "bundle has.",
    ),
]


def calibrate(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="A bundle's folder, or a built-in model with -o.")],
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            metavar="CLIPS",
            help="Clips to measure activations on: a folder of videos like those at run time, a folder per "
            "class, or a CSV with the columns path and label.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="NAME.mar", help="Write a new bundle; default: change BUNDLE."),
    ] = None,
    mask: MasksOption = None,
    precision: Int8Option = None,
    clips: Annotated[
        int | None, typer.Option("--clips", min=1, metavar="N", help="Clips to measure on; default 64.")
    ] = None,
    method: CalibrateMethodOption = "auto",
    target_drop: TargetDropOption = None,
    force: ForceOption = False,
) -> None:
    """Create the INT8 graphs of a bundle, with activation ranges from real clips; report the cost of each block.

    A graph that misses its bounds is reported with the next step; the others are written, and the exit code is 1.
    """
    from mar_edge.cli.views.export_tables import check_pictures, print_quantised, print_variants, tell_failures
    from mar_edge.console import Console
    from mar_edge.extras import require

    for package in ("torch", "onnx"):
        require(package, "export")
    from mar_edge.export.calibration_options import CalibrationOptions
    from mar_edge.export.int8 import calibrate as start
    from mar_edge.runtime.device import cache as device_cache

    if target_drop is not None:
        check_pictures(out or Path(bundle), force=force)
    options = CalibrationOptions(
        data=data,
        clips=clips,
        method=method,
        target_drop=target_drop,
        measure_blocks=True,
        cache=device_cache.folder("calibration"),
    )
    console = Console()
    with progress_bar(console) as progress:
        calibrated = start(bundle, options, out=out, masks=mask, precisions=precision, force=force, progress=progress)
    print_quantised(calibrated, out or Path(bundle), target_drop, console, force=force)
    print_variants(calibrated.bundle, console)
    tell_failures(calibrated, console)
