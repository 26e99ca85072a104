"""Writes the graphs of one model, one per mask ratio and precision, if they pass the gate."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import ModelProto

from mar_edge import bundle as bundles
from mar_edge.bundle import Bundle
from mar_edge.calibration.calibrate import Calibrated, Calibration, Rest
from mar_edge.counting import counted
from mar_edge.errors import ExportError
from mar_edge.export.advice import Advice
from mar_edge.export.calibration_options import CalibrationOptions
from mar_edge.export.clip_choice import ClipChoice
from mar_edge.export.exported import Exported, Quantised
from mar_edge.export.gate import Gate
from mar_edge.export.graph import count_macs, write_graph
from mar_edge.export.half.precision import choose_kept, to_half
from mar_edge.export.source_model import Origin
from mar_edge.files.graph_files import hash_file, remove_graph
from mar_edge.manifest import Parity, Variant
from mar_edge.model_spec import PRECISIONS, Placement, is_int8
from mar_edge.reporting import Progress, Warn
from mar_edge.runtime.engines.registry import engine_version
from mar_edge.version import __version__

HALF_CLIPS = 4
"""Number of clips for measuring which parts of half-precision graphs stay in FP32."""


@dataclass
class Family:
    """Writes the graphs of one model to a folder.

    A graph that fails is reported with the next step, and the others are still written; but without the graph in
    FP32 there are no others.

    Attributes:
        origin: the model.
        folder: the output folder.
        clips: for calibration and comparison.
        gate: the check that each graph must pass.
        advice: returns the next step for a graph that fails.
        warn: called with other notices.
        progress: called with the current step.
        variants: those that passed.
        failures: why others did not.
        quantised: how the INT8 graphs were created.
    """

    origin: Origin
    folder: Path
    clips: ClipChoice
    gate: Gate
    advice: Advice
    warn: Warn
    progress: Progress
    variants: list[Variant] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    quantised: list[Quantised] = field(default_factory=list)

    @classmethod
    def start(
        cls, origin: Origin, folder: Path, clips: ClipChoice, advice: Advice, warn: Warn, progress: Progress
    ) -> Family:
        """Read the clips that graphs are compared with torch on.

        Raises:
            SourceError: if one cannot be read.
        """
        progress(f"reading {clips.gate.source}", 0, 0)
        return cls(origin, folder, clips, Gate(origin.model, origin.spec, clips.gate), advice, warn, progress)

    def write(self, mask: int, precisions: Sequence[str], calibration: CalibrationOptions | None) -> None:
        """Write the graphs of a mask; those of lower precision are created from the one in FP32.

        Raises:
            ExportError: if the one in FP32 misses its bounds.
            SourceError: if a video cannot be read.
        """
        self.progress(f"mask {mask} fp32", 0, 0)
        base = self.folder / f"mask{mask}-fp32.onnx"
        write_graph(self.origin.model, mask / 100, base)
        measured = unmeasured(base, mask)
        try:
            measured = self._check(measured)
        except ExportError as error:
            raise ExportError(f"{measured.title}: {error}. {self.advice('fp32', self.clips)}") from error
        if "fp32" in precisions:
            self.variants.append(measured)
        for precision in precisions:
            if precision in ("fp16", "bf16"):
                self._write_half(base, mask, precision)
        if quantised := [precision for precision in precisions if is_int8(precision)]:
            assert calibration is not None
            self.write_int8(base, mask, calibration, quantised)
        if "fp32" not in precisions:
            remove_graph(base)

    def write_int8(self, base: Path, mask: int, options: CalibrationOptions, precisions: Sequence[str]) -> None:
        """Write the INT8 graphs of a graph in FP32, after one calibration.

        Args:
            base: the graph.
            mask: mask ratio in percent.
            options: of the calibration.
            precisions: `int8` for each placement of the options, `int8-bf16` for CPUs.

        Raises:
            SourceError: if a video of the calibration cannot be read.
            OptionError: if the method is unknown, or the target is negative.
        """
        self.progress(f"mask {mask} int8", 0, 0)
        assert self.clips.calibration is not None
        with self._named(f"mask {mask} {' and '.join(precisions)}", precisions[0]):
            calibration = Calibration(
                base,
                self.clips.calibration,
                method=options.method,
                target_drop=options.target_drop,
                measure_blocks=options.measure_blocks,
                halve=self._halve,
                cache=options.cache,
                progress=self.progress,
            )
            for precision in precisions:
                for placement in options.placements if precision == "int8" else ("cpu",):
                    with self._named(f"mask {mask} {precision} for {placement}", precision):
                        self._write_quantised(calibration, mask, precision, placement, options.target_drop)

    def finish(self, made: str, out: Path, warnings: Sequence[str]) -> Exported:
        """Write the manifest.

        Args:
            made: entry for the provenance.
            out: path of the bundle.
            warnings: all warnings.

        Raises:
            ExportError: if there is no variant.
        """
        if not self.variants:
            raise ExportError(f"no graph passed, so {out} was not written: {'; '.join(self.failures)}")
        variants = sorted(self.variants, key=lambda v: (v.mask, PRECISIONS.index(v.precision), v.placement))
        manifest = self.origin.manifest(variants, {made: self._made()})
        bundles.write_manifest(self.folder, manifest.model_dump(mode="json", exclude={"format"}))
        return Exported(Bundle(out), tuple(self.failures), tuple(dict.fromkeys(warnings)), tuple(self.quantised))

    def _write_half(self, base: Path, mask: int, precision: str) -> None:
        path = self.folder / f"mask{mask}-{precision}.onnx"
        with self._named(f"mask {mask} {precision}", precision, path):
            model = onnx.load(str(base))
            kept = self._choose_kept(model, precision)
            onnx.save(to_half(model, precision, kept), str(path))
            del model
            self.variants.append(self._check(unmeasured(path, mask, precision, kept=kept)))

    def _write_quantised(
        self, calibration: Calibration, mask: int, precision: str, placement: Placement, target_drop: float | None
    ) -> None:
        """Write the passing INT8 graph with the fewest blocks in higher precision for some engines.

        Raises:
            ExportError: if none passes.
        """
        reasons: list[str] = []
        for graph in calibration.candidates(placement, self.folder, precision):
            about = {"placement": placement, "kept": graph.kept, "quantisation": graph.quantisation}
            try:
                variant = self._check(unmeasured(graph.file, mask, precision, **about))
            except ExportError as error:
                remove_graph(graph.file)
                reasons.append(str(error))
                continue
            if self.clips.overlap:
                source = f"{variant.parity.source}, also calibrated on"
                variant = variant.model_copy(update={"parity": variant.parity.model_copy(update={"source": source})})
            self.variants.append(variant)
            chosen = len(graph.rows) > 1 or target_drop is not None
            rows = graph.rows if chosen else ()
            self.quantised.append(Quantised(variant.title, graph.file.stem, graph.damages, rows))
            if missed := graph.rows[0].missed:
                reasons.insert(0, f"it misses its bounds on the calibration's clips: {'; '.join(missed)}")
            self._warn_of_kept(variant, graph, reasons)
            return
        tried = ", with any choice of blocks in higher precision" if reasons[1:] else ""
        raise ExportError((reasons[-1] if reasons else "none keeps its bounds on the calibration's clips") + tried)

    def _warn_of_kept(self, variant: Variant, graph: Calibrated, reasons: list[str]) -> None:
        """Report which blocks had to stay in higher precision, unless that was requested."""
        if kept := graph.rows[-1].kept if reasons else ():
            self.warn(
                f"{variant.title} keeps {', '.join(kept)} in higher precision ("
                f"{100 * graph.quantisation['int8_share']:.0f} % of its work is INT8); otherwise {reasons[0]}"
            )

    def _halve(self, base: ModelProto, precision: str) -> Rest:
        """Choose how the rest of INT8 graphs becomes FP16 or BF16; see `calibration.calibrate.Halve`."""
        kept = self._choose_kept(base, precision)
        return lambda graph: (to_half(graph, precision, kept), kept)

    def _choose_kept(self, model: ModelProto, precision: str) -> tuple[str, ...]:
        self.progress(f"{precision}: choosing the parts that stay in fp32", 0, 0)
        frames = self.gate.frames[:: max(1, len(self.gate.frames) // HALF_CLIPS)][:HALF_CLIPS]
        return choose_kept(model, precision, frames, progress=self.progress)

    def _check(self, variant: Variant) -> Variant:
        """Check a graph with the gate, and return it with the measurements.

        Raises:
            ExportError: if it fails; the message states why.
        """
        self.progress(f"{variant.title}: comparing with torch on {counted(len(self.gate.frames), 'clip')}", 0, 0)
        verdict = self.gate.check(variant, self.folder / variant.file)
        if verdict.remark is not None:
            self.warn(f"{variant.title}: {verdict.remark}")
        return variant.model_copy(update={"parity": verdict.parity})

    @contextmanager
    def _named(self, title: str, precision: str, path: Path | None = None) -> Iterator[None]:
        """Report a graph that fails, with the next step, and remove its file."""
        try:
            yield
        except ExportError as error:
            self.failures.append(f"{title}: {error}. {self.advice(precision, self.clips)}")
            if path is not None and path.exists():
                remove_graph(path)

    def _made(self) -> dict[str, object]:
        before = self.origin.info.provenance.get("export")  # that of a bundle; a checkpoint has none
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


def unmeasured(path: Path, mask: int, precision: str = "fp32", **about: Any) -> Variant:
    """Return a variant of a graph before its comparison.

    Args:
        path: of the graph.
        mask: mask ratio in percent.
        precision: of the graph.
        about: other attributes of the variant.
    """
    return Variant(
        file=path.name,
        mask=mask,
        precision=precision,  # type: ignore[arg-type]
        sha256=hash_file(path),
        size_bytes=path.stat().st_size,
        gmacs=count_macs(path) / 1e9,
        parity=Parity(max_abs_error=0, bound=1, clips=1, source="not measured yet"),
        **about,
    )
