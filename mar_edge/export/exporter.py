"""Exports a model to a bundle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mar_edge import bundle as bundles
from mar_edge.errors import ExportError
from mar_edge.export.advice import for_export
from mar_edge.export.calibration_options import CalibrationOptions
from mar_edge.export.clip_choice import choose_clips
from mar_edge.export.exported import Exported
from mar_edge.export.family import Family
from mar_edge.export.replaced import Replaced
from mar_edge.export.source_model import open_origin
from mar_edge.files.ownership import check_not_input, check_replaceable
from mar_edge.masking import MASK_RATIOS
from mar_edge.model.deployed import nearest_mask
from mar_edge.model_spec import PRECISIONS, is_int8
from mar_edge.reporting import Progress, no_progress


def export(
    source: str | Path,
    out: Path,
    *,
    masks: Sequence[int] | None = None,
    precisions: Sequence[str] = ("fp32",),
    data: Path | None = None,
    clips: int | None = None,
    calibration: CalibrationOptions | None = None,
    force: bool = False,
    progress: Progress = no_progress,
) -> Exported:
    """Export a model to a bundle.

    Args:
        source: mar-edge's own checkpoint, or a bundle (path or built-in name) with a graph in FP32.
        out: the bundle's folder; an existing bundle is replaced completely, see `files.ownership`.
        masks: mask ratios in percent; by default the one it was trained with.
        precisions: of `model_spec.PRECISIONS`.
        data: videos that every graph is compared with torch on, see `find_labelled_videos`; by default some that are
            held out from those of the calibration, or the demo camera.
        clips: number of clips; by default 8 of the demo camera, or 64 of the data.
        calibration: for INT8.
        force: replace more than a bundle, see `files.ownership`; and leave out graphs of a source that is replaced.
        progress: called with the current step.

    Returns:
        The result. A graph that misses its bounds is not in the bundle; `failures` names it and the next step.

    Raises:
        CheckpointError, BundleError: if the source cannot be read, has no classifier, or no graph in FP32.
        ExportError: if the graph in FP32 misses its bounds, no other is left, or a mask or precision is unknown.
        SourceError, DataError: if the data or that of the calibration has no video, or one that cannot be read.
        OutputError: if the bundle cannot be written, or would replace its own source without all of its graphs.
    """
    check_replaceable(out, bundles.BUNDLE, force=force)  # before the work
    origin = open_origin(source)
    replaced = Replaced.of(origin.path, out, force=force)
    wanted = list(dict.fromkeys(masks)) if masks else [nearest_mask(origin.info.mask_ratio)]
    kinds = list(dict.fromkeys(precisions))
    _check_asked(wanted, kinds, calibration)
    if any(wanted):
        origin.config.geometry.check_cells()
    replaced.check(_keys(wanted, kinds, calibration))
    if calibration is not None and not any(map(is_int8, kinds)):
        data, calibration = data or calibration.data, None
    check_not_input(out, [data, None if calibration is None else calibration.data])
    warnings: list[str] = []
    chosen = choose_clips(origin.spec, data, clips, calibration, warn=warnings.append, progress=progress)
    with bundles.writing(out, force=force) as folder:
        family = Family.start(origin, folder, chosen, for_export, warnings.append, progress)
        for mask in wanted:
            family.write(mask, kinds, calibration)
        replaced.check(((v.mask, v.precision, v.placement) for v in family.variants), family.failures)
        return family.finish("export", out, warnings)


def _keys(
    masks: Sequence[int], precisions: Sequence[str], calibration: CalibrationOptions | None
) -> Iterator[tuple[int, str, str]]:
    """Yield mask, precision and placement of every graph that is to be written."""
    for mask in masks:
        for precision in precisions:
            if precision == "int8-bf16":
                yield mask, precision, "cpu"
            elif precision == "int8":
                yield from (
                    (mask, precision, one) for one in (calibration.placements if calibration is not None else ())
                )
            else:
                yield mask, precision, "any"


def _check_asked(masks: Sequence[int], precisions: Sequence[str], calibration: CalibrationOptions | None) -> None:
    known = [round(100 * ratio) for ratio in MASK_RATIOS]
    for mask in masks:
        if mask not in known:
            raise ExportError(f"mask {mask} is not one of {', '.join(map(str, known))} percent")
    for precision in precisions:
        if precision not in PRECISIONS:
            raise ExportError(f"precision '{precision}' is not one of {', '.join(PRECISIONS)}")
    if calibration is None and (wanted := next(filter(is_int8, precisions), None)):
        raise ExportError(
            f"{wanted} needs clips to measure activations on; add --calibrate CLIPS, a folder of some 64 videos "
            "like those at run time"
        )
