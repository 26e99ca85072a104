"""The GPU resources of one engine: weights, buffers, a stream, a CUDA graph; created and freed together."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import EngineError, OutputError
from mar_edge.files.atomic_file import write_whole
from mar_edge.model_spec import GraphSpec, ModelSpec
from mar_edge.reporting import Warn
from mar_edge.runtime.engines.graph_tensors import GraphTensor, check_tensors
from mar_edge.runtime.engines.stream_state import StateLayout
from mar_edge.runtime.engines.tensorrt.cuda import CudaPlace
from mar_edge.runtime.engines.tensorrt.cuda_graph import CudaGraph
from mar_edge.runtime.engines.tensorrt.layers import LayerReport, inspect_engine
from mar_edge.runtime.engines.tensorrt.messages import explain, make_logger
from mar_edge.runtime.engines.tensorrt.versions import Dialect


class DamagedEngineError(EngineError):
    """An engine that cannot be loaded; building it again may help."""


class GpuSession:
    """An engine that is loaded and ready.

    Frames are copied into memory that the GPU reads directly, and all work runs on one stream. If the batch
    never changes, the second inference is captured as a CUDA graph, and later ones replay it. May be used by
    any thread; one inference runs at a time.

    Args:
        data: the serialised engine.
        dialect: the module that built it.
        place: GPU and context.
        spec: the model.
        variant: which of its graphs it is.
        path: the file of the graph.
        say: called with what the operator should know.
        kernels: file of compiled kernels, for TensorRT-RTX.

    Raises:
        DamagedEngineError: if it cannot be loaded.
        EngineError: if it does not fit these clips, or the GPU's memory is too small. Nothing is left on the GPU.
    """

    def __init__(
        self,
        data: bytes,
        dialect: Dialect,
        place: CudaPlace,
        spec: ModelSpec,
        variant: GraphSpec,
        path: Path,
        *,
        say: Warn,
        kernels: Path | None = None,
    ) -> None:
        self._trt, self._title, self._place, self._say = dialect.trt, dialect.title, place, say
        self._captures = dialect.release.cuda_graph == "captured"
        self._spec, self._variant, self._path, self._kernels = spec, variant, path, kernels
        self._logger = make_logger(dialect.trt)
        self._turn = threading.Lock()
        self._graph: CudaGraph | None = None
        self._inferences = 0
        self._batch = 0  # batch that the execution context is set to
        self._kernels_size = 0
        self._cache: Any = None
        self._host: dict[str, NDArray[Any]] = {}  # pinned memory by the name of the input or output
        self._gpu: dict[str, Any] = {}
        self._undo = contextlib.ExitStack()  # frees in reverse order
        self._closed = False
        try:
            with place.current():
                self._load(data)
                self._allocate()
        except BaseException:
            self.close()
            raise

    @property
    def largest_batch(self) -> int:
        """Most clips of one inference, as the engine was built."""
        return self._largest

    @property
    def layout(self) -> StateLayout | None:
        """What a streaming model keeps of a stream; None for a windowed model."""
        return self._layout

    def _load(self, data: bytes) -> None:
        """Create the engine and its execution context."""
        self._runtime = self._held("_runtime", self._trt.Runtime(self._logger))
        self._engine = self._held("_engine", self._runtime.deserialize_cuda_engine(data), DamagedEngineError)
        self._check_tensors()
        sizes = [int(shape[0]) for shape in self._engine.get_tensor_profile_shape("frames", 0)]
        self._smallest, self._largest = sizes[0], sizes[2]
        if self._captures:
            context = self._engine.create_execution_context()
        else:
            context = self._engine.create_execution_context(self._runtime_config())
        self._execution = self._held("_execution", context)

    def _runtime_config(self) -> Any:
        """Return TensorRT-RTX's runtime configuration: its own CUDA graphs, and kernels it compiled before."""
        trt = self._trt
        config = self._config = self._held("_config", self._engine.create_runtime_config())
        if hasattr(config, "cuda_graph_strategy"):  # since 1.2
            config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        if self._smallest == self._largest:  # one shape: compile for it at once, and not for others first
            strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
            config.dynamic_shapes_kernel_specialization_strategy = strategy
        self._cache = self._held("_cache", config.create_runtime_cache())
        if self._kernels is not None and self._kernels.is_file():
            kept = self._kernels.read_bytes()
            if self._cache.deserialize(kept):
                self._kernels_size = len(kept)
            else:
                self._say(f"{self._kernels.name} is of another driver or GPU, or damaged; kernels are compiled again")
        config.set_runtime_cache(self._cache)
        return config

    def _allocate(self) -> None:
        """Create the stream and the buffers, and pass their addresses to the execution context."""
        self._stream = self._held("_stream", self._place.cuda.Stream())
        for tensor in [*self._inputs, *self._outputs]:
            if not tensor.name.startswith(("past_", "new_")):
                self._add_buffers(tensor)

    def _add_buffers(self, tensor: GraphTensor) -> None:
        """Allocate pinned memory of the host and memory of the GPU for the largest batch of an input or output."""
        cuda = self._place.cuda
        sizes = [size for size in tensor.shape if isinstance(size, int)]
        host = cuda.pagelocked_empty((self._largest, *sizes), np.dtype(tensor.kind))
        self._undo.callback(host.base.free)
        host[...] = 0  # a batch that is filled up reads all of it
        device = cuda.mem_alloc(host.nbytes)
        self._undo.callback(device.free)
        self._host[tensor.name], self._gpu[tensor.name] = host, device
        self._set_address(tensor.name, int(device))

    def _set_address(self, name: str, address: int) -> None:
        if not self._execution.set_tensor_address(name, address):
            raise EngineError(f"{self._title} rejects the buffer of {name}: {explain(self._logger.errors)}")

    def _held(self, name: str, thing: Any, error: type[EngineError] = EngineError) -> Any:
        """Return what was created; it is freed in reverse order of these calls, by dropping the reference."""
        if thing is None:
            raise error(f"{self._title} cannot load the engine: {explain(self._logger.errors)}")
        self._undo.callback(lambda: vars(self).pop(name, None))
        return thing

    def _check_tensors(self) -> None:
        """Check that the engine is one of this model's graph."""
        tensors = [self._tensor(self._engine.get_tensor_name(index)) for index in range(self._engine.num_io_tensors)]
        self._outputs = [tensor for tensor in tensors if tensor.name.startswith(("logits", "new_"))]
        self._inputs = [tensor for tensor in tensors if tensor not in self._outputs]
        try:
            self._layout = check_tensors(self._spec, self._variant, self._path, self._inputs, self._outputs)
        except EngineError as error:
            raise DamagedEngineError(f"the engine of {error}") from error

    def _tensor(self, name: str) -> GraphTensor:
        # no name for the engine here: the traceback of an error would keep it alive
        kind = kind_of(self._engine.get_tensor_dtype(name))
        return GraphTensor(name, kind, tuple(self._engine.get_tensor_shape(name))[1:])

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run clips (B, T, H, W, 3); more than the engine takes at once are run in turn.

        Returns:
            Logits (B, classes), not shared with a buffer.

        Raises:
            EngineError: if it is closed, or the GPU fails.
        """
        logits = np.empty((len(frames), len(self._spec.labels)), np.float32)
        with self._running():
            for start in range(0, len(frames), self._largest):
                clips = frames[start : start + self._largest]
                self._host["frames"][: len(clips)] = clips
                self._run(max(len(clips), self._smallest))
                logits[start : start + len(clips)] = self._host["logits"][: len(clips)]
        return logits

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        """Wait for our turn, with the context current; afterwards keep what was compiled for it."""
        with self._turn:
            if self._closed:
                raise EngineError("this engine is closed; load the model again")
            with self._place.current():
                yield
                if not self._kernels_size:
                    self._keep_kernels()  # now: a robot is switched off without closing the engine

    def _run(self, batch: int) -> None:
        """Run the inference on the buffers, and wait for it."""
        self._set_batch(batch)
        self._inferences += 1
        # before a capture, TensorRT must have run once with this shape
        if self._captures and self._smallest == self._largest and self._inferences == 2:
            self._graph = self._capture()
            if self._graph is not None:
                self._undo.callback(self._graph.close)
        if self._graph is not None:
            self._graph.launch()
        else:
            self._enqueue()
        self._stream.synchronize()

    def _set_batch(self, batch: int) -> None:
        if batch == self._batch:
            return
        self._batch = 0  # should one be rejected
        for tensor in self._inputs:
            shape = (batch, *tensor.shape)
            if not self._execution.set_input_shape(tensor.name, shape):
                raise EngineError(
                    f"{self._title} rejects {tensor.name} of shape {shape}: {explain(self._logger.errors)}"
                )
        self._batch = batch

    def _enqueue(self) -> None:
        """Enqueue the copies to the GPU, the inference, and the copy back."""
        cuda, batch = self._place.cuda, self._batch
        for name, host in self._host.items():
            if name != "logits":
                cuda.memcpy_htod_async(self._gpu[name], host[:batch], self._stream)
        if not self._execution.execute_async_v3(self._stream.handle):
            raise EngineError(f"{self._title} failed: {explain(self._logger.errors)}")
        cuda.memcpy_dtoh_async(self._host["logits"][:batch], self._gpu["logits"], self._stream)

    def _capture(self) -> CudaGraph | None:
        """Return what `_enqueue` enqueues as a CUDA graph; None if it cannot be captured, which is said once."""
        try:
            return CudaGraph(self._stream.handle, self._enqueue)
        except (EngineError, AttributeError, self._place.cuda.Error) as error:
            self._captures = False
            self._say(
                f"{self._title}: no CUDA graph could be captured, so every inference takes a little longer: {error}"
            )
            self._logger.errors.clear()
            return None

    def _keep_kernels(self) -> None:
        """Keep the kernels that TensorRT-RTX compiled, if there are new ones."""
        if self._cache is None or self._kernels is None:
            return
        kernels = bytes(self._cache.serialize() or b"")
        if len(kernels) <= self._kernels_size:
            return
        self._kernels_size = len(kernels)
        try:
            write_whole(self._kernels, kernels)
        except OutputError as error:
            self._say(f"compiled kernels are not cached: {error}")

    def layers(self) -> LayerReport | None:
        """Return which products are computed in which precision; None if the engine does not report it."""
        with self._turn, self._place.current():
            return inspect_engine(self._trt, self._engine)

    def close(self) -> None:
        """Free everything on the GPU, in reverse order, with the context current. May be called again."""
        with self._turn:
            if self._closed:
                return
            self._closed = True
            with self._place.current(), self._undo:
                if self._inferences:
                    self._keep_kernels()


def kind_of(dtype: Any) -> str:
    """Return TensorRT's number format by NumPy's name."""
    kinds = {"UINT8": "uint8", "INT64": "int64", "FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}
    return kinds.get(dtype.name, str(dtype.name))
