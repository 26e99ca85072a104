"""Decides by measurement which parts of a graph stay FP32 when the rest becomes FP16 or BF16.

1. The graph runs in FP32 over the clips and reports the largest value of every number that half would store. The parts
   that come close to the limit of the precision stay FP32: those that produce such a number and those that use it.
2. The half graph is emulated (`half_emulation`) and its logits compared with FP32. Usually this is sufficient.
3. If they differ too much, one more run shows which parts cause the error of the logits (`half_blame`), and
   these become FP32, twice as many each time, until the logits are close enough; then fewer are tried.

So a large model needs one FP32 run and one emulated run, and only a model that is affected by half precision needs a few more.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from mar_edge.counting import counted
from mar_edge.errors import ExportError
from mar_edge.export.half.blame import blame_leaves
from mar_edge.export.half.emulation import emulate, session
from mar_edge.export.half.graph import to_half
from mar_edge.export.half.parts import PIXELS, leaves
from mar_edge.export.half.probes import error_probe, peak_probe, takers
from mar_edge.export.tensor_types import FLOATS, HALF, LARGEST
from mar_edge.node_names import PRODUCTS
from mar_edge.reporting import Progress, no_progress
from mar_edge.runtime.measurement.bounds import BOUNDS, misses
from mar_edge.runtime.measurement.clip_runner import FRESH, ClipRunner

__all__ = ["OVERFLOW_MARGIN", "PARITY_SHARE", "PRODUCT_COST", "choose_kept", "to_half"]

OVERFLOW_MARGIN = 4.0
"""Other clips may reach values up to this multiple of those of the measured ones."""

PARITY_SHARE = 0.5
"""Share of the errors allowed by `bounds.BOUNDS` that may be used on the measured clips."""

PRODUCT_COST = 4.0
"""A part with a matrix product must cause this many times the error of another to become FP32 before it: there half
precision saves time."""


def choose_kept(
    model: ModelProto,
    precision: str,
    clips: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    *,
    progress: Progress = no_progress,
) -> tuple[str, ...]:
    """Choose the parts that stay FP32.

    Args:
        model: an FP32 graph from `graph.write_graph`; not changed.
        precision: `fp16` or `bf16`.
        clips: to measure on, N of uint8 (T, H, W, 3); four are sufficient for a large model.
        progress: called with the current step.

    Returns:
        Names as in `half_parts`, sorted; for `to_half` and the manifest.

    Raises:
        ExportError: if the FP32 graph itself returns NaN or infinite logits, or no part can be in half precision.
    """
    choice = _Choice(model, precision, clips, progress)
    kept = choice.overflowing()
    if not choice.holds(kept):
        kept = choice.repair(kept)
    choice.check_worth(kept)
    return tuple(sorted(kept))


class _Choice:
    """The measurements of one choice."""

    def __init__(
        self,
        model: ModelProto,
        precision: str,
        clips: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
        progress: Progress,
    ) -> None:
        self._model, self._precision, self._progress = model, precision, progress
        self._clips = _sequences(model, clips)
        self._leaves = leaves(model)
        self._products = {self._leaves[node.name] for node in model.graph.node if node.op_type in PRODUCTS}
        self._reference: NDArray[np.float32] = np.zeros(0, np.float32)

    def overflowing(self) -> set[str]:
        """Return the leaves that come close to the limit of the precision; stores the FP32 logits."""
        limit = LARGEST[self._precision] / OVERFLOW_MARGIN
        probe = peak_probe(self._model, self._leaves)
        figures = self._run(probe.model, "values in fp32")
        self._reference = np.concatenate(figures["logits"])
        if not np.isfinite(self._reference).all():
            raise ExportError("the fp32 graph itself returns NaN or infinite logits; the checkpoint is damaged")
        found = {
            leaf for name, told in probe.leaves.items() if not np.max(figures[name]) <= limit for leaf in told
        } | self._heavy(limit)
        if found:
            self._progress(f"{counted(len(found), 'part')} would overflow {self._precision}", 0, 0)
        return found - {PIXELS}

    def holds(self, kept: Collection[str]) -> bool:
        """Return whether the half graph's logits are well within the bounds of its precision."""
        half = emulate(to_half(self._model, self._precision, kept))
        logits = np.concatenate(
            self._run(half, f"{self._precision} with {counted(len(kept), 'part')} in fp32")["logits"]
        )
        return not misses(self._reference, logits, BOUNDS[self._precision].tightened(PARITY_SHARE))

    def repair(self, kept: set[str]) -> set[str]:
        """Return `kept` and the most harmful leaves, as many as needed for the half graph to keep its bounds."""
        ranked = self._by_harm(kept)
        low, high = 0, 1  # `low` are too few, `high` are enough
        while high < len(ranked) and not self.holds(kept.union(ranked[:high])):
            low, high = high, min(2 * high, len(ranked))
        while high - low > max(1, high // 4):  # an eighth more than needed is not worth another run
            middle = (low + high) // 2
            if self.holds(kept.union(ranked[:middle])):
                high = middle
            else:
                low = middle
        return kept.union(ranked[:high])

    def check_worth(self, kept: Collection[str]) -> None:
        """Check that at least one matrix product is in the precision.

        Raises:
            ExportError: if every matrix product stays FP32.
        """
        if self._products <= set(kept):
            raise ExportError(f"no matrix product of this model can be computed in {self._precision} within its bounds")

    def _heavy(self, limit: float) -> set[str]:
        """Return the leaves with constants close to the limit of the precision."""
        using = takers(self._model, self._leaves)
        found: set[str] = set()
        for tensor in self._model.graph.initializer:
            if tensor.data_type in FLOATS and np.abs(numpy_helper.to_array(tensor)).max(initial=0) > limit:
                found |= using.get(tensor.name, set())
        return found

    def _by_harm(self, kept: Collection[str]) -> list[str]:
        """Return the other leaves, most harmful first."""
        probe = error_probe(self._model, self._leaves, HALF[self._precision], kept)
        figures = self._run(probe.model, "error of each part", settled=True)
        sums = {name: float(np.sum(values)) for name, values in figures.items()}
        blame = blame_leaves(self._model, self._leaves, sums)
        return sorted(
            (leaf for leaf in blame if leaf not in kept),
            key=lambda leaf: blame[leaf] / (PRODUCT_COST if leaf in self._products else 1.0),
            reverse=True,
        )

    def _run(self, model: ModelProto, title: str, *, settled: bool = False) -> dict[str, list[NDArray[np.float32]]]:
        """Run a graph clip by clip; return each output's values, one for every time step of a step graph.

        Args:
            model: the graph.
            title: for progress.
            settled: leave out the time steps before the band is full: empty slots make errors that nothing sees.
        """
        running = session(model)
        runner = ClipRunner.of(running)
        kept = () if runner.layout is None else runner.layout.names
        fresh = {f"{FRESH}{name}" for name in kept}
        names = [output.name for output in running.get_outputs() if output.name not in fresh]
        skipped = runner.layout.slots if settled and runner.layout is not None else 0
        found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
        for index, clip in enumerate(self._clips, 1):
            self._progress(f"{title}: clip {index} of {len(self._clips)}", 0, 0)
            for values in islice(runner.show(clip, names), skipped, None):
                for name, value in zip(names, values, strict=True):
                    found[name].append(value)
        return found


def _sequences(model: ModelProto, clips: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Return what a graph is shown: clips, or for a step graph one sequence of them all, so that its state is old."""
    streaming = any(value.name == "step" for value in model.graph.input)
    return [np.concatenate(list(clips))] if streaming else list(clips)
