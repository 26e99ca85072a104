"""What runs engines in TensorRT: the runtime, engines, the inspector and execution contexts."""

from __future__ import annotations

import json
import types
from typing import Any

import numpy as np

from tests.fakes.gpu.cuda import Machine
from tests.fakes.gpu.tensorrt import VERSIONS, HostMemory, say

# make_module sets these four
trt = types.ModuleType("tensorrt")
"""The module that this is a part of."""

machine = Machine()
"""The computer it runs on."""

version = VERSIONS[0]
"""The package and its number, e.g. `tensorrt 10.3.0`."""

rtx = False
"""Whether it is TensorRT-RTX."""


KINDS = {"UINT8": np.uint8, "INT64": np.int64, "FLOAT": np.float32, "HALF": np.float16, "BF16": np.uint16}
"""NumPy type of each of TensorRT's; NumPy has no BF16, so its bits are kept."""


class Tracked:
    """Something whose end is noted."""

    _kind = ""

    def _born(self, kind: str) -> None:
        self._kind = kind
        machine.live[kind] += 1

    def __del__(self) -> None:
        if self._kind:
            machine.live[self._kind] -= 1
            if self._kind != "runtime":
                machine.needs_context(f"{self._kind} destroyed")


class Runtime(Tracked):
    """Loads engines."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._born("runtime")

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
        if not machine.gpus:
            say(self._logger, "IRuntime::deserializeCudaEngine: Error Code 1: Cuda Runtime (cudaError 35: driver)")
            return None
        machine.needs_context("an engine loaded")
        header, _, graph = bytes(serialized_engine).partition(b"\n")
        try:
            values = json.loads(header)
        except ValueError:
            values = {}
        here = machine.gpus[machine.current.number if machine.current else 0][0]
        if machine.call("deserialize_cuda_engine") or values.get("version") != version:
            say(
                self._logger,
                "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion "
                "stdVersionRead == kSERIALIZATION_VERSION failed. Version tag does not match.)",
            )
            return None
        if values["gpu"] not in ("any", here):
            say(self._logger, "Error Code 6: API Usage Error (The engine plan file is generated on an incompatible "
                "device, expecting compute 8.9 got compute 8.7, please rebuild.)")  # fmt: skip
            return None
        return trt.ICudaEngine(self._logger, values, graph)


class ICudaEngine(Tracked):
    """Weights on the GPU."""

    def __init__(self, logger: Any, values: dict[str, Any], graph: bytes) -> None:
        self._logger, self._values, self._graph = logger, values, graph
        self._tensors: dict[str, tuple[int, list[int]]] = {
            name: (kind, shape) for name, kind, shape in [*values["inputs"], *values["outputs"]]
        }
        self._born("engine")

    num_io_tensors = property(lambda self: len(self._tensors))

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_dtype(self, name: str) -> Any:
        return trt.DataType(self._tensors[name][0])

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._tensors[name][1])

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        assert profile_index == 0
        return [tuple(shape) for shape in self._values["profile"][name]]

    def create_runtime_config(self) -> Any:
        return None if machine.call("create_runtime_config") else trt.IRuntimeConfig()

    def create_engine_inspector(self) -> Any:
        return trt.EngineInspector(self._values["layers"])

    def create_execution_context(self, runtime_config: Any = None) -> Any:
        machine.needs_context("an execution context made")
        if machine.call("create_execution_context"):
            say(self._logger, "Error Code 2: OutOfMemory (Requested size was 1234 bytes.)")
            return None
        return trt.IExecutionContext(self, runtime_config)


class IRuntimeConfig:
    """How to run, for TensorRT-RTX."""

    def __init__(self) -> None:
        self._cache: Any = None
        self.cuda_graph_strategy: Any = None
        self.dynamic_shapes_kernel_specialization_strategy: Any = None

    def create_runtime_cache(self) -> Any:
        return trt.IRuntimeCache()

    def set_runtime_cache(self, cache: Any) -> bool:
        self._cache = cache
        return True


class IRuntimeCache:
    """Compiled kernels."""

    def __init__(self) -> None:
        self._data = b""

    def deserialize(self, blob: bytes) -> bool:
        machine.needs_context("compiled kernels read")
        if not bytes(blob).startswith(f"kernels of {version}".encode()):
            return False
        self._data = bytes(blob)
        return True

    def serialize(self) -> HostMemory:
        return HostMemory(self._data)


class EngineInspector:
    """Tells the layers."""

    def __init__(self, layers: list[dict[str, Any]]) -> None:
        self._layers = layers

    def get_engine_information(self, format: Any) -> str:
        # the oldest version gives names alone where kernels are fused
        return json.dumps(
            {"Layers": [layer["Name"] if version.startswith("tensorrt 10.3") else layer for layer in self._layers]}
        )


class IExecutionContext(Tracked):
    """What runs."""

    def __init__(self, engine: Any, config: Any) -> None:
        import onnxruntime

        self._engine, self._config = engine, config
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._ran: set[tuple[tuple[int, ...], ...]] = set()
        self._addresses: dict[str, int] = {}
        self._session = onnxruntime.InferenceSession(engine._graph, providers=["CPUExecutionProvider"])
        self._born("execution context")

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if machine.call("set_input_shape"):
            return False
        low, _, high = self._engine._values["profile"].get(name, ((), (), ()))
        if len(low) != len(shape) or not all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True)):
            say(self._engine._logger, f"Error Code 3: API Usage Error (shape {shape} is not in the profile)")
            return False
        self._shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if machine.call("set_tensor_address") or name not in self._engine._tensors or machine.at(memory) is None:
            return False
        if memory % 256:
            machine.broken.append(f"{name} is not at a multiple of 256 bytes")
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        machine.needs_context("inference")
        stream = machine.streams.get(stream_handle)
        if stream is None or machine.call("execute_async_v3"):
            say(self._engine._logger, "IExecutionContext::enqueueV3: Error Code 1: Cuda Runtime (invalid argument)")
            return False
        inputs = [name for name, _, _ in self._engine._values["inputs"]]
        if set(self._shapes) != set(inputs) or set(self._addresses) != set(self._engine._tensors):
            say(self._engine._logger, "Error Code 3: API Usage Error (shape or address was not set)")
            return False
        shapes = dict(self._shapes)
        if len({shape[0] for shape in shapes.values()}) != 1:
            say(self._engine._logger, "Error Code 7: Internal Error (IShuffleLayer: reshaping failed for tensor)")
            return False
        ran = tuple(shapes.values())
        if stream.capture is not None and (ran not in self._ran or rtx):
            say(self._engine._logger, "Error Code 1: Cuda Runtime (operation not permitted when capturing)")
            return False
        addresses = dict(self._addresses)  # a captured graph keeps them

        def work() -> None:
            memory = {}
            for name, (_, shape) in self._engine._tensors.items():
                whole = shapes.get(name, (next(iter(shapes.values()))[0], *shape[1:]))
                dtype = np.dtype(KINDS[self._engine.get_tensor_dtype(name).name])
                part = machine.at(addresses[name], int(np.prod(whole)) * dtype.itemsize)
                if part is None:
                    machine.broken.append(f"an inference used memory of {name} that was freed")
                    return
                memory[name] = np.frombuffer(part, dtype).reshape(whole)
            self._compute(memory, inputs)

        stream.add(work)
        self._ran.add(ran)
        if self._config is not None and self._config._cache is not None:
            self._config._cache._data = f"kernels of {version}".encode()
        return True

    def _compute(self, memory: dict[str, Any], inputs: list[str]) -> None:
        """Run the graph on these arrays; BF16 is in them as bits."""
        import onnxruntime

        binding = self._session.io_binding()
        for name, array in memory.items():
            if array.dtype == np.uint16:
                value = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array, 16)
            else:
                value = onnxruntime.OrtValue.ortvalue_from_numpy(array)
            (binding.bind_ortvalue_input if name in inputs else binding.bind_ortvalue_output)(name, value)
        self._session.run_with_iobinding(binding)
