"""From an FP32 graph and clips to INT8 graphs: ranges, equalisation and placement, chosen by measurement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import onnx
from onnx import ModelProto

from mar_edge.calibration.collection import collect, collect_from, too_few
from mar_edge.calibration.equalisation import ALPHA, equalise, uneven
from mar_edge.calibration.held_clips import HeldClips
from mar_edge.calibration.placement import int8_share
from mar_edge.calibration.quantise import quantise
from mar_edge.calibration.ranges import METHODS, Method, lost_share, ranges
from mar_edge.calibration.sensitivity import Damage, sensitivity
from mar_edge.calibration.separate_qkv import separate_qkv
from mar_edge.calibration.statistics import Statistics
from mar_edge.calibration.trade_off import Row, trade_off
from mar_edge.calibration.trial import Trial
from mar_edge.errors import ExportError, OptionError, OutputError
from mar_edge.files.graph_files import hash_graph
from mar_edge.model.graph_view import GraphView
from mar_edge.model_spec import Placement
from mar_edge.node_names import block_of, part_of
from mar_edge.runtime.measurement.clip_set import ClipSet

CLEARLY = 0.8
"""A method that cuts is taken for one that cuts less if it multiplies the divergence by no more than this: what it gains
on the calibration's own clips it may lose on others."""

DIFFUSE = 0.05
"""An attention keeps its product with the values in FP32 if INT8 would round so large a share of its weights to zero:
with many tokens most weights are small, and together they matter."""

RESIDUAL_COST = 1.5
"""TensorRT's residual inputs are quantised if that multiplies the divergence by no more than this."""

PLACEMENTS: tuple[Placement, ...] = ("cpu", "tensorrt")

Progress = Callable[[str], None]

Halve = Callable[[ModelProto, ModelProto], tuple[ModelProto, tuple[str, ...]]]
"""Gives what is not INT8 half precision: takes the FP32 graph and the INT8 graph made from it, and returns the latter
with an FP16 rest, and which parts stay FP32."""


@dataclass(frozen=True)
class Calibrated:
    """An INT8 graph that was written.

    Attributes:
        file: the graph.
        placement: which engines its Q/DQ was placed for.
        kept: blocks that stayed FP32, and the last products of attentions that INT8 cannot hold.
        quantisation: how it was made, for the manifest.
        damages: of each block when it alone is INT8, the worst one first; empty if not measured.
        rows: the trade-off that led to `kept`, its last row chosen; empty without a target.
    """

    file: Path
    placement: Placement
    kept: tuple[str, ...]
    quantisation: dict[str, Any]
    damages: tuple[Damage, ...] = ()
    rows: tuple[Row, ...] = ()


def calibrated_graphs(
    graph_path: Path,
    clips: ClipSet,
    out: Path,
    *,
    method: Method | Literal["auto"] = "auto",
    target_drop: float | None = None,
    measure_blocks: bool = False,
    halve: Halve | None = None,
    placements: Sequence[Placement] = PLACEMENTS,
    cache: Path | None = None,
    progress: Progress = lambda _message: None,
    threads: int | None = None,
) -> list[Calibrated]:
    """Write the INT8 graphs of an FP32 graph: by default one for CPUs and one for TensorRT.

    On a CPU the rest is FP32. On a GPU that would be slower than FP16, so there the rest is FP16, and queries, keys and
    values come from three products.

    Args:
        graph_path: the FP32 graph, its nodes named by part.
        clips: what it is calibrated and measured on. Their labels, if any, count for `target_drop`; their `warn` is told
            if they are few.
        out: folder for the graphs, `NAME-int8[-PLACEMENT].onnx` for a graph `NAME-fp32.onnx`.
        method: of `ranges`; `auto` takes the one whose graph diverges least from FP32, in doubt the one that cuts
            least.
        target_drop: loss in points that may remain, see `trade_off`; None keeps no block in FP32.
        measure_blocks: whether each block's damage is measured; a target needs it anyway.
        halve: makes the rest of TensorRT's graph FP16; None leaves it FP32.
        placements: for which engines graphs are made.
        cache: folder that keeps statistics between calls; None for none.
        progress: told what is being done.
        threads: of ONNX Runtime; None for all cores.

    Raises:
        SourceError: if a video cannot be read, naming it.
        OptionError: if the method is unknown, or the target cannot be.
        ExportError: if a graph cannot be run, or holds what INT8 cannot.
        OutputError: if a graph or the cache cannot be written.
    """
    if method not in ("auto", *METHODS):
        raise OptionError(f"no calibration method '{method}'; there are auto, {', '.join(METHODS)}")
    if target_drop is not None and not target_drop >= 0:
        raise OptionError(f"a drop of {target_drop:g} points cannot be met; 0 or more can")
    if message := too_few(len(clips)):
        clips.warn(message)
    held = HeldClips.of(clips)
    work = _Work(graph_path, held, cache, progress, threads)
    best = work.choose(METHODS if method == "auto" else (method,))
    residuals = work.residuals_pay(best)
    found: list[Calibrated] = []
    damages: list[Damage] = []
    for placement in placements:
        options: dict[str, Any] = {"placement": placement, "residuals": residuals, "kept": best.diffuse}
        if not damages and (measure_blocks or target_drop is not None):
            damages = sensitivity(best.model, best.thresholds, work.trial, progress=progress, **options)
        rows: list[Row] = []
        if target_drop is not None:
            rows = trade_off(
                best.model, best.thresholds, work.trial, damages, target_drop=target_drop, progress=progress, **options
            )
        kept = _without_doubles(best.diffuse, rows[-1].kept if rows else ())
        graph, rest = _quantised(best, placement, kept, residuals, halve)
        file = out / _name(graph_path, placement)
        _write(graph, file)
        about: dict[str, Any] = {
            "method": best.method,
            "clips": len(held),
            "source": held.source,
            "equalisation": best.alpha,
            "residuals": residuals and placement == "tensorrt",
            "int8_share": round(int8_share(work.view, placement, kept), 4),
            **rest,
        }
        if damages:
            about["sensitivity"] = [damage._asdict() for damage in damages]
        found.append(Calibrated(file, placement, kept, about, tuple(damages), tuple(rows)))
    return found


