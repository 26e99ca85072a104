"""The gate: only graphs that match torch in FP32 become part of a bundle."""

from __future__ import annotations

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
from mar_edge.runtime.engines.registry import load_graph
from mar_edge.runtime.measurement.clip_set import ClipSet
from mar_edge.runtime.measurement.parity import Verdict, compare


class Gate:
    """Compares graphs with torch.

    Args:
        model: in evaluation mode.
        spec: its specification.
        clips: decoded immediately, and kept.
    """

    def __init__(self, model: MAR, spec: ModelSpec, clips: ClipSet) -> None:
        self.frames = clips.stacked()  # (N, T, H, W, 3)
        self._model, self._spec = model, spec
        self._source = clips.source
        self._targets = clips.labels()
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
            logits = emulated_logits(graph, self.frames)
            if not np.isfinite(logits).all():
                raise ExportError(f"its logits are NaN or infinite: values overflow {variant.precision}")
        else:
            del graph  # may take a gigabyte
            try:
                engine = load_graph(self._spec, variant, path)
                logits = np.concatenate([engine.infer(frames[None]) for frames in self.frames])
            except EngineError as error:
                raise ExportError(str(error)) from error
        verdict = compare(
            self._reference(variant.mask),
            logits,
            variant.precision,
            source=self._source,
            reference_name="torch fp32",
            targets=self._targets,
        )
        if verdict.missed:
            raise ExportError(f"it does not match torch: {'; '.join(verdict.missed)}")
        return verdict

    def _run_torch(self, mask: int) -> NDArray[np.float32]:
        graph = DeployedGraph(self._model, mask / 100).eval()
        with torch.inference_mode():
            return np.concatenate([graph(torch.from_numpy(frames[None])).numpy() for frames in self.frames])


def emulated_logits(graph: ModelProto, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Run a half-precision graph with every tensor rounded to half.

    Args:
        graph: from `half_graph.to_half`.
        frames: clips (N, T, H, W, 3).

    Returns:
        Logits (N, classes).
    """
    running = session(emulate(graph))
    return np.concatenate([running.run(["logits"], {"frames": clip[None]})[0] for clip in frames])
