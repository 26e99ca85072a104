"""What builds engines in TensorRT: networks, the parser, caches of timings and the builder."""

from __future__ import annotations

import json
import types
import warnings
from typing import Any

from tests.fakes.gpu.cuda import Machine
from tests.fakes.gpu.tensorrt import STRONGLY_TYPED, VERSIONS, HostMemory, LoggedSeverity, say
from tests.fakes.gpu.tensorrt_layers import layers_of, layers_text

# make_module sets these four
trt = types.ModuleType("tensorrt")
"""The module that this is a part of."""

machine = Machine()
"""The computer it runs on."""

version = VERSIONS[0]
"""The package and its number, e.g. `tensorrt 10.3.0`."""

rtx = False
"""Whether it is TensorRT-RTX."""


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
        self._network = network
        self._errors: list[Any] = []

    num_errors = property(lambda self: len(self._errors))

    def get_error(self, index: int) -> Any:
        return self._errors[index]

    def parse(self, data: bytes, path: str | None = None) -> bool:
        import onnx

        if machine.call("parse"):
            self._errors.append(trt.ParserError(None, "Failed to parse the ONNX model."))
            return False
        try:
            graph = onnx.load_from_string(data).graph
        except Exception:
            self._errors.append(trt.ParserError(None, "Failed to parse the ONNX model."))
            return False
        for node in graph.node:
            if not onnx.defs.has(node.op_type, node.domain):
                text = "Plugin not found, are the plugin name, version, and namespace correct?"
                self._errors.append(trt.ParserError(node, text))
        kinds = {
            onnx.TensorProto.UINT8: trt.uint8,
            onnx.TensorProto.FLOAT: trt.float32,
            onnx.TensorProto.INT64: trt.DataType.INT64,
            onnx.TensorProto.FLOAT16: trt.DataType.HALF,
            onnx.TensorProto.BFLOAT16: trt.DataType.BF16,
        }
        for values, tensors in ((graph.input, self._network._inputs), (graph.output, self._network._outputs)):
            for value in values:
                kind = value.type.tensor_type
                shape = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim)
                tensors.append(trt.ITensor(value.name, kinds[kind.elem_type], shape))
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
        self.profiling_verbosity = trt.ProfilingVerbosity.LAYER_NAMES_ONLY
        self._flags = {trt.BuilderFlag.TF32}
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
        return trt.ITimingCache(bytes(serialized_timing_cache))

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
        members = trt.NetworkDefinitionCreationFlag.__members__
        typed = rtx or not version.startswith("tensorrt 10.") or bool(flags >> int(members[STRONGLY_TYPED]) & 1)
        return trt.INetworkDefinition(self._logger, typed)

    def create_builder_config(self) -> Any:
        return trt.IBuilderConfig()

    def create_optimization_profile(self) -> Any:
        return trt.IOptimizationProfile()

    def build_serialized_network(self, network: Any, config: Any) -> HostMemory | None:
        if not rtx:
            machine.needs_context("an engine built")
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
        if trt.BuilderFlag.TF32 in config._flags:
            machine.broken.append("FP32 was computed as TF32")
        detailed = config.profiling_verbosity is trt.ProfilingVerbosity.DETAILED
        layers = layers_of(network._graph) if detailed else []
        if detailed and not version.startswith("tensorrt 10."):
            say(self._logger, layers_text(layers), LoggedSeverity.VERBOSE)
        if config._cache is not None:
            config._cache._lines |= {layer["Name"].encode() for layer in layers}
        header = {
            "version": version,
            "gpu": "any" if rtx else machine.gpus[machine.current.number if machine.current else 0][0],
            "workspace": {pool.name: size for pool, size in config._pools.items()},
            "targets": [target.name for target in config._targets],
            "profile": {
                name: [list(shape) for shape in shapes] for name, shapes in config._profiles[0]._shapes.items()
            },
            "inputs": [[t.name, int(t.dtype), list(t.shape)] for t in network._inputs],
            "outputs": [[t.name, int(t.dtype), list(t.shape)] for t in network._outputs],
            "layers": layers,
        }
        return HostMemory(json.dumps(header).encode() + b"\n" + network._graph)