def _quantised(
    best: _Choice, placement: Placement, kept: tuple[str, ...], residuals: bool, halve: Halve | None
) -> tuple[ModelProto, dict[str, Any]]:
    """Return the INT8 graph, and what the manifest says of its rest."""
    base = separate_qkv(best.model) if placement == "tensorrt" else best.model
    graph = quantise(base, best.thresholds, placement=placement, kept=kept, residuals=residuals)
    if halve is None or placement != "tensorrt":
        return graph, {}
    graph, in_fp32 = halve(base, graph)
    return graph, {"rest": "fp16", "in_fp32": list(in_fp32)}


def _without_doubles(steps: tuple[str, ...], blocks: tuple[str, ...]) -> tuple[str, ...]:
    """Return all that is kept, without the steps of blocks that are."""
    return (*(step for step in steps if block_of(step) not in blocks), *blocks)


class _Choice(NamedTuple):
    """A way to quantise.

    Attributes:
        model: the FP32 graph, equalised or not.
        alpha: of the equalisation; None for none.
        method: of the ranges.
        thresholds: see `quantise`.
        diffuse: attentions' products with the values that stay FP32, as `encoder.blocks.3.attn.mix`.
        kl: divergence from FP32 with CPU placement, which quantises most products.
    """

    model: ModelProto
    alpha: float | None
    method: Method
    thresholds: dict[str, float]
    diffuse: tuple[str, ...]
    kl: float


class _Work:
    """One calibration: the graph, its statistics, and the clips to measure on."""

    def __init__(
        self, graph_path: Path, clips: HeldClips, cache: Path | None, progress: Progress, threads: int | None
    ) -> None:
        self._clips, self._cache, self._progress, self._threads = clips, cache, progress, threads
        self._hash = hash_graph(graph_path)
        self._statistics = collect(graph_path, clips, cache=self._cache_file(""), progress=progress, threads=threads)
        self.view = GraphView.read(graph_path)
        progress("running the clips in fp32")
        self.trial = Trial.of(graph_path, clips, threads)

    def choose(self, methods: tuple[Method, ...]) -> _Choice:
        """Try the first method with and without equalisation, then the other methods; return the best choice."""
        statistics = self._statistics
        best = self._try(self.view.model, None, statistics, methods[0])
        if norms := [pair.norm.output[0] for pair in uneven(self.view, statistics)]:
            model = equalise(self.view.model, statistics, ALPHA)
            equal_statistics = self._collect_again(model, norms)
            equal = self._try(model, ALPHA, equal_statistics, methods[0])
            if equal.kl < best.kl:
                best, statistics = equal, equal_statistics
        for method in methods[1:]:
            other = self._try(best.model, best.alpha, statistics, method)
            if other.kl < CLEARLY * best.kl:
                best = other
        return best

    def residuals_pay(self, choice: _Choice) -> bool:
        """Tell whether TensorRT's residual inputs can be quantised without much loss."""
        self._progress("trying residuals in int8")
        without, with_ = (
            self.trial.judge(
                quantise(
                    choice.model, choice.thresholds, placement="tensorrt", residuals=residuals, kept=choice.diffuse
                )
            ).kl
            for residuals in (False, True)
        )
        assert without is not None and with_ is not None
        return with_ <= RESIDUAL_COST * without

    def _try(self, model: ModelProto, alpha: float | None, statistics: Statistics, method: Method) -> _Choice:
        self._progress(f"trying {method} ranges" + (" with equalised channels" if alpha else ""))
        thresholds = ranges(statistics, method)
        diffuse = tuple(
            f"{part_of(node.name)}.mix"
            for node in self.view.nodes
            if node.op_type == "Softmax"
            and lost_share(statistics.tensors[node.output[0]], thresholds[node.output[0]]) > DIFFUSE
        )
        kl = self.trial.judge(quantise(model, thresholds, placement="cpu", kept=diffuse)).kl
        assert kl is not None
        return _Choice(model, alpha, method, thresholds, diffuse, kl)

    def _collect_again(self, model: ModelProto, changed: list[str]) -> Statistics:
        """Return the statistics of an equalised graph: only what its layer norms give has changed."""
        found = collect_from(
            GraphView(model),
            changed,
            self._clips,
            key=f"{self._hash} equalised {ALPHA:g}",
            cache=self._cache_file("-equalised"),
            progress=self._progress,
            threads=self._threads,
        )
        return Statistics({**self._statistics.tensors, **found.tensors}, found.clips)

    def _cache_file(self, suffix: str) -> Path | None:
        return self._cache / f"{self._hash[:16]}{suffix}.npz" if self._cache else None


def _name(graph_path: Path, placement: Placement) -> str:
    base = graph_path.stem.removesuffix("-fp32")
    return f"{base}-int8.onnx" if placement == "any" else f"{base}-int8-{placement}.onnx"


def _write(model: ModelProto, path: Path) -> None:
    try:
        onnx.save(model, str(path))
        onnx.checker.check_model(str(path))
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}. Choose a folder you can write to") from error
    except onnx.checker.ValidationError as error:
        raise ExportError(f"the int8 graph {path.name} is not valid ONNX: {error}") from error
