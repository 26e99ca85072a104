"""Model in, bundle out: a family of graphs, one a mask ratio and precision, each through the gate or not at all."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import onnx
import torch
from onnx import ModelProto

from mar_edge import bundle as bundles
from mar_edge.bundle import Bundle, Parity, Variant
from mar_edge.calibration.calibrate import PLACEMENTS, calibrated_graphs
from mar_edge.calibration.collection import ADVISED_CLIPS
from mar_edge.calibration.ranges import Method
from mar_edge.calibration.sensitivity import Damage
from mar_edge.calibration.trade_off import Row
from mar_edge.errors import ExportError
from mar_edge.evaluation.labelled_clips import open_labelled_clips
from mar_edge.export.gate import Gate
from mar_edge.export.graph import count_macs, write_graph
from mar_edge.export.half.precision import choose_kept, to_half
from mar_edge.export.source_model import Origin, open_origin
from mar_edge.files.graph_files import remove_graph
from mar_edge.files.ownership import check_replaceable
from mar_edge.masking import MASK_RATIOS
from mar_edge.model.deployed import nearest_mask
from mar_edge.model_spec import PRECISIONS, Placement
from mar_edge.runtime.engines.registry import engine_version
from mar_edge.version import __version__

GATE_CLIPS = 8
"""Clips of the demo camera that graphs are compared on where no data is given."""

GATE_CLIPS_OF_DATA = 64
"""Clips taken from the data that is given."""

HALF_CLIPS = 4
"""Clips on which it is measured which parts half precision leaves in FP32."""

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class CalibrationOptions:
    """How INT8 is made.

    Attributes:
        data: videos whose activations are measured, see `open_labelled_clips`; None for the demo camera.
        clips: how many clips of them; None for `ADVISED_CLIPS`.
        method: how ranges are chosen, see `calibration.ranges`; `auto` takes what gives the smallest divergence.
        target_drop: loss of top-1 in points that may remain (of agreement with FP32 where there are no labels); the worst
            blocks are kept in FP32 until it does. None for no such search.
        measure_blocks: whether the damage of each block is measured; a target needs it anyway.
        placements: for which engines graphs are made, `cpu` and `tensorrt`.
        cache: folder that statistics are kept in, so that an interrupted run goes on; None for no such.
    """

    data: Path | None = None
    clips: int | None = None
    method: Method | Literal["auto"] = "auto"
    target_drop: float | None = None
    measure_blocks: bool = False
    placements: tuple[Placement, ...] = PLACEMENTS
    cache: Path | None = None


@dataclass(frozen=True)
class Quantised:
    """What was measured while an INT8 graph was made.

    Attributes:
        title: of the variant.
        name: for files, as `mask50-int8-cpu`.
        damages: of each block when it alone is INT8, the worst one first; empty if not measured.
        rows: the trade-off, its last row chosen; empty without a target.
    """

    title: str
    name: str
    damages: tuple[Damage, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Exported:
    """What an export gave.

    Attributes:
        bundle: as it is on disk.
        failures: why a variant is not in it, one sentence each; none unless it was to keep going.
        warnings: one sentence for whatever else should be known.
        quantised: how the INT8 graphs came about.
    """

    bundle: Bundle
    failures: tuple[str, ...]
    warnings: tuple[str, ...]
    quantised: tuple[Quantised, ...]


def export(
    source: str | Path,
    out: Path,
    *,
    masks: Sequence[int] | None = None,
    precisions: Sequence[str] = ("fp32",),
    data: Path | None = None,
    clips: int | None = None,
    calibration: CalibrationOptions | None = None,
    keep_going: bool = False,
    force: bool = False,
    progress: Progress = lambda _message: None,
) -> Exported:
    """Export a model to a bundle.

    Args:
        source: mar-edge's own checkpoint, or a bundle (path or built-in name) with a graph in FP32.
        out: the bundle's folder; replaced whole if it is one already, see `files.ownership`.
        masks: mask ratios in percent; by default the one it was trained with.
        precisions: of `bundle.PRECISIONS`.
        data: videos that every graph is compared with torch on, see `open_labelled_clips`; by default those of the
            calibration, or else the demo camera.
        clips: how many; by default 8 of the demo camera, or 64 of the data.
        calibration: for INT8.
        keep_going: leave out a variant that misses its bounds, instead of failing.
        force: replace more than a bundle, see `files.ownership`.
        progress: told what is being done.

    Raises:
        CheckpointError, BundleError: if the source cannot be read, has no classifier, or no graph in FP32.
        ExportError: if a variant misses its bounds (naming it), none is left, or a mask or precision is not there.
        SourceError, DataError: if the data or the calibration's has no video, or one that cannot be read.
        OutputError: if the bundle cannot be written.
    """
    check_replaceable(out, bundles.BUNDLE, force=force)  # before the work
    origin = open_origin(source)
    wanted = list(dict.fromkeys(masks)) if masks else [nearest_mask(origin.info.mask_ratio)]
    kinds = list(dict.fromkeys(precisions))
    _check_asked(wanted, kinds, calibration)
    if any(wanted):
        origin.config.geometry.check_cells()
    if data is None and calibration is not None:
        data = calibration.data
    with bundles.writing(out, force=force) as folder:
        family = Family.start(origin, folder, data, clips, progress, keep_going=keep_going)
        for mask in wanted:
            family.write(mask, kinds, calibration)
        return family.finish("export", out)


@dataclass
class Family:
    """The graphs of one model, as they are written to a folder one after another.

    Attributes:
        origin: the model.
        folder: where they go.
        gate: what each must pass.
        progress: told what is being done.
        keep_going: leave out a variant that misses its bounds.
        variants: that passed.
        failures: why others did not.
        warnings: what else should be known.
        quantised: how the INT8 graphs came about.
    """

    origin: Origin
    folder: Path
    gate: Gate
    progress: Progress
    keep_going: bool = False
    variants: list[Variant] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    quantised: list[Quantised] = field(default_factory=list)

    @classmethod
    def start(
        cls,
        origin: Origin,
        folder: Path,
        data: Path | None,
        clips: int | None,
        progress: Progress,
        *,
        keep_going: bool,
    ) -> Family:
        """Read the clips that every graph is compared with torch on.

        Raises:
            SourceError, DataError: if they cannot be read.
        """
        warnings: list[str] = []
        # the manifest of a bundle needs a variant; which one does not matter for clips
        manifest = origin.manifest([Variant.model_construct(file="none.onnx", mask=0, precision="fp32")], {})
        count = clips or (GATE_CLIPS if data is None else GATE_CLIPS_OF_DATA)
        chosen = open_labelled_clips(manifest, data, count=count, warn=warnings.append, progress=_counted(progress))
        progress(f"reading {chosen.source}")
        return cls(origin, folder, Gate(origin.model, chosen), progress, keep_going, warnings=warnings)

    def write(self, mask: int, precisions: Sequence[str], calibration: CalibrationOptions | None) -> None:
        """Write the graphs of a mask; those of lower precision are made from the one in FP32.

        Raises:
            ExportError: if one misses its bounds, unless it is to keep going.
        """
        self.progress(f"mask {mask} fp32")
        base = self.folder / f"mask{mask}-fp32.onnx"
        write_graph(self.origin.model, mask / 100, base)
        self._admit(base, mask, "fp32")
        for precision in precisions:
            if precision in ("fp16", "bf16"):
                self._write_half(base, mask, precision)
            elif precision == "int8":
                assert calibration is not None
                self.write_int8(base, mask, calibration)
        if "fp32" not in precisions:
            remove_graph(base)
            self.variants = [v for v in self.variants if v.file != base.name]

    def write_int8(self, base: Path, mask: int, calibration: CalibrationOptions) -> None:
        """Write the INT8 graphs of a graph in FP32.

        Raises:
            ExportError: if one misses its bounds, unless it is to keep going.
            SourceError: if a video of the calibration cannot be read.
        """
        self.progress(f"mask {mask} int8")
        manifest = self.origin.manifest([unmeasured(base, mask)], {})
        made = calibrated_graphs(
            base,
            open_labelled_clips(
                manifest,
                calibration.data,
                count=calibration.clips or ADVISED_CLIPS,
                warn=self.warnings.append,
                strict=True,
                progress=_counted(self.progress),
            ),
            self.folder,
            method=calibration.method,
            target_drop=calibration.target_drop,
            measure_blocks=calibration.measure_blocks,
            halve=self._halve,
            placements=calibration.placements,
            cache=calibration.cache,
            progress=self.progress,
        )
        for graph in made:
            variant = self._admit(
                graph.file, mask, "int8", placement=graph.placement, kept=graph.kept, quantisation=graph.quantisation
            )
            self.quantised.append(Quantised(variant.title, graph.file.stem, graph.damages, graph.rows))

    def finish(self, made: str, out: Path) -> Exported:
        """Write the manifest.

        Args:
            made: what this was, as the provenance calls it.
            out: where the bundle will be.

        Raises:
            ExportError: if there is no variant.
        """
        if not self.variants:
            raise ExportError(f"no variant passed: {'; '.join(self.failures)}")
        variants = sorted(self.variants, key=lambda v: (v.mask, PRECISIONS.index(v.precision), v.placement))
        manifest = self.origin.manifest(variants, {made: self._made()})
        bundles.write_manifest(self.folder, manifest.model_dump(mode="json", exclude={"format"}))
        warnings = tuple(dict.fromkeys(self.warnings))
        return Exported(Bundle(out), tuple(self.failures), warnings, tuple(self.quantised))

    def _write_half(self, base: Path, mask: int, precision: str) -> None:
        model = onnx.load(str(base))
        kept = self._choose_kept(model, precision)
        path = self.folder / f"mask{mask}-{precision}.onnx"
        onnx.save(to_half(model, precision, kept), str(path))
        del model
        self._admit(path, mask, precision, kept=kept)

    def _halve(self, base: ModelProto, graph: ModelProto) -> tuple[ModelProto, tuple[str, ...]]:
        """Make the rest of an INT8 graph FP16; see `calibration.calibrate.Halve`."""
        kept = self._choose_kept(base, "fp16")
        return to_half(graph, "fp16", kept), kept

    def _choose_kept(self, model: ModelProto, precision: str) -> tuple[str, ...]:
        self.progress(f"{precision}: which parts stay in fp32")
        frames = self.gate.frames[:: max(1, len(self.gate.frames) // HALF_CLIPS)][:HALF_CLIPS]
        return choose_kept(model, precision, frames, progress=self.progress)

    def _admit(
        self,
        path: Path,
        mask: int,
        precision: str,
        *,
        placement: Placement = "any",
        kept: tuple[str, ...] = (),
        quantisation: dict[str, Any] | None = None,
    ) -> Variant:
        """Let a graph through the gate, or remove it."""
        variant = unmeasured(path, mask, precision).model_copy(
            update={"placement": placement, "kept": kept, "quantisation": quantisation or {}}
        )
        self.progress(f"{variant.title}: comparing with torch on {len(self.gate.frames)} clips")
        bundle = Bundle.of(self.folder, self.origin.manifest([variant], {}))
        try:
            parity = self.gate.check(bundle, variant)
        except ExportError as error:
            if not self.keep_going or precision == "fp32":
                raise
            self.failures.append(str(error))
            remove_graph(path)
            return variant
        self.variants.append(variant.model_copy(update={"parity": parity}))
        return variant

    def _made(self) -> dict[str, object]:
        before = self.origin.info.provenance.get("export")  # a bundle's own; a checkpoint has none
        return {
            **({"from": before} if before else {}),
            "command": shlex.join(["mar-edge", *sys.argv[1:]]),
            "source_sha256": self.origin.sha256,
            "versions": {
                "mar_edge": __version__,
                "torch": torch.__version__,
                "onnx": onnx.__version__,
                "onnxruntime": engine_version("onnxruntime"),
                "python": platform.python_version(),
            },
        }


def unmeasured(path: Path, mask: int, precision: str = "fp32") -> Variant:
    """Return a variant of a graph before it was compared."""
    return Variant(
        file=path.name,
        mask=mask,
        precision=precision,  # type: ignore[arg-type]
        sha256=bundles.hash_file(path),
        size_bytes=path.stat().st_size,
        gmacs=count_macs(path) / 1e9,
        parity=Parity(max_abs_error=0, bound=1, clips=1, source="not measured yet"),
    )


def _check_asked(masks: Sequence[int], precisions: Sequence[str], calibration: CalibrationOptions | None) -> None:
    known = [round(100 * ratio) for ratio in MASK_RATIOS]
    for mask in masks:
        if mask not in known:
            raise ExportError(f"mask {mask} is not one of {', '.join(map(str, known))} percent")
    for precision in precisions:
        if precision not in PRECISIONS:
            raise ExportError(f"precision '{precision}' is not one of {', '.join(PRECISIONS)}")
    if "int8" in precisions and calibration is None:
        raise ExportError(
            "int8 needs clips to measure activations on; add --calibrate CLIPS, a folder of some 64 videos "
            "like those that the model will see"
        )


def _counted(progress: Progress) -> Callable[[str, int, int], None]:
    """Put what is done and how much of it into one sentence."""
    return lambda what, done, total: progress(f"{what}: {done} of {total}")
