"""OpenVINO: the faster engine on most x86 CPUs, and the one that supports BF16 there."""

from __future__ import annotations

import statistics
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import EngineError
from mar_edge.extras import require
from mar_edge.model_spec import GraphSpec, ModelSpec, number_formats
from mar_edge.node_names import is_product
from mar_edge.runtime.engines.engine import Engine
from mar_edge.runtime.engines.graph_tensors import GraphTensor, check_tensors
from mar_edge.runtime.engines.openvino_core import openvino_core
from mar_edge.runtime.engines.step_buffers import StepBuffers
from mar_edge.runtime.engines.stream_state import StreamState
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
        self._turn = threading.Lock()
        if self.layout is None:
            self._request = self._compiled.create_infer_request()
        else:
            self._request = _StepRequest(self._compiled, self._names, StepBuffers(spec, self.layout))

    def _compile(self, **more: Any) -> Any:
        """Read and compile the graph for batches of one: OpenVINO fuses more when it knows all shapes."""
        openvino = import_openvino()
        frontend = openvino.frontend
        try:
            reader = frontend.FrontEndManager().load_by_framework("onnx")  # read_model would try every format it knows
            model = reader.convert(reader.load(str(self.path)))
            inputs, outputs = _tensors(model.inputs), _tensors(model.outputs)
            self.layout = check_tensors(self.spec, self.variant, self.path, inputs, outputs)
            # by these names from now on: OpenVINO adds others, of nodes that it removes
            self._names = [tensor.name for tensor in inputs], [tensor.name for tensor in outputs]
            model.reshape({index: [1, *tensor.shape] for index, tensor in enumerate(inputs)})
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

    def _step(self, frames: NDArray[np.uint8], states: Sequence[StreamState]) -> NDArray[np.float32]:
        # in turn: a batch costs as much, and would need the states in one piece of memory
        with self._turn:
            try:
                return np.concatenate(
                    [self._request.step(step, state) for step, state in zip(frames, states, strict=True)]
                )
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
        compiled = self._compile(PERF_COUNT=True)
        request, feeds = compiled.create_infer_request(), {0: frames}
        if self.layout is not None:
            stepping = _StepRequest(compiled, self._names, StepBuffers(self.spec, self.layout))
            request, feeds = stepping.request, {}
            state = self.new_state()
            state.begin()
            stepping.bind(self._last_step(frames), state)
        means: dict[str, list[float]] = {}
        for _ in range(runs + 1):
            request.infer(feeds)
            for layer in request.get_profiling_info():
                means.setdefault(layer.node_name, []).append(1000 * layer.real_time.total_seconds())
        return {name: max(0.0, statistics.median(single_times(found)[1:])) for name, found in means.items()}


def single_times(means: Sequence[float]) -> list[float]:
    """Return the time of each run, of its mean with all runs before: that is what OpenVINO counts.

    The first run takes many times as long as the others, and would be in every mean. Whole microseconds are counted, so a
    single time is wrong by up to the number of its run in microseconds, and may be negative.

    Args:
        means: after each run, in any unit.
    """
    totals = [mean * run for run, mean in enumerate(means, start=1)]
    return [after - before for before, after in zip([0.0, *totals], totals, strict=False)]


class _StepRequest:
    """An inference request of a step graph, which reads and writes the host's memory in place.

    Args:
        compiled: the graph.
        names: of its inputs and outputs, in order.
        buffers: what is not a stream's own.

    Attributes:
        request: OpenVINO's.
    """

    def __init__(self, compiled: Any, names: tuple[list[str], list[str]], buffers: StepBuffers) -> None:
        self.request = compiled.create_infer_request()
        self._inputs, outputs = names
        self._buffers, self._kind = buffers, buffers.kind
        self._bound: weakref.ref[StreamState] | None = None
        self._memory: dict[str, NDArray[Any]] = {}  # OpenVINO's tensors do not keep it alive
        for index, name in enumerate(outputs):
            self.request.set_output_tensor(index, self._share(name, buffers.outputs[name]))

    def bind(self, frames: NDArray[np.uint8], state: StreamState) -> None:
        """Prepare a step (tubelet frames, H, W, 3) of a stream, whose memory is the input from now on."""
        self._buffers.fill(frames, state)
        if self._bound is None or self._bound() is not state:
            memory = self._buffers.inputs(state)
            for index, name in enumerate(self._inputs):
                self.request.set_input_tensor(index, self._share(name, memory[name]))
            self._bound, self._memory = weakref.ref(state), memory

    def step(self, frames: NDArray[np.uint8], state: StreamState) -> NDArray[np.float32]:
        """Run a step of a stream and write its keys and values.

        Returns:
            Logits (1, classes), the caller's own.
        """
        self.bind(frames, state)
        self.request.start_async()  # `infer` would copy every output
        self.request.wait()
        state.write(self._buffers.fresh)
        return self._buffers.logits.copy()

    def _share(self, name: str, array: NDArray[Any]) -> Any:
        """Return a tensor of OpenVINO over an array's memory; BF16 is in it as bits."""
        openvino = import_openvino()
        if name.startswith(("past_", "new_")) and self._kind == "bfloat16":
            return openvino.Tensor(array, openvino.Shape(array.shape), openvino.Type.bf16)
        return openvino.Tensor(array, shared_memory=True)


def _tensors(ports: Sequence[Any]) -> list[GraphTensor]:
    """Return the inputs or outputs of a model as it was read."""
    kinds = {"u8": "uint8", "i64": "int64", "f32": "float32", "f16": "float16", "bf16": "bfloat16", "f64": "float64"}
    found = []
    for port in ports:
        kind, shape = port.element_type.get_type_name(), list(port.partial_shape)[1:]
        dims = tuple(dim.get_length() if dim.is_static else str(dim) for dim in shape)
        found.append(GraphTensor(port.any_name, kinds.get(kind, kind), dims))
    return found


def _is_product(name: str) -> bool:
    # `encoder.embed/MatMul/transpose_b` is a step beside the product
    return is_product(name) and name.count("/") == 1


def _last_line(error: Exception) -> str:
    """Return the message of an OpenVINO error, without the source locations before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
