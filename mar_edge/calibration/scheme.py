"""Chooses how a graph is quantised: equalised or not, and which ranges, by the divergence on the clips."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from onnx import ModelProto

from mar_edge.calibration.collection import collect, collect_from
from mar_edge.calibration.equalisation import ALPHA, equalise, uneven
from mar_edge.calibration.held_clips import HeldClips
from mar_edge.calibration.quantise import quantise
from mar_edge.calibration.ranges import Method, lost_share, ranges
from mar_edge.calibration.statistics import Statistics
from mar_edge.calibration.trial import Trial
from mar_edge.files.graph_files import hash_graph
from mar_edge.model.graph_view import GraphView
from mar_edge.node_names import part_of
from mar_edge.reporting import Progress

CLEARLY = 0.8
"""A method that cuts more is chosen only if it multiplies the divergence by no more than this: what it gains
on the calibration's clips it may lose on others."""

DIFFUSE = 0.05
"""An attention keeps its product with the values in FP32 if INT8 would round this share of its weights to zero:
with many tokens most weights are small, and together they matter."""

RESIDUAL_COST = 1.5
"""TensorRT's residual inputs are quantised if that multiplies the divergence by no more than this."""


class Scheme(NamedTuple):
    """A way to quantise a graph.

    Attributes:
        model: the FP32 graph, equalised or not.
        alpha: of the equalisation; None for none.
        method: of the ranges.
        thresholds: see `quantise`.
        diffuse: attentions' products with the values that stay FP32, such as `encoder.blocks.3.attn.mix`.
        kl: divergence from FP32 with CPU placement, which quantises most products.
    """

    model: ModelProto
    alpha: float | None
    method: Method
    thresholds: dict[str, float]
    diffuse: tuple[str, ...]
    kl: float


class Schemes:
    """One calibration: the graph, its statistics, and the clips to measure on."""

    def __init__(
        self, graph_path: Path, clips: HeldClips, cache: Path | None, progress: Progress, threads: int | None
    ) -> None:
        self._clips, self._cache, self._progress, self._threads = clips, cache, progress, threads
        self._hash = hash_graph(graph_path)
        self._statistics = collect(graph_path, clips, cache=self._cache_file(""), progress=progress, threads=threads)
        self.view = GraphView.read(graph_path)
        progress("running the clips in fp32", 0, 0)
        self.trial = Trial.of(graph_path, clips, threads)

    def choose(self, methods: tuple[Method, ...]) -> Scheme:
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

    def residuals_pay(self, choice: Scheme) -> bool:
        """Return whether TensorRT's residual inputs can be quantised without much loss."""
        self._progress("trying residuals in int8", 0, 0)
        without, with_ = (
            self.trial.judge(
                quantise(
                    choice.model, choice.thresholds, placement="tensorrt", residuals=residuals, kept=choice.diffuse
                )
            ).parity.kl
            for residuals in (False, True)
        )
        assert without is not None and with_ is not None
        return with_ <= RESIDUAL_COST * without

    def _try(self, model: ModelProto, alpha: float | None, statistics: Statistics, method: Method) -> Scheme:
        self._progress(f"trying {method} ranges" + (" with equalised channels" if alpha else ""), 0, 0)
        thresholds = ranges(statistics, method)
        diffuse = tuple(
            f"{part_of(node.name)}.mix"
            for node in self.view.nodes
            if node.op_type == "Softmax"
            and lost_share(statistics.tensors[node.output[0]], thresholds[node.output[0]]) > DIFFUSE
        )
        kl = self.trial.judge(quantise(model, thresholds, placement="cpu", kept=diffuse)).parity.kl
        assert kl is not None
        return Scheme(model, alpha, method, thresholds, diffuse, kl)

    def _collect_again(self, model: ModelProto, changed: list[str]) -> Statistics:
        """Return the statistics of an equalised graph: only the outputs of its layer norms have changed."""
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
