"""`mar-edge export`: exports a model as a bundle of graphs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mar_edge.cli.options import BuildChoice, CalibrateMethodOption, ForceOption, TargetDropOption
from mar_edge.cli.progress_bar import progress_bar

if TYPE_CHECKING:
    from rich.console import Console

    from mar_edge.bundle import Bundle
    from mar_edge.export.targets import Profile


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT",
            help="A mar-edge checkpoint (.safetensors); or a bundle or built-in model, to export it again.",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="NAME.mar", help="The bundle to write.")],
    mask: Annotated[
        list[int] | None,
        typer.Option(
            "--mask", help="Percent of hidden tubelets: 0, 25, 50 or 75; repeat for more graphs. Default: as trained."
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option("--precision", help="fp32, fp16, bf16 or int8; repeat for more graphs. Default: fp32."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="CLIPS",
            help="Clips to compare every graph with torch on: a video, a folder of videos, a folder per class, or a CSV "
            "with the columns path and label. Default: some of the videos of --calibrate, held out from calibration, otherwise the demo camera.",
        ),
    ] = None,
    clips: Annotated[
        int | None, typer.Option("--clips", min=1, metavar="N", help="Clips to compare; default 8, or 64 with --data.")
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option("--calibrate", metavar="CLIPS", help="Clips to calibrate INT8 on; videos, as for --data."),
    ] = None,
    calibration_clips: Annotated[
        int | None, typer.Option("--calibration-clips", min=1, metavar="N", help="Clips of --calibrate; default 64.")
    ] = None,
    method: CalibrateMethodOption = "auto",
    target_drop: TargetDropOption = None,
    profile: Annotated[
        Path | None,
        typer.Option(
            "--profile",
            metavar="FILE.yaml",
            help="Use masks, precisions, build and workspace of a device's profile; other options override it.",
        ),
    ] = None,
    build: Annotated[
        BuildChoice | None,
        typer.Option("--build", help="Also build the engines, into this device's cache; on the device that runs them."),
    ] = None,
    workspace: Annotated[
        int | None,
        typer.Option("--workspace", min=1, metavar="MIB", help="Maximum memory that a layer may use during --build."),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch", min=1, metavar="N", help="Maximum clips in one inference of an engine from --build; default 1."
        ),
    ] = None,
    triton: Annotated[
        Path | None,
        typer.Option("--triton", metavar="DIR", help="Also write a model repository for Triton Inference Server."),
    ] = None,
    force: ForceOption = False,
) -> None:
    """Export a model to a bundle of ONNX graphs, each compared with torch before it is kept.

    A graph that misses its bounds is reported with the next step; the others are written, and the exit code is 1.
    """
    from rich.console import Console

    from mar_edge.cli.export_tables import check_pictures, print_quantised, print_variants, tell_failures
    from mar_edge.extras import require

    for package in ("torch", "onnx", "onnxscript"):
        require(package, "export")
    from mar_edge.calibration.calibrate import PLACEMENTS
    from mar_edge.export.calibration_options import CalibrationOptions
    from mar_edge.export.exporter import export as start
    from mar_edge.export.targets import load
    from mar_edge.export.triton import REPOSITORY, write_triton
    from mar_edge.files.ownership import check_replaceable
    from mar_edge.runtime.device import cache as device_cache
    from mar_edge.runtime.engines.tensorrt import versions as tensorrt_versions

    target: Profile | None = load(profile) if profile is not None else None
    if target is not None:
        mask = mask or list(target.masks)
        precision = precision or list(target.precisions)
        build = build or target.build
        workspace = workspace or target.workspace_mib
        batch = batch or target.batch
    if triton is not None:
        check_replaceable(triton, REPOSITORY, force=force)
    if target_drop is not None:
        check_pictures(out, force=force)
    if build is not None:
        tensorrt_versions.load(build)  # before minutes of work, not afterwards
    calibration = None
    if calibrate is not None:
        calibration = CalibrationOptions(
            data=calibrate,
            clips=calibration_clips,
            method=method,
            target_drop=target_drop,
            placements=target.placements if target is not None else PLACEMENTS,
            cache=device_cache.folder("calibration"),
        )
    console = Console(stderr=True, highlight=False)
    with progress_bar(console) as progress:
        exported = start(
            model,
            out,
            masks=mask,
            precisions=precision or ["fp32"],
            data=data,
            clips=clips,
            calibration=calibration,
            force=force,
            progress=progress,
        )
    print_quantised(exported, out, target_drop, console, force=force)
    print_variants(exported.bundle, console)
    unbuilt = [] if build is None else _build(exported.bundle, build, workspace, batch or 1, console)
    if triton is not None:
        serving = None if target is None else target.serving
        names = write_triton(exported.bundle, triton, serving=serving, force=force)
        console.print(f"{triton}: Triton models {', '.join(names)}", markup=False, soft_wrap=True)
    tell_failures(exported, console, unbuilt)


def _build(bundle: Bundle, module: BuildChoice, workspace: int | None, batch: int, console: Console) -> list[str]:
    """Build the engines of all graphs for TensorRT; return why some could not be built."""
    from mar_edge.errors import EngineError, ExportError
    from mar_edge.export.tensorrt_check import check
    from mar_edge.runtime.engines.tensorrt.cache import build_to_file

    def say(message: str) -> None:
        console.print(message, markup=False, soft_wrap=True)

    failures = []
    for variant in [variant for variant in bundle.manifest.variants if variant.suits(module)]:
        try:
            check(bundle.graph_path(variant))
            with console.status(f"building {variant.title} with {module}"):
                built = build_to_file(
                    bundle.graph_path(variant),
                    variant,
                    module=module,
                    batch=(1, 1, batch),
                    workspace_mib=workspace,
                    say=say,
                )
        except (ExportError, EngineError) as error:
            failures.append(f"{variant.title} was not built: {error}")
            continue
        products = f", products {built.layers.summary()}" if built.layers is not None else ""
        say(
            f"{built.path}: {variant.title} for {built.gpu.name}, compute capability {built.gpu.compute_capability}, "
            f"{built.size_bytes / 1e6:.1f} MB, built in {built.seconds:.0f} s{products}"
        )
    return failures
