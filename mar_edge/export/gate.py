"""The gate: only graphs that match torch in FP32 become part of a bundle."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto

from mar_edge.errors import EngineError, ExportError
from mar_edge.export.half.emulation import emulate, session
from mar_edge.export.precision_check import check_precision
from mar_edge.export.tensor_types import HALF, element_types
from mar_edge.manifest import Variant
from mar_edge.model.deployed import DeployedGraph
from mar_edge.model.mar import MAR
from mar_edge.model_spec import ModelSpec
from mar_edge.runtime.engines.engine import Engine
from mar_edge.runtime.engines.registry import load_graph
from mar_edge.runtime.measurement.clip_runner import SEQUENCE_STEPS, ClipRunner, joined, step_targets
from mar_edge.runtime.measurement.clip_set import ClipSet
from mar_edge.runtime.measurement.parity import Verdict, compare


class Gate:
    """Compares graphs with torch.

    A step graph runs step by step, with the state that an engine keeps, and every answer is compared with that of torch's
    band mask: of every clip from an empty state, and of a sequence of `SEQUENCE_STEPS` time steps.

    Args:
        model: in evaluation mode.
        spec: its specification.
        clips: decoded immediately, and kept.

    Attributes:
        frames: the clips, uint8 (T, H, W, 3) each.
    """

    def __init__(self, model: MAR, spec: ModelSpec, clips: ClipSet) -> None:
        self.frames = [clip.frames for clip in clips]
        self._model, self._spec = model, spec
        self._source = clips.source
        self._sequences = list(self.frames)
        self._labels = clips.labels()
        if spec.streaming:
            self._sequences.append(joined(self.frames, SEQUENCE_STEPS, spec.geometry.tubelet_frames))
        self._reference = lru_cache(maxsize=None)(self._run_torch)

    def check(self, variant: Variant, path: Path) -> Verdict:
        """Return how much a graph differs from torch.

        Graphs with FP16 or BF16, also beside INT8, are run with every such tensor rounded, since engines on a CPU may compute them
        in FP32 and hide an overflow.

        Args:
            variant: the graph's properties.
            path: of the graph.

        Raises:
            ExportError: if it misses a bound of its precision, or does not compute in it; the message states why.
        """
        graph = onnx.load(str(path))
        in_fp32 = variant.quantisation.get("in_fp32", ())
        if wrong := check_precision(graph, variant.precision, variant.kept, in_fp32):
            raise ExportError(f"it does not compute in {variant.precision}: {'; '.join(wrong[:3])}")
        if set(HALF.values()) & set(element_types(graph).values()):
            logits = emulated_logits(graph, self._sequences)
            if not np.isfinite(logits).all():
                raise ExportError(f"its logits are NaN or infinite: values overflow {variant.precision}")
        else:
            del graph  # may take a gigabyte
            try:
                engine = load_graph(self._spec, variant, path)
                logits = np.concatenate([_answers(engine, frames) for frames in self._sequences])
            except EngineError as error:
                raise ExportError(str(error)) from error
        verdict = compare(
            self._reference(variant.mask),
            logits,
            variant.precision,
            source=self._source
            + (f", and {SEQUENCE_STEPS} time steps of them in a row" if self._spec.streaming else ""),
            reference_name="torch fp32",
            targets=self._targets(variant.mask),
            noun="answer" if self._spec.streaming else "clip",
        )
        if verdict.missed:
            raise ExportError(f"it does not match torch: {'; '.join(verdict.missed)}")
        return verdict

    def _targets(self, mask: int) -> NDArray[np.int64] | None:
        """Return the class of every answer at a mask."""
        if not self._spec.streaming:
            return self._labels
        steps = [len(clip) // self._spec.geometry.tubelet_frames for clip in self.frames]
        return step_targets(self._labels, steps, self._reference(mask), self._spec)

    def _run_torch(self, mask: int) -> NDArray[np.float32]:
        graph = DeployedGraph(self._model, mask / 100).eval()
        with torch.inference_mode():
            run = (lambda clip: graph.every_step(clip)[0]) if self._spec.streaming else graph
            return np.concatenate([run(torch.from_numpy(frames[None])).numpy() for frames in self._sequences])


def _answers(engine: Engine, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    return engine.every_step(frames[None])[0] if engine.spec.streaming else engine.infer(frames[None])


def emulated_logits(graph: ModelProto, frames: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Run a half-precision graph with every tensor rounded to half.

    Args:
        graph: from `half_graph.to_half`.
        frames: clips (T, H, W, 3) each.

    Returns:
        Logits (N, classes); of a step graph those after every time step, clip by clip.
    """
    runner = ClipRunner.of(session(emulate(graph)))
    return np.concatenate([runner.logits(clip) for clip in frames])
