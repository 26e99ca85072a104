"""`mar-edge export`: exports a model as a bundle of graphs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mar_edge.cli.export_options import (
    BatchOption,
    BuildOption,
    CalibrateOption,
    CalibrationClipsOption,
    ClipsOption,
    DataOption,
    MasksOption,
    ModelArgument,
    OutOption,
    PrecisionOption,
    ProfileOption,
    TritonOption,
    WorkspaceOption,
)
from mar_edge.cli.options import BuildChoice, CalibrateMethodOption, ForceOption, TargetDropOption
from mar_edge.cli.views.progress_bar import progress_bar

if TYPE_CHECKING:
    from mar_edge.bundle import Bundle
    from mar_edge.console import Console
    from mar_edge.export.targets import Profile


def export(
    model: ModelArgument,
    out: OutOption,
    mask: MasksOption = None,
    precision: PrecisionOption = None,
    data: DataOption = None,
    clips: ClipsOption = None,
    calibrate: CalibrateOption = None,
    calibration_clips: CalibrationClipsOption = None,
    method: CalibrateMethodOption = "auto",
    target_drop: TargetDropOption = None,
    profile: ProfileOption = None,
    build: BuildOption = None,
    workspace: WorkspaceOption = None,
    batch: BatchOption = None,
    triton: TritonOption = None,
    force: ForceOption = False,
) -> None:
    """Export a model to a bundle of ONNX graphs, each compared with torch before it is kept.

    A graph that misses its bounds is reported with the next step; the others are written, and the exit code is 1.
    """
    from mar_edge.cli.views.export_tables import print_quantised, print_variants, tell_failures
    from mar_edge.console import Console
    from mar_edge.extras import require

    for package in ("torch", "onnx", "onnxscript"):
        require(package, "export")
    from mar_edge.calibration.calibrate import PLACEMENTS
    from mar_edge.export.calibration_options import CalibrationOptions
    from mar_edge.export.exporter import export as start
    from mar_edge.export.targets import load
    from mar_edge.runtime.device import cache as device_cache

    target: Profile | None = load(profile) if profile is not None else None
    if target is not None:
        mask, precision = mask or list(target.masks), precision or list(target.precisions)
        build, workspace, batch = build or target.build, workspace or target.workspace_mib, batch or target.batch
    _check_places(model, out, triton, build, pictures=target_drop is not None, force=force)
    calibration = CalibrationOptions(
        data=calibrate, clips=calibration_clips, method=method, target_drop=target_drop,
        cache=device_cache.folder("calibration") if calibrate else None, placements=target.placements if target is not None else PLACEMENTS,
    )  # fmt: skip
    console = Console()
    with progress_bar(console) as progress:
        exported = start(
            model, out, masks=mask, precisions=precision or ["fp32"], data=data, clips=clips,
            calibration=calibration if calibrate else None, force=force, progress=progress,
        )  # fmt: skip
    print_quantised(exported, out, target_drop, console, force=force)
    print_variants(exported.bundle, console)
    unbuilt = [] if build is None else _build(exported.bundle, build, workspace, batch or 1, console)
    if triton is not None:
        _write_triton(exported.bundle, triton, target, console, force=force)
    tell_failures(exported, console, unbuilt)


def _write_triton(bundle: Bundle, folder: Path, target: Profile | None, console: Console, *, force: bool) -> None:
    """Write a model repository for Triton Inference Server."""
    from mar_edge.export.triton import write_triton

    names = write_triton(bundle, folder, serving=None if target is None else target.serving, force=force)
    console.say(f"{folder}: Triton models {', '.join(names)}")


def _check_places(
    model: str, out: Path, triton: Path | None, build: BuildChoice | None, *, pictures: bool, force: bool
) -> None:
    """Check before minutes of work, not afterwards, what the command is to write and to build with.

    Raises:
        OutputError: if a place holds something that is not ours.
        MissingExtraError: if the builder is not installed.
    """
    from mar_edge.cli.views.export_tables import check_pictures
    from mar_edge.export.triton import REPOSITORY
    from mar_edge.files.ownership import check_not_input, check_replaceable
    from mar_edge.runtime.engines.tensorrt import versions

    if triton is not None:
        check_not_input(triton, [model])
        check_replaceable(triton, REPOSITORY, force=force)
    if pictures:
        check_pictures(out, force=force)
    if build is not None:
        versions.load(build)


def _build(bundle: Bundle, module: BuildChoice, workspace: int | None, batch: int, console: Console) -> list[str]:
    """Build the engines of all graphs for TensorRT; return why some could not be built."""
    from mar_edge.errors import EngineError, ExportError
    from mar_edge.export.tensorrt_check import check
    from mar_edge.runtime.engines.tensorrt.cache import build_to_file

    def say(message: str) -> None:
        console.say(message)

    failures = []
    for variant in [variant for variant in bundle.manifest.variants if variant.suits(module)]:
        try:
            check(bundle.graph_path(variant))
            with progress_bar(console) as progress:
                progress(f"building {variant.title} with {module}", 0, 0)
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
