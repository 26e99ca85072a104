"""TensorRT and TensorRT-RTX without a GPU, with their rules; an engine computes with ONNX Runtime.

Every name is checked against `tensorrt_api.json`, which was read from NVIDIA's own Python bindings of each version: what
a version lacks, its fake lacks.
"""

from __future__ import annotations

import enum
import importlib.machinery
import json
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from tests.fake_cuda import Machine

API: dict[str, dict[str, list[str]]] = json.loads(Path(__file__).with_name("tensorrt_api.json").read_text())
"""Names by version (`tensorrt 10.3.0`), and class or enumeration."""

VERSIONS = tuple(API)

STRONGLY_TYPED = "STRONGLY_TYPED"


class Severity(enum.IntEnum):
    """As `ILogger.Severity`."""

    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


def make_module(version: str, machine: Machine) -> types.ModuleType:
    """Return a fake of `tensorrt` or `tensorrt_rtx`.

    Args:
        version: one of `VERSIONS`.
        machine: the computer it runs on.
    """
    name, number = version.split()
    api = API[version]
    rtx = name == "tensorrt_rtx"
    trt = types.ModuleType(name)
    trt.__spec__ = importlib.machinery.ModuleSpec(name, None)
    old = number.startswith("10.3")

    def strict(cls: type) -> type:
        """Return a class that has the names of this version, and no others."""
        known = set(api[cls.__name__])

        def check(attribute: str) -> None:
            if not attribute.startswith("_") and attribute not in known:
                raise AttributeError(f"{version}: {cls.__name__} has no {attribute}")

        def read(self: Any, attribute: str) -> Any:
            check(attribute)
            return object.__getattribute__(self, attribute)

        def write(self: Any, attribute: str, value: Any) -> None:
            check(attribute)
            object.__setattr__(self, attribute, value)

        return type(cls.__name__, (cls,), {"__getattribute__": read, "__setattr__": write})

    for enumeration in (
        "NetworkDefinitionCreationFlag",
        "BuilderFlag",
        "ProfilingVerbosity",
        "MemoryPoolType",
        "ComputeCapability",
        "CudaGraphStrategy",
        "DynamicShapesKernelSpecializationStrategy",
        "LayerInformationFormat",
        "DataType",
    ):
        if enumeration in api:
            setattr(trt, enumeration, enum.IntEnum(enumeration, {m: i for i, m in enumerate(api[enumeration])}))
    trt.__version__ = number  # type: ignore[attr-defined]
    trt.uint8, trt.float32 = trt.DataType.UINT8, trt.DataType.FLOAT  # type: ignore[attr-defined]

    class ILogger:
        """Told everything."""

        def __init__(self) -> None:
            self._ready = True

        def log(self, severity: Any, message: str) -> None:
            raise NotImplementedError

    ILogger.Severity = Severity  # type: ignore[attr-defined]

    def say(logger: Any, message: str, severity: Severity = Severity.ERROR) -> None:
        assert logger._ready, "ILogger.__init__ was not called"
        logger.log(severity, message)

    def needs_context(what: str) -> None:
        if machine.current is None:
            machine.broken.append(f"{what} without a context")

    class HostMemory(bytes):
        """As IHostMemory, which gives its bytes."""

        nbytes = property(len)

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
                    needs_context(f"{self._kind} destroyed")

    class ITensor:
        """An input or output."""

        def __init__(self, name: str, dtype: Any, shape: tuple[int, ...]) -> None:
            self.name, self.dtype, self.shape = name, dtype, shape

    class INetworkDefinition:
        """A graph."""

        def __init__(self, logger: Any, typed: bool) -> None:
            self._logger, self._typed, self._graph = logger, typed, b""
            self._inputs: list[Any] = []
            self._outputs: list[Any] = []

        num_inputs = property(lambda self: len(self._inputs))
        num_outputs = property(lambda self: len(self._outputs))

        def get_input(self, index: int) -> Any:
            return self._inputs[index]

        def get_output(self, index: int) -> Any:
            return self._outputs[index]

    class ParserError:
        """What the parser refuses."""

        def __init__(self, node: Any, text: str) -> None:
            self._node, self._text = node, text

        def node_name(self) -> str:
            return str(self._node.name) if self._node is not None else ""

        def node_operator(self) -> str:
            return str(self._node.op_type) if self._node is not None else ""

        def desc(self) -> str:
            return self._text

    class OnnxParser:
        """Reads ONNX; refuses operators that do not exist."""

        def __init__(self, network: Any, logger: Any) -> None:
            self._network, self._errors = network, []

        num_errors = property(lambda self: len(self._errors))

        def get_error(self, index: int) -> Any:
            return self._errors[index]

        def parse(self, data: bytes, path: str | None = None) -> bool:
            import onnx

            if machine.call("parse"):
                self._errors.append(trt.ParserError(None, "Failed to parse the ONNX model."))  # type: ignore[attr-defined]
                return False
            try:
                graph = onnx.load_from_string(data).graph
            except Exception:
                self._errors.append(trt.ParserError(None, "Failed to parse the ONNX model."))  # type: ignore[attr-defined]
                return False
            for node in graph.node:
                if not onnx.defs.has(node.op_type, node.domain):
                    text = "Plugin not found, are the plugin name, version, and namespace correct?"
                    self._errors.append(trt.ParserError(node, text))  # type: ignore[attr-defined]
            kinds = {
                onnx.TensorProto.UINT8: trt.uint8,  # type: ignore[attr-defined]
                onnx.TensorProto.FLOAT: trt.float32,  # type: ignore[attr-defined]
                onnx.TensorProto.INT64: trt.DataType.INT64,  # type: ignore[attr-defined]
            }
            for values, tensors in ((graph.input, self._network._inputs), (graph.output, self._network._outputs)):
                for value in values:
                    kind = value.type.tensor_type
                    shape = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim)
                    tensors.append(trt.ITensor(value.name, kinds[kind.elem_type], shape))  # type: ignore[attr-defined]
            self._network._graph = data
            return not self._errors

    class IOptimizationProfile:
        """Shapes of a dynamic input."""

        def __init__(self) -> None:
            self._shapes: dict[str, list[tuple[int, ...]]] = {}

        def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
            self._shapes[input] = [tuple(min), tuple(opt), tuple(max)]

    class ITimingCache:
        """Measured kernels: of a version and a GPU, lines of text."""

        def __init__(self, data: bytes) -> None:
            self._stamp = f"{version} {machine.gpus[0][0]}".encode()
            self._valid = not data or data.startswith(self._stamp + b"\n")
            self._lines = set(filter(None, data.split(b"\n")[1:])) if self._valid else set()

        def combine(self, input_cache: Any, ignore_mismatch: bool) -> bool:
            if not input_cache._valid and not ignore_mismatch:
                return False
            self._lines |= input_cache._lines
            return True

        def serialize(self) -> HostMemory:
            return HostMemory(b"\n".join([self._stamp, *sorted(self._lines)]))

    class IBuilderConfig:
        """How to build."""

        def __init__(self) -> None:
            self.profiling_verbosity = trt.ProfilingVerbosity.LAYER_NAMES_ONLY  # type: ignore[attr-defined]
            self._flags = {trt.BuilderFlag.TF32}  # type: ignore[attr-defined]
            self._profiles: list[Any] = []
            self._pools: dict[Any, int] = {}
            self._cache: Any = None
            self._targets: list[Any] = []

        def clear_flag(self, flag: Any) -> None:
            self._flags.discard(flag)

        def set_memory_pool_limit(self, pool: Any, size: int) -> None:
            self._pools[pool] = size

        def add_optimization_profile(self, profile: Any) -> int:
            machine.call("add_optimization_profile")
            for shapes in profile._shapes.values():
                if not all(a <= b <= c for a, b, c in zip(*shapes, strict=True)):
                    return -1
            self._profiles.append(profile)
            return len(self._profiles) - 1

        def create_timing_cache(self, serialized_timing_cache: bytes) -> Any:
            if rtx:
                warnings.warn("Timing cache operations are no-ops", DeprecationWarning, stacklevel=2)
            return trt.ITimingCache(bytes(serialized_timing_cache))  # type: ignore[attr-defined]

        def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
            if not cache._valid and not ignore_mismatch:
                return False
            self._cache = cache
            return True

        @property
        def num_compute_capabilities(self) -> int:
            return len(self._targets)

        @num_compute_capabilities.setter
        def num_compute_capabilities(self, count: int) -> None:
            self._targets = [None] * count

        def set_compute_capability(self, compute_capability: Any, index: int) -> bool:
            if not 0 <= index < len(self._targets):
                return False
            self._targets[index] = compute_capability
            return True

    class Builder:
        """Builds."""

        def __init__(self, logger: Any) -> None:
            self._logger = logger
            if machine.call("Builder") or (not machine.gpus and not rtx):
                say(
                    logger,
                    "[checkMacros.cpp::catchCudaError::216] Error Code 1: Cuda Runtime (In catchCudaError at "
                    "common/dispatch/checkMacros.cpp:216: CUDA initialization failure with error: 35)",
                )
                raise TypeError("pybind11::init(): factory function returned nullptr")

        def create_network(self, flags: int = 0) -> Any:
            members = trt.NetworkDefinitionCreationFlag.__members__  # type: ignore[attr-defined]
            typed = rtx or not number.startswith("10.") or bool(flags >> int(members[STRONGLY_TYPED]) & 1)
            return trt.INetworkDefinition(self._logger, typed)  # type: ignore[attr-defined]

        def create_builder_config(self) -> Any:
            return trt.IBuilderConfig()  # type: ignore[attr-defined]

        def create_optimization_profile(self) -> Any:
            return trt.IOptimizationProfile()  # type: ignore[attr-defined]

        def build_serialized_network(self, network: Any, config: Any) -> HostMemory | None:
            if not rtx:
                needs_context("an engine built")
            if not network._typed:
                machine.broken.append("TensorRT chose precisions by itself")
            if machine.call("build_serialized_network"):
                say(
                    self._logger,
                    "IBuilder::buildSerializedNetwork: Error Code 10: Internal Error (Could not find any "
                    "implementation for node encoder.blocks.0.fc1/MatMul.)",
                )
                return None
            dynamic = [t for t in network._inputs if -1 in t.shape]
            if any(all(t.name not in p._shapes for p in config._profiles) for t in dynamic):
                say(self._logger, "Error Code 4: API Usage Error (Network has dynamic inputs, but no profile)")
                return None
            if trt.BuilderFlag.TF32 in config._flags:  # type: ignore[attr-defined]
                machine.broken.append("FP32 was computed as TF32")
            detailed = config.profiling_verbosity is trt.ProfilingVerbosity.DETAILED  # type: ignore[attr-defined]
            layers = _layers(network._graph) if detailed else []
            if detailed and not number.startswith("10."):
                say(self._logger, _layers_text(layers), Severity.VERBOSE)
            if config._cache is not None:
                config._cache._lines |= {layer["Name"].encode() for layer in layers}
            header = {
                "version": version,
                "gpu": "any" if rtx else machine.gpus[machine.current.number if machine.current else 0][0],
                "workspace": {pool.name: size for pool, size in config._pools.items()},
                "targets": [target.name for target in config._targets],
                "profile": [list(shape) for shape in config._profiles[0]._shapes["frames"]],
                "inputs": [[t.name, int(t.dtype), list(t.shape)] for t in network._inputs],
                "outputs": [[t.name, int(t.dtype), list(t.shape)] for t in network._outputs],
                "layers": layers,
            }
            return HostMemory(json.dumps(header).encode() + b"\n" + network._graph)

    class Runtime(Tracked):
        """Loads engines."""

        def __init__(self, logger: Any) -> None:
            self._logger = logger
            self._born("runtime")

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
            if not machine.gpus:
                say(self._logger, "IRuntime::deserializeCudaEngine: Error Code 1: Cuda Runtime (cudaError 35: driver)")
                return None
            needs_context("an engine loaded")
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
            return trt.ICudaEngine(self._logger, values, graph)  # type: ignore[attr-defined]

    class ICudaEngine(Tracked):
        """Weights on the GPU."""

        def __init__(self, logger: Any, values: dict[str, Any], graph: bytes) -> None:
            self._logger, self._values, self._graph = logger, values, graph
            self._tensors = {name: (kind, shape) for name, kind, shape in [*values["inputs"], *values["outputs"]]}
            self._born("engine")

        num_io_tensors = property(lambda self: len(self._tensors))

        def get_tensor_name(self, index: int) -> str:
            return list(self._tensors)[index]

        def get_tensor_dtype(self, name: str) -> Any:
            return trt.DataType(self._tensors[name][0])  # type: ignore[attr-defined]

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return tuple(self._tensors[name][1])

        def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
            assert profile_index == 0
            return [tuple(shape) for shape in self._values["profile"]]

        def create_runtime_config(self) -> Any:
            return None if machine.call("create_runtime_config") else trt.IRuntimeConfig()  # type: ignore[attr-defined]

        def create_engine_inspector(self) -> Any:
            return trt.EngineInspector(self._values["layers"])  # type: ignore[attr-defined]

        def create_execution_context(self, runtime_config: Any = None) -> Any:
            needs_context("an execution context made")
            if machine.call("create_execution_context"):
                say(self._logger, "Error Code 2: OutOfMemory (Requested size was 1234 bytes.)")
                return None
            return trt.IExecutionContext(self, runtime_config)  # type: ignore[attr-defined]

    class IRuntimeConfig:
        """How to run, for TensorRT-RTX."""

        def __init__(self) -> None:
            self._cache: Any = None
            self.cuda_graph_strategy: Any = None
            self.dynamic_shapes_kernel_specialization_strategy: Any = None

        def create_runtime_cache(self) -> Any:
            return trt.IRuntimeCache()  # type: ignore[attr-defined]

        def set_runtime_cache(self, cache: Any) -> bool:
            self._cache = cache
            return True

    class IRuntimeCache:
        """Compiled kernels."""

        def __init__(self) -> None:
            self._data = b""

        def deserialize(self, blob: bytes) -> bool:
            needs_context("compiled kernels read")
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
            return json.dumps({"Layers": [layer["Name"] if old else layer for layer in self._layers]})

    class IExecutionContext(Tracked):
        """What runs."""

        def __init__(self, engine: Any, config: Any) -> None:
            import onnxruntime

            self._engine, self._config = engine, config
            self._shape: tuple[int, ...] | None = None
            self._ran: set[tuple[int, ...]] = set()
            self._addresses: dict[str, int] = {}
            self._session = onnxruntime.InferenceSession(engine._graph, providers=["CPUExecutionProvider"])
            self._born("execution context")

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            if machine.call("set_input_shape"):
                return False
            low, _, high = self._engine._values["profile"]
            if name != "frames" or not all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True)):
                say(self._engine._logger, f"Error Code 3: API Usage Error (shape {shape} is not in the profile)")
                return False
            self._shape = tuple(shape)
            return True

        def set_tensor_address(self, name: str, memory: int) -> bool:
            if machine.call("set_tensor_address") or name not in self._engine._tensors or memory not in machine.memory:
                return False
            self._addresses[name] = memory
            return True

        def execute_async_v3(self, stream_handle: int) -> bool:
            needs_context("inference")
            stream = machine.streams.get(stream_handle)
            if stream is None or machine.call("execute_async_v3"):
                say(self._engine._logger, "IExecutionContext::enqueueV3: Error Code 1: Cuda Runtime (invalid argument)")
                return False
            if self._shape is None or set(self._addresses) != set(self._engine._tensors):
                say(self._engine._logger, "Error Code 3: API Usage Error (shape or address was not set)")
                return False
            if stream.capture is not None and (self._shape not in self._ran or rtx):
                say(self._engine._logger, "Error Code 1: Cuda Runtime (operation not permitted when capturing)")
                return False
            shape = self._shape
            source, target = (machine.memory[self._addresses[name]] for name in ("frames", "logits"))

            def work() -> None:
                frames = np.frombuffer(bytes(source[: int(np.prod(shape))]), np.uint8).reshape(shape)
                logits = self._session.run(None, {"frames": frames})[0]
                target[: logits.nbytes] = logits.tobytes()

            stream.add(work)
            self._ran.add(shape)
            if self._config is not None and self._config._cache is not None:
                self._config._cache._data = f"kernels of {version}".encode()
            return True

    trt.ILogger = ILogger  # type: ignore[attr-defined]
    for cls in (
        ITensor,
        INetworkDefinition,
        ParserError,
        OnnxParser,
        IOptimizationProfile,
        ITimingCache,
        IBuilderConfig,
        Builder,
        Runtime,
        ICudaEngine,
        IRuntimeConfig,
        IRuntimeCache,
        EngineInspector,
        IExecutionContext,
    ):
        if cls.__name__ in api:
            setattr(trt, cls.__name__, strict(cls))
    return trt


