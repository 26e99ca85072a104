"""Adds INT8 graphs to an existing bundle, with activation ranges from real clips."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from mar_edge import bundle as bundles
from mar_edge.bundle import BUILTIN, Bundle, open_bundle
from mar_edge.errors import ExportError, OutputError
from mar_edge.export.advice import for_calibration
from mar_edge.export.calibration_options import CalibrationOptions
from mar_edge.export.clip_choice import choose_clips
from mar_edge.export.exported import Exported
from mar_edge.export.family import Family
from mar_edge.export.source_model import open_origin
from mar_edge.files.graph_files import copy_graph
from mar_edge.files.ownership import check_not_input, check_replaceable
from mar_edge.manifest import Variant
from mar_edge.model_spec import PRECISIONS, is_int8
from mar_edge.reporting import Progress, no_progress


def calibrate(
    source: str | Path,
    options: CalibrationOptions,
    *,
    out: Path | None = None,
    masks: Sequence[int] | None = None,
    precisions: Sequence[str] | None = None,
    force: bool = False,
    progress: Progress = no_progress,
) -> Exported:
    """Create the INT8 graphs of a bundle, and compare them with torch as `export` does.

    INT8 graphs of the same masks and precisions are replaced by those that pass; everything else stays unchanged.

    Args:
        source: a bundle, by path or built-in name.
        options: clips and method of the calibration.
        out: the bundle to write; by default `source` itself.
        masks: mask ratios in percent; by default all that it has in FP32.
        precisions: `int8` or `int8-bf16`; by default `int8` and those of the two that the bundle has.
        force: replace more than a bundle, see `files.ownership`.
        progress: called with the current step.

    Returns:
        The result. If a new graph misses its bounds, the old one stays, if there was one; `failures` names it
        and the next step.

    Raises:
        BundleError: if there is no such bundle, or it is damaged.
        CheckpointError: if it has no graph in FP32 that was exported by mar-edge.
        ExportError: if a mask has no FP32 graph, a precision is not INT8, or all graphs miss their bounds.
        SourceError, DataError: if the clips cannot be read.
        OutputError: if the bundle cannot be written.
    """
    bundle = open_bundle(source)
    if out is None and bundle.path.parent == BUILTIN:
        raise OutputError(f"{source} is built in; choose an output for its INT8 graphs: add -o {source}.mar")
    target = out or bundle.path
    _check_target(target, bundle, options, force=force)
    origin = open_origin(bundle.path)
    bases = {variant.mask: variant for variant in bundle.manifest.variants if variant.precision == "fp32"}
    wanted, kinds = _known(masks or bases, bases, bundle), _kinds(precisions, bundle)
    warnings: list[str] = []
    chosen = choose_clips(origin.spec, None, None, options, warn=warnings.append, progress=progress)
    with bundles.writing(target, force=force) as folder:
        family = Family.start(origin, folder, chosen, for_calibration(str(source)), warnings.append, progress)
        old = [v for v in bundle.manifest.variants if v.precision in kinds and v.mask in wanted]
        for variant in bundle.manifest.variants:
            if variant not in old:
                _take(family, bundle, variant)
        for mask in wanted:
            family.write_int8(folder / bases[mask].file, mask, options, kinds)
        if not family.quantised:
            raise ExportError(f"no INT8 graph passed, so {target} was not written: {'; '.join(family.failures)}")
        new = {variant.title for variant in family.variants}
        for variant in [variant for variant in old if variant.title not in new]:
            _take(family, bundle, variant)
            if variant.placement in options.placements or variant.precision == "int8-bf16":
                warnings.append(f"{variant.title}: the existing graph is kept")
        return family.finish("calibration", target, warnings)


def _check_target(target: Path, bundle: Bundle, options: CalibrationOptions, *, force: bool) -> None:
    """Check that a bundle may be written; it may replace its source, which loses nothing.

    Raises:
        OutputError: if something else exists there, or something that is read.
    """
    check_replaceable(target, bundles.BUNDLE, force=force)
    if not (target.exists() and target.samefile(bundle.path)):
        check_not_input(target, [bundle.path])
    check_not_input(target, [options.data])


def _kinds(asked: Sequence[str] | None, bundle: Bundle) -> list[str]:
    """Return the requested precisions, each once, in the order of `PRECISIONS`.

    Raises:
        ExportError: if one is not INT8.
    """
    for precision in asked or ():
        if precision not in PRECISIONS or not is_int8(precision):
            known = ", ".join(filter(is_int8, PRECISIONS))
            raise ExportError(f"precision '{precision}' is not calibrated; choose from {known}")
    wanted = set(asked) if asked else {"int8", *(v.precision for v in bundle.manifest.variants if is_int8(v.precision))}
    return [precision for precision in PRECISIONS if precision in wanted]


def _known(masks: Iterable[int], bases: Collection[int], bundle: Bundle) -> list[int]:
    """Return the requested masks, each once.

    Raises:
        ExportError: if there is no FP32 graph with one of them.
    """
    wanted = list(dict.fromkeys(masks))
    for mask in wanted:
        if mask not in bases:
            have = ", ".join(map(str, bases))
            raise ExportError(f"{bundle.path} has no graph with mask {mask} in fp32 to calibrate; it has {have}")
    return wanted


def _take(family: Family, bundle: Bundle, variant: Variant) -> None:
    """Copy a graph unchanged."""
    copy_graph(bundle.graph_path(variant), family.folder / variant.file)
    family.variants.append(variant)
