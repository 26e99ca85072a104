"""ONNX Runtime: the engine that is part of every installation."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import EngineError
from mar_edge.model_spec import GraphSpec, ModelSpec
from mar_edge.runtime.engines.engine import Engine
from mar_edge.runtime.engines.graph_tensors import GraphTensor, check_tensors
from mar_edge.runtime.engines.step_buffers import StepBuffers
from mar_edge.runtime.engines.stream_state import StreamState
from mar_edge.telemetry import import_onnxruntime

_INT8_OPERATORS = ("QLinear", "QGemm", "MatMulInteger", "DynamicQuantize")
_PRECISIONS = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16", "uint8": "int8", "int8": "int8"}
_KERNEL = "_kernel_time"
_BFLOAT16 = 16
"""ONNX's number of the format (`TensorProto.BFLOAT16`); the package `onnx` is not needed at run time."""


def onnxruntime_errors() -> tuple[type[Exception], ...]:
    """Return all exceptions of ONNX Runtime; they have no common base class."""
    state = import_onnxruntime().capi.onnxruntime_pybind11_state
    return tuple(kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception))


class OnnxRuntimeEngine(Engine):
    """ONNX Runtime on the CPU.

    May be used by several threads. Steps of a streaming model run one at a time, and read and write the memory of
    their stream's state in place.

    Args:
        spec: the model.
        variant: which of its graphs it is.
        path: the file that holds it.
        threads: CPU threads for one inference; None for all cores.
    """

    name = "onnxruntime"

    def __init__(self, spec: ModelSpec, variant: GraphSpec, path: Path, *, threads: int | None = None) -> None:
        super().__init__(spec, variant, path)
        # a session that is bound to memory raises both
        self._errors: tuple[type[Exception], ...] = (RuntimeError, *onnxruntime_errors())
        self._threads = threads
        self._session = self._open()
        inputs, outputs = _tensors(self._session.get_inputs()), _tensors(self._session.get_outputs())
        self.layout = check_tensors(spec, variant, path, inputs, outputs)
        if self.layout is None:
            batch = self._session.get_inputs()[0].shape[0]
            self.max_batch = batch if isinstance(batch, int) else sys.maxsize
        else:
            self._buffers = StepBuffers(spec, self.layout)
            self._bindings: WeakKeyDictionary[StreamState, _Binding] = WeakKeyDictionary()
            self._turn = threading.Lock()

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
            if self.variant.precision == "bf16" and "NOT_IMPLEMENTED" in str(error):
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

    def _step(self, frames: NDArray[np.uint8], states: Sequence[StreamState]) -> NDArray[np.float32]:
        # in turn: a batch costs as much, and would need the states in one piece of memory
        with self._turn:
            return np.concatenate([self._one_step(step, state) for step, state in zip(frames, states, strict=True)])

    def _one_step(self, frames: NDArray[np.uint8], state: StreamState) -> NDArray[np.float32]:
        """Run a step (tubelet frames, H, W, 3) of one stream."""
        self._buffers.fill(frames, state)
        try:
            if state not in self._bindings:
                self._bindings[state] = _Binding(self._session, self._buffers, state)
            self._bindings[state].run()
        except self._errors as error:
            raise EngineError(f"ONNX Runtime failed on {self.path.name}: {error}") from error
        state.write(self._buffers.fresh)
        return self._buffers.logits.copy()

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

    def _inference(self, session: Any, frames: NDArray[np.uint8]) -> Callable[[], object]:
        """Return what runs a session on a clip; of a step graph on its last step, from an empty state."""
        if self.layout is None:
            return lambda: session.run(None, {"frames": frames})
        buffers, state = StepBuffers(self.spec, self.layout), self.new_state()
        state.begin()
        buffers.fill(self._last_step(frames), state)
        return _Binding(session, buffers, state).run

    def _profile(self, frames: NDArray[np.uint8], *, runs: int) -> list[dict[str, Any]] | None:
        """Return what ONNX Runtime records about every kernel it runs, in a separate session.

        It writes a file, and reports no error if the disk is full; None if that file is missing or incomplete.
        """
        try:
            with tempfile.TemporaryDirectory() as folder:
                session = self._open(Path(folder) / "profile")
                try:
                    infer = self._inference(session, frames)
                    for _ in range(runs):
                        infer()
                except self._errors as error:
                    raise EngineError(f"ONNX Runtime failed on {self.path.name}: {error}") from error
                events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return [event for event in events if event["cat"] == "Node" and event["name"].endswith(_KERNEL)]


class _Binding:
    """A session that is bound to the memory of a stream's steps, which it reads and writes in place.

    Args:
        session: of ONNX Runtime.
        buffers: what is not the stream's own.
        state: of the stream; its arrays are kept, not the state.
    """

    def __init__(self, session: Any, buffers: StepBuffers, state: StreamState) -> None:
        self._session, self._binding = session, session.io_binding()
        # the binding itself does not keep the arrays alive
        self._inputs = {name: _share(name, array, buffers.kind) for name, array in buffers.inputs(state).items()}
        self._outputs = {name: _share(name, array, buffers.kind) for name, array in buffers.outputs.items()}
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)

    def run(self) -> None:
        """Run the graph."""
        self._session.run_with_iobinding(self._binding)


def _share(name: str, array: NDArray[Any], kind: str) -> Any:
    """Return a value of ONNX Runtime in an array's memory; keys and values are of a number format, BF16 as bits."""
    value = import_onnxruntime().OrtValue
    if name.startswith(("past_", "new_")) and kind == "bfloat16":
        return value.ortvalue_from_numpy_with_onnx_type(array, _BFLOAT16)
    return value.ortvalue_from_numpy(array)


def _tensors(values: Sequence[Any]) -> list[GraphTensor]:
    """Return the inputs or outputs of a session."""
    kinds = {"float": "float32", "double": "float64"}  # it spells the others as NumPy does
    found = []
    for value in values:
        kind = value.type.removeprefix("tensor(").removesuffix(")")
        found.append(GraphTensor(value.name, kinds.get(kind, kind), tuple(value.shape[1:])))
    return found
