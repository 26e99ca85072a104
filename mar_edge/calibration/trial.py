"""Runs graphs that are not in a bundle yet, and compares them with FP32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from mar_edge.errors import ExportError
from mar_edge.runtime.engines.onnxruntime import onnxruntime_errors
from mar_edge.runtime.measurement.clip_runner import ClipRunner, step_targets
from mar_edge.runtime.measurement.clip_set import ClipSet
from mar_edge.runtime.measurement.parity import Verdict, compare
from mar_edge.telemetry import import_onnxruntime


def open_session(model: ModelProto | Path, threads: int | None = None) -> Any:
    """Load a graph into ONNX Runtime on the CPU.

    Raises:
        ExportError: if it rejects the graph.
    """
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 4  # errors are raised
    options.enable_cpu_mem_arena = False  # with a session for every block, each would keep its maximum memory
    # repacked weights would double the memory and save little time
    options.add_session_config_entry("session.disable_prepacking", "1")
    if threads:
        options.intra_op_num_threads = threads
    try:
        content = str(model) if isinstance(model, Path) else model.SerializeToString()
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except onnxruntime_errors() as error:
        raise ExportError(f"ONNX Runtime rejects the graph: {error}") from error


def logits_of(
    model: ModelProto | Path,
    frames: Sequence[NDArray[np.uint8]],
    *,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Run a graph on clips, one by one, a step graph from an empty state each.

    Args:
        model: with output `logits`.
        frames: clips, each uint8 (T, H, W, 3).
        threads: of ONNX Runtime; None for all cores.

    Returns:
        Logits, float32 (N, classes); of a step graph those after every time step, clip by clip.

    Raises:
        ExportError: if ONNX Runtime rejects the graph, or it gives something that is not a number.
    """
    runner = ClipRunner.of(open_session(model, threads))
    logits = np.concatenate([runner.logits(clip) for clip in frames])
    if not np.isfinite(logits).all():
        raise ExportError("the graph returns NaN or infinite logits")
    return logits


@dataclass(frozen=True)
class Trial:
    """Clips on which INT8 graphs are compared with the FP32 graph that they come from.

    Attributes:
        frames: the clips, each uint8 (T, H, W, 3).
        reference: logits of the FP32 graph (N, classes), a step graph's of every time step.
        targets: class of each of them (N,), -1 for none; None without labels.
        source: which clips they are, for messages.
        threads: of ONNX Runtime; None for all cores.
    """

    frames: Sequence[NDArray[np.uint8]]
    reference: NDArray[np.float32]
    targets: NDArray[np.int64] | None
    source: str
    threads: int | None = None

    @classmethod
    def of(cls, graph: Path, clips: ClipSet, threads: int | None = None) -> Trial:
        """Run the FP32 graph.

        Raises:
            SourceError: if a video cannot be read.
            ExportError: if the graph cannot be run.
        """
        frames = [clip.frames for clip in clips]
        reference, targets = logits_of(graph, frames, threads=threads), clips.labels()
        if clips.spec.streaming:
            steps = [len(clip) // clips.spec.geometry.tubelet_frames for clip in frames]
            targets = step_targets(targets, steps, reference, clips.spec)
        return cls(frames, reference, targets, clips.source, threads)

    def judge(self, model: ModelProto) -> Verdict:
        """Compare an INT8 graph with FP32."""
        logits = logits_of(model, self.frames, threads=self.threads)
        return compare(
            self.reference, logits, "int8", source=self.source, reference_name="graph fp32", targets=self.targets
        )
