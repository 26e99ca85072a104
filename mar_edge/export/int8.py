"""Adds INT8 graphs to a bundle that is there, with activation ranges from real clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mar_edge import bundle as bundles
from mar_edge.bundle import BUILTIN, open_bundle
from mar_edge.errors import ExportError, OutputError
from mar_edge.export.exporter import CalibrationOptions, Exported, Family
from mar_edge.export.source_model import open_origin
from mar_edge.files.graph_files import copy_graph
from mar_edge.files.ownership import check_replaceable


def calibrate(
    source: str | Path,
    options: CalibrationOptions,
    *,
    out: Path | None = None,
    masks: Sequence[int] | None = None,
    keep_going: bool = False,
    force: bool = False,
    progress: Callable[[str], None] = lambda _message: None,
) -> Exported:
    """Make the INT8 graphs of a bundle, and compare them with torch as `export` does.

    INT8 graphs of the same masks are replaced; everything else stays as it is.

    Args:
        source: a bundle, by path or built-in name.
        options: where activations are measured, and how.
        out: the bundle to write; by default `source` itself.
        masks: mask ratios in percent; by default all that the bundle has in FP32.
        keep_going: leave out a variant that misses its bounds, instead of failing.
        force: replace more than a bundle, see `files.ownership`.
        progress: told what is being done.

    Raises:
        BundleError: if there is no such bundle, or it is damaged.
        CheckpointError: if it has no graph in FP32 that was exported by mar-edge.
        ExportError: if a mask is not there in FP32, or a variant misses its bounds (naming it).
        SourceError, DataError: if the clips cannot be read.
        OutputError: if the bundle cannot be written.
    """
    bundle = open_bundle(source)
    if out is None and bundle.path.parent == BUILTIN:
        raise OutputError(f"{source} is built in; choose where its INT8 graphs go: add -o {source}.mar")
    target = out or bundle.path
    check_replaceable(target, bundles.BUNDLE, force=force)
    origin = open_origin(bundle.path)
    bases = {variant.mask: variant for variant in bundle.manifest.variants if variant.precision == "fp32"}
    wanted = list(dict.fromkeys(masks)) if masks else list(bases)
    for mask in wanted:
        if mask not in bases:
            have = ", ".join(map(str, bases))
            raise ExportError(f"{bundle.path} has no graph with mask {mask} in fp32 to calibrate; it has {have}")
    with bundles.writing(target, force=force) as folder:
        family = Family.start(origin, folder, options.data, None, progress, keep_going=keep_going)
        for variant in bundle.manifest.variants:
            if variant.precision != "int8" or variant.mask not in wanted:
                copy_graph(bundle.graph_path(variant), folder / variant.file)
                family.variants.append(variant)
        for mask in wanted:
            family.write_int8(folder / bases[mask].file, mask, options)
        return family.finish("calibration", target)
