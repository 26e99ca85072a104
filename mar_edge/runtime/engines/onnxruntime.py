"""ONNX Runtime: the engine that is part of every installation."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mar_edge.counting import counted
from mar_edge.errors import EngineError
from mar_edge.model_spec import GraphSpec, ModelSpec, number_formats
from mar_edge.runtime.engines.engine import Engine
from mar_edge.telemetry import import_onnxruntime

_INT8_OPERATORS = ("QLinear", "QGemm", "MatMulInteger", "DynamicQuantize")
_PRECISIONS = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16", "uint8": "int8", "int8": "int8"}
_KERNEL = "_kernel_time"


def onnxruntime_errors() -> tuple[type[Exception], ...]:
    """Return all exceptions of ONNX Runtime; they have no common base class."""
    state = import_onnxruntime().capi.onnxruntime_pybind11_state
    return tuple(kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception))


class OnnxRuntimeEngine(Engine):
    """ONNX Runtime on the CPU.

    Args:
        spec: the model.
        variant: which of its graphs it is.
        path: the file that holds it.
        threads: CPU threads for one inference; None for all cores.
    """

    name = "onnxruntime"

    def __init__(self, spec: ModelSpec, variant: GraphSpec, path: Path, *, threads: int | None = None) -> None:
        super().__init__(spec, variant, path)
        self._errors = onnxruntime_errors()
        self._threads = threads
        self._session = self._open()
        (frames,), (logits,) = self._session.get_inputs(), self._session.get_outputs()
        self.max_batch = frames.shape[0] if isinstance(frames.shape[0], int) else sys.maxsize
        wanted = ("tensor(uint8)", list(self._shape), [self._classes])
        if (frames.type, frames.shape[1:], logits.shape[1:]) != wanted:
            raise EngineError(
                f"{path} takes {frames.type} {frames.shape} and returns {logits.shape}; its manifest states "
                f"clips {list(self._shape)} and {counted(self._classes, 'label')}. Export the bundle again"
            )

    def _open(self, profile: Path | None = None) -> Any:
        """Load the graph; a profile of every inference is written to files whose names begin with `profile`."""
        ort = import_onnxruntime()
        options = ort.SessionOptions()
        options.log_severity_level = 4  # errors are raised, and reported by us
        # spinning threads would take the core that the robot's own loop needs
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if self._threads:
            options.intra_op_num_threads = self._threads
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile)
        try:
            return ort.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        except self._errors as error:
            if "bf16" in number_formats(self.variant.precision) and "NOT_IMPLEMENTED" in str(error):
                raise EngineError(
                    "ONNX Runtime has no bf16 kernels for this CPU. Choose another precision, or --engine openvino"
                ) from error
            raise EngineError(f"ONNX Runtime rejects {self.path}: {error}") from error

    def _infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            logits: NDArray[np.float32] = self._session.run(["logits"], {"frames": frames})[0]
        except self._errors as error:
            raise EngineError(f"ONNX Runtime failed on {self.path.name}: {error}") from error
        return logits

    def layer_precisions(self) -> dict[str, str] | None:
        """See `Engine.layer_precisions`; read from a profile, which has the input types of every kernel."""
        self.check_process()
        events = self._profile(np.zeros((1, *self._shape), np.uint8), runs=1)
        if events is None:
            return None
        found = {}
        for event in events:
            name, details = event["name"].removesuffix(_KERNEL), event["args"]
            operator: str = details["op_name"]
            if operator.startswith(_INT8_OPERATORS):
                found[name] = "int8"
            elif operator in ("MatMul", "FusedMatMul", "Gemm", "FusedGemm"):
                kind = next(iter(details["input_type_shape"][0]))
                found[name] = _PRECISIONS.get(kind, kind)
        return found

    def layer_times(self, frames: NDArray[np.uint8], runs: int = 5) -> dict[str, float] | None:
        """See `Engine.layer_times`."""
        self.check_process()
        events = self._profile(frames, runs=runs + 1)
        if events is None:
            return None
        times: dict[str, list[float]] = {}
        for event in events:
            times.setdefault(event["name"].removesuffix(_KERNEL), []).append(event["dur"] / 1000)
        return {name: statistics.median(took[1:]) for name, took in times.items()}

    def _profile(self, frames: NDArray[np.uint8], *, runs: int) -> list[dict[str, Any]] | None:
        """Return what ONNX Runtime records about every kernel it runs, in a separate session.

        It writes a file, and reports no error if the disk is full; None if that file is missing or incomplete.
        """
        try:
            with tempfile.TemporaryDirectory() as folder:
                session = self._open(Path(folder) / "profile")
                try:
                    for _ in range(runs):
                        session.run(["logits"], {"frames": frames})
                except self._errors as error:
                    raise EngineError(f"ONNX Runtime failed on {self.path.name}: {error}") from error
                events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return [event for event in events if event["cat"] == "Node" and event["name"].endswith(_KERNEL)]
