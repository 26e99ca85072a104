"""OpenVINO: the faster engine on most x86 CPUs, and the one that supports BF16 there."""

from __future__ import annotations

import statistics
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mar_edge.counting import counted
from mar_edge.errors import EngineError
from mar_edge.extras import require
from mar_edge.model_spec import GraphSpec, ModelSpec, number_formats
from mar_edge.node_names import is_product
from mar_edge.runtime.engines.engine import Engine
from mar_edge.runtime.engines.openvino_core import openvino_core
from mar_edge.telemetry import import_openvino

_PRECISIONS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8"}


class OpenVinoEngine(Engine):
    """OpenVINO on the CPU.

    It computes in the graph's own precision: by default OpenVINO uses BF16 for an FP32 graph wherever the
    CPU supports it, without a notice. FP16 is the exception on CPUs without FP16 arithmetic, which is all but the newest
    x86: such a graph runs in FP32 with its weights rounded to FP16, as `layer_precisions` reports.

    May be used by several threads; one inference runs at a time.

    Args:
        spec: the model.
        variant: which of its graphs it is.
        path: the file that holds it.
        threads: CPU threads for one inference; None for all cores.

    Raises:
        EngineError: if OpenVINO rejects the graph, or the graph contains BF16 and the CPU does not support BF16.
        MissingExtraError: if OpenVINO is not installed.
    """

    name = "openvino"

    def __init__(self, spec: ModelSpec, variant: GraphSpec, path: Path, *, threads: int | None = None) -> None:
        super().__init__(spec, variant, path)
        require("openvino", "openvino", called="OpenVINO")
        try:
            self._core = openvino_core()
        except (ImportError, OSError) as error:
            raise EngineError(f"OpenVINO is installed but cannot be loaded: {_last_line(error)}") from error

        needs_bf16 = "bf16" in number_formats(variant.precision)
        if needs_bf16 and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise EngineError(
                f"this CPU ({self._core.get_property('CPU', 'FULL_DEVICE_NAME')}) has no BF16 arithmetic. "
                "Choose another precision"
            )
        self._options: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "EXECUTION_MODE_HINT": "ACCURACY",  # the graph's own precision
            # pinned threads of two processes would share a core while others idle
            "ENABLE_CPU_PINNING": False,
        }
        if threads:
            self._options["INFERENCE_NUM_THREADS"] = threads
        self._compiled = self._compile()
        self._request = self._compiled.create_infer_request()
        self._turn = threading.Lock()

    def _compile(self, **more: Any) -> Any:
        """Read and compile the graph for batches of one: OpenVINO fuses more when it knows all shapes."""
        openvino = import_openvino()
        frontend = openvino.frontend
        try:
            reader = frontend.FrontEndManager().load_by_framework("onnx")  # read_model would try every format it knows
            model = reader.convert(reader.load(str(self.path)))
            (frames,), (logits,) = model.inputs, model.outputs
            taken = frames.element_type.get_type_name(), frames.partial_shape
            fits = taken[0] == "u8" and taken[1].compatible(openvino.PartialShape([-1, *self._shape]))
            if fits:
                model.reshape({0: [1, *self._shape]})
            if not fits or list(logits.partial_shape.to_shape()) != [1, self._classes]:
                raise EngineError(
                    f"{self.path} takes {taken[0]} {taken[1]} and returns {logits.partial_shape}; its manifest "
                    f"states clips {list(self._shape)} and {counted(self._classes, 'label')}. Export the bundle again"
                )
            return self._core.compile_model(model, "CPU", {**self._options, **more})
        except (
            RuntimeError,
            frontend.GeneralFailure,
            frontend.InitializationFailure,
            frontend.NotImplementedFailure,
            frontend.OpConversionFailure,
            frontend.OpValidationFailure,
        ) as error:
            raise EngineError(f"OpenVINO rejects {self.path}: {_last_line(error)}") from error

    def _infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        # OpenVINO could share the memory of clip and result; copying takes well under 1 % of an inference, and
        # then no memory of the caller is kept, and no returned array changes later
        with self._turn:
            try:
                return np.concatenate([self._request.infer({0: clip[None]})[0] for clip in frames])
            except RuntimeError as error:
                raise EngineError(f"OpenVINO failed on {self.path.name}: {_last_line(error)}") from error

    def layer_precisions(self) -> dict[str, str]:
        """See `Engine.layer_precisions`; read from the graph that OpenVINO compiled."""
        self.check_process()
        found = {}
        for layer in self._compiled.get_runtime_model().get_ordered_ops():
            details = {key: getattr(value, "value", value) for key, value in layer.get_rt_info().items()}
            kind = details["runtimePrecision"]
            names = [name for name in str(details["originalLayersNames"]).split(",") if _is_product(name)]
            if not names and details["layerType"] in ("FullyConnected", "MatMul"):
                names = [layer.get_friendly_name()]
            found.update(dict.fromkeys(names, _PRECISIONS.get(kind, kind)))
        return found

    def layer_times(self, frames: NDArray[np.uint8], runs: int = 5) -> dict[str, float]:
        """See `Engine.layer_times`."""
        self.check_process()
        request = self._compile(PERF_COUNT=True).create_infer_request()
        times: dict[str, list[float]] = {}
        for run in range(runs + 1):
            request.infer({0: frames})
            for layer in request.get_profiling_info() if run else ():
                times.setdefault(layer.node_name, []).append(1000 * layer.real_time.total_seconds())
        return {name: statistics.median(took) for name, took in times.items()}


def _is_product(name: str) -> bool:
    # `encoder.embed/MatMul/transpose_b` is a step beside the product
    return is_product(name) and name.count("/") == 1


def _last_line(error: Exception) -> str:
    """Return the message of an OpenVINO error, without the source locations before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
