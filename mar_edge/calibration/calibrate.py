"""Creates INT8 graphs from an FP32 graph and clips, each with more blocks in FP32, until one is good enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import onnx
from onnx import ModelProto

from mar_edge.calibration.collection import too_few
from mar_edge.calibration.held_clips import HeldClips
from mar_edge.calibration.placement import int8_share
from mar_edge.calibration.quantise import quantise
from mar_edge.calibration.ranges import METHODS, Method
from mar_edge.calibration.scheme import Schemes
from mar_edge.calibration.sensitivity import Damage, sensitivity
from mar_edge.calibration.separate_qkv import separate_qkv
from mar_edge.calibration.trade_off import Row, trade_off
from mar_edge.errors import ExportError, OptionError, OutputError
from mar_edge.model_spec import Placement
from mar_edge.node_names import block_of
from mar_edge.reporting import Progress, no_progress
from mar_edge.runtime.measurement.clip_set import ClipSet

PLACEMENTS: tuple[Placement, ...] = ("cpu", "tensorrt")

Rest = Callable[[ModelProto], tuple[ModelProto, tuple[str, ...]]]
"""Converts the non-INT8 part to half precision: takes an INT8 graph, and returns it with an FP16 or BF16 rest, and the parts that
stay FP32."""

Halve = Callable[[ModelProto, str], Rest]
"""Returns the `Rest` of the INT8 graphs of an FP32 graph, in `fp16` or `bf16`."""


@dataclass(frozen=True)
class Calibrated:
    """An INT8 graph that was written.

    Attributes:
        file: the graph.
        placement: which engines its Q/DQ was placed for.
        kept: blocks that are not INT8, and the last products of attentions that INT8 cannot represent.
        quantisation: how it was created, for the manifest.
        damages: of each block when only it is INT8, the worst one first; empty if not measured.
        rows: the choices of `kept` that were tried, the chosen one last.
    """

    file: Path
    placement: Placement
    kept: tuple[str, ...]
    quantisation: dict[str, Any]
    damages: tuple[Damage, ...]
    rows: tuple[Row, ...]


class Calibration:
    """The INT8 graphs of one FP32 graph; ranges and equalisation are chosen on creation.

    On a CPU the rest of an INT8 graph is FP32, or BF16 for `int8-bf16`. On a GPU FP32 would be slower than FP16, so there the
    rest is FP16, and queries, keys and values come from three products.

    Args:
        graph_path: the FP32 graph, its nodes named by part.
        clips: for calibration and measurement. Their labels, if any, are used for the trade-off; their `warn` is
            called if they are few.
        method: of `ranges`; `auto` uses the one whose graph diverges least from FP32; if close, the one that cuts
            least.
        target_drop: loss in points that may remain, see `trade_off.loss_of`; None for only the bounds of INT8.
        measure_blocks: whether each block's damage is measured even if no block need be kept.
        halve: converts the rest of TensorRT's graph to FP16, and that of `int8-bf16` to BF16; None leaves TensorRT's FP32.
        cache: folder that stores statistics between calls; None for none.
        progress: called with the current step.
        threads: of ONNX Runtime; None for all cores.

    Raises:
        SourceError: if a video cannot be read; the message names it.
        OptionError: if the method is unknown, or the target is negative.
        ExportError: if a graph cannot be run, or contains values that INT8 cannot represent.
        OutputError: if the cache cannot be written.
    """

    def __init__(
        self,
        graph_path: Path,
        clips: ClipSet,
        *,
        method: Method | Literal["auto"] = "auto",
        target_drop: float | None = None,
        measure_blocks: bool = False,
        halve: Halve | None = None,
        cache: Path | None = None,
        progress: Progress = no_progress,
        threads: int | None = None,
    ) -> None:
        if method not in ("auto", *METHODS):
            raise OptionError(f"unknown calibration method '{method}'; choose from auto, {', '.join(METHODS)}")
        if target_drop is not None and not target_drop >= 0:
            raise OptionError(f"a drop of {target_drop:g} points is invalid; use 0 or more")
        if message := too_few(len(clips)):
            clips.warn(message)
        self._path, self._halve, self._progress, self._target_drop = graph_path, halve, progress, target_drop
        self._measure_all = measure_blocks or target_drop is not None
        self._clips = HeldClips.of(clips)
        schemes = Schemes(graph_path, self._clips, cache, progress, threads)
        self._view, self._trial = schemes.view, schemes.trial
        self._scheme = schemes.choose(METHODS if method == "auto" else (method,))
        self._residuals = schemes.residuals_pay(self._scheme)
        self._damages: tuple[Damage, ...] = ()
        self._rests: dict[str, Rest] = {}

    def candidates(self, placement: Placement, out: Path, precision: str = "int8") -> Iterator[Calibrated]:
        """Write one INT8 graph after another; each replaces the previous one.

        The first has as few blocks in FP32 as needed to keep the bounds of INT8 and the target on the calibration's
        clips, mostly none. If it fails on other clips, the caller requests the next one, which keeps one more of the
        worst blocks in FP32, then two more, then four.

        Args:
            placement: engines that they are for.
            out: folder for the graph, `NAME-PRECISION[-PLACEMENT].onnx` for a graph `NAME-fp32.onnx`.
            precision: `int8`, or `int8-bf16` with placement `cpu`.

        Yields:
            The graphs; none if no graph with INT8 keeps the bounds.

        Raises:
            ExportError: if a graph cannot be run or created.
            OutputError: if it cannot be written.
        """
        if self._measure_all:
            self._measure_blocks(placement)
        rows: list[Row] = []
        skip, step = 0, 1
        for row in trade_off(
            self._scheme.model,
            self._scheme.thresholds,
            self._trial,
            lambda: self._measure_blocks(placement),
            placement=placement,
            residuals=self._residuals,
            kept=self._scheme.diffuse,
            progress=self._progress,
        ):
            if not row.int8_share:
                return
            rows.append(row)
            if not row.is_enough(self._target_drop):
                continue
            if skip:
                skip -= 1
                continue
            yield self._write(placement, out, rows, precision)
            skip, step = step - 1, 2 * step

    def _measure_blocks(self, placement: Placement) -> tuple[Damage, ...]:
        """Return each block's damage, measured once: placements differ too little to change the order."""
        if not self._damages:
            found = sensitivity(
                self._scheme.model,
                self._scheme.thresholds,
                self._trial,
                placement=placement,
                residuals=self._residuals,
                kept=self._scheme.diffuse,
                progress=self._progress,
            )
            self._damages = tuple(found)
        return self._damages

    def _write(self, placement: Placement, out: Path, rows: list[Row], precision: str) -> Calibrated:
        scheme = self._scheme
        kept = _without_doubles(scheme.diffuse, rows[-1].kept)
        if precision == "int8-bf16":
            kept = _with_scores(kept)
        base = self._separated if placement == "tensorrt" else scheme.model
        graph = quantise(base, scheme.thresholds, placement=placement, kept=kept, residuals=self._residuals)
        about: dict[str, Any] = {
            "method": scheme.method,
            "clips": len(self._clips),
            "source": self._clips.source,
            "equalisation": scheme.alpha,
            "residuals": self._residuals and placement == "tensorrt",
            "int8_share": round(int8_share(self._view, placement, kept), 4),
        }
        rest = _rest_of(precision, placement)
        if rest is not None and (self._halve is not None or rest == "bf16"):
            assert self._halve is not None, "int8-bf16 needs halve"
            if rest not in self._rests:
                self._rests[rest] = self._halve(base, rest)
            graph, in_fp32 = self._rests[rest](graph)
            about |= {"rest": rest, "in_fp32": list(in_fp32)}
        if self._damages:
            about["sensitivity"] = [damage._asdict() for damage in self._damages]
        file = out / _name(self._path, placement, precision)
        _write(graph, file)
        return Calibrated(file, placement, kept, about, self._damages, tuple(rows))

    @cached_property
    def _separated(self) -> ModelProto:
        return separate_qkv(self._scheme.model)