def _layers(graph: bytes) -> list[dict[str, Any]]:
    """Return a layer for each matrix product, as the inspector tells them."""
    import onnx

    model = onnx.load_from_string(graph)
    known = {
        onnx.TensorProto.FLOAT: "Float",
        onnx.TensorProto.FLOAT16: "Half",
        onnx.TensorProto.BFLOAT16: "BFloat16",
    }
    kinds = {tensor.name: known.get(tensor.data_type, "Int64") for tensor in model.graph.initializer}
    kinds |= {v.name: known.get(v.type.tensor_type.elem_type, "UInt8") for v in model.graph.value_info}
    layers = []
    for node in model.graph.node:
        if node.op_type in ("MatMul", "Gemm"):
            inputs = [
                {"Name": name, "Dimensions": [8, 8], "Format": "Row major linear", "Datatype": kinds.get(name, "Float")}
                for name in node.input[:2]
            ]
            layers.append(
                {
                    "Name": f"{node.name}_myl0_{len(layers)}",
                    "LayerType": "gemm",
                    "Inputs": inputs,
                    "Constants": [{"Name": "alpha", "Dimensions": [1], "Datatype": "Float"}] * 2,
                    "Outputs": [],
                    "Metadata": f"[ONNX Layer: {node.name}]",
                }
            )
    return layers


def _layers_text(layers: list[dict[str, Any]]) -> str:
    """Return the message that newer versions log."""

    def tensors(name: str, layer: dict[str, Any]) -> str:
        told = ", ".join(
            f"{{ Name: {t['Name']}, Dimensions: [{','.join(map(str, t['Dimensions']))}], Datatype: {t['Datatype']} }}"
            for t in layer[name]
        )
        return f"{name}: [{told}]"

    return "Layers:\n" + "\n".join(
        f"Name: {layer['Name']}, LayerType: {layer['LayerType']}, {tensors('Inputs', layer)}, "
        f"{tensors('Constants', layer)}, {tensors('Outputs', layer)}, StreamId: 0, Metadata: {layer['Metadata']}"
        for layer in layers
    )