def _rest_of(precision: str, placement: Placement) -> str | None:
    """Return the half precision of what is not INT8; None if it is FP32."""
    if precision == "int8-bf16":
        return "bf16"
    return "fp16" if placement == "tensorrt" else None


def _with_scores(kept: tuple[str, ...]) -> tuple[str, ...]:
    """Add the first product of each attention whose last one is kept.

    OpenVINO 2026.4 fuses an attention into one kernel, and cannot compile it if the first product is INT8 and the last one
    BF16 ("BrgemmCPU node has incompatible input element types").
    """
    mixes = [part for part in kept if part.endswith(".mix")]
    return (*(f"{part.removesuffix('.mix')}.scores" for part in mixes), *kept)


def _without_doubles(steps: tuple[str, ...], blocks: tuple[str, ...]) -> tuple[str, ...]:
    """Return all kept parts, without the steps of kept blocks."""
    return (*(step for step in steps if block_of(step) not in blocks), *blocks)


def _name(graph_path: Path, placement: Placement, precision: str) -> str:
    base = f"{graph_path.stem.removesuffix('-fp32')}-{precision}"
    return f"{base}.onnx" if placement == "any" else f"{base}-{placement}.onnx"


def _write(model: ModelProto, path: Path) -> None:
    try:
        onnx.save(model, str(path))
        onnx.checker.check_model(str(path))
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}. Choose a folder you can write to") from error
    except onnx.checker.ValidationError as error:
        raise ExportError(f"the int8 graph {path.name} is not valid ONNX: {error}") from error
