"""Builds TensorRT engines from graphs: strongly typed, with a batch profile, written atomically."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mar_edge.counting import counted, form
from mar_edge.errors import EngineError, OptionError, OutputError
from mar_edge.files.atomic_file import write_whole
from mar_edge.files.regular_file import CACHE_BYTES, read_limited
from mar_edge.node_names import part_of
from mar_edge.reporting import Warn, no_warning
from mar_edge.runtime.engines.tensorrt import versions as tensorrt_versions
from mar_edge.runtime.engines.tensorrt.layers import LayerReport, inspect_engine, read_log
from mar_edge.runtime.engines.tensorrt.messages import explain, make_logger
from mar_edge.runtime.engines.tensorrt.versions import Dialect

Batch = tuple[int, int, int]
"""Smallest, typical and largest number of clips in one inference."""

ONE_CLIP: Batch = (1, 1, 1)


class BuiltEngine(NamedTuple):
    """An engine that was built.

    Attributes:
        data: as TensorRT serialises it.
        layers: what it computes in which precision; None if neither the build nor a GPU reports it.
    """

    data: bytes
    layers: LayerReport | None


def build(
    graph: Path,
    *,
    module: str,
    batch: Batch = ONE_CLIP,
    workspace_mib: int | None = None,
    timing_cache: Path | None = None,
    compute_capabilities: Sequence[str] = (),
    precision: str | None = None,
    kept: Collection[str] = (),
    say: Warn = no_warning,
) -> BuiltEngine:
    """Build an engine on the current CUDA device; TensorRT-RTX needs none.

    Args:
        graph: ONNX file with input `frames` and output `logits`, or a step graph, whose nodes are named `PART/OPERATOR`.
        module: `tensorrt` or `tensorrt-rtx`.
        batch: profile of the batch, of clips or of time steps of different streams.
        workspace_mib: memory that one layer may use in addition to its tensors; None for all available memory.
        timing_cache: file of measured kernels, read and added to; not used by RTX.
        compute_capabilities: GPUs to build for, such as `8.6`, for RTX only; by default all from 8.0 on.
        precision: if given, the engine's own list of layers must show it, or the build fails.
        kept: parts of the model that the graph keeps in FP32 although `precision` is lower.
        say: called with what the operator should know.

    Raises:
        MissingExtraError: if the module is not installed.
        OptionError: if the batch, the workspace or a compute capability is invalid.
        EngineError: if the module rejects the graph or cannot build it, or the precision is not the requested one.
        OutputError: if the timing cache cannot be written.
    """
    dialect = tensorrt_versions.load(module)
    _check_options(batch, workspace_mib, compute_capabilities, dialect)
    trt, logger = dialect.trt, make_logger(dialect.trt)
    try:
        builder = trt.Builder(logger)
    except TypeError as error:  # "factory function returned nullptr"
        raise EngineError(f"{dialect.title} cannot be started: {explain(logger.errors)}") from error
    network = builder.create_network(dialect.network_flags)
    _parse(graph, network, dialect, logger)
    config = builder.create_builder_config()
    _configure(config, dialect, workspace_mib, compute_capabilities)
    _set_profile(builder, network, config, batch)
    with _timing(config, timing_cache if dialect.release.timing_cache else None, say):
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise EngineError(f"{dialect.title} cannot build {graph.name}: {explain(logger.errors)}")
    data = bytes(plan)
    layers = read_log(logger.layers)
    if layers is None and (engine := trt.Runtime(logger).deserialize_cuda_engine(data)) is not None:
        layers = inspect_engine(trt, engine)
    if precision is not None:
        check_precision(layers, precision, kept, f"{dialect.title} built {graph.name}", say)
    return BuiltEngine(data, layers)


def check_precision(layers: LayerReport | None, precision: str, kept: Collection[str], what: str, say: Warn) -> None:
    """Check that an engine computes in the requested precision.

    Raises:
        EngineError: if it does not; the message names the nodes.
    """
    if layers is None:
        say(f"{what}, but does not report the precision of its layers, so {precision} is not confirmed")
        return
    if missed := layers.misses(precision, kept):
        named = ", ".join(missed[:5]) + (f" and {len(missed) - 5} more" if len(missed) > 5 else "")
        raise EngineError(
            f"{what}, but not in {precision}: {named} of {counted(len(layers.products), 'product')} {form(len(missed), 'is', 'are')} not "
            f"({layers.summary()}). Export the bundle again, or report it with this version"
        )


def _check_options(
    batch: Batch, workspace_mib: int | None, compute_capabilities: Sequence[str], dialect: Dialect
) -> None:
    if not 1 <= batch[0] <= batch[1] <= batch[2]:
        raise OptionError(
            f"batch {':'.join(map(str, batch))} is invalid; give smallest:typical:largest, each 1 or more, as in 1:4:8"
        )
    if workspace_mib is not None and workspace_mib < 1:
        raise OptionError(f"workspace {workspace_mib} MiB is invalid; give 1 or more, or leave it out for no limit")
    if compute_capabilities and not dialect.release.portable:
        raise OptionError(
            f"{dialect.title} builds for the GPU it runs on, not for {', '.join(compute_capabilities)}; "
            "tensorrt-rtx builds for others"
        )


def _parse(graph: Path, network: Any, dialect: Dialect, logger: Any) -> None:
    """Fill the network from the graph."""
    trt = dialect.trt
    parser = trt.OnnxParser(network, logger)
    try:
        data = graph.read_bytes()
    except OSError as error:
        raise EngineError(f"{graph} cannot be read: {error.strerror}. Copy the bundle again") from error
    if not parser.parse(data, str(graph)):  # the path leads to weights stored beside the graph
        found = [parser.get_error(index) for index in range(parser.num_errors)]
        raise EngineError(f"{dialect.title} cannot read {graph.name}: {_name_errors(found) or explain(logger.errors)}")
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    _check_tensors(graph, inputs, outputs, trt)


def _check_tensors(graph: Path, inputs: list[Any], outputs: list[Any], trt: Any) -> None:
    """Check that a graph is of clips or of time steps; which sizes belong to its model is checked when it is loaded."""
    new = [tensor for tensor in outputs if tensor.name.startswith("new_")]
    takes = [("frames", trt.uint8)]
    if new:
        takes += [("step", trt.DataType.INT64), ("bias", trt.float32)]
        takes += [(f"past_{tensor.name.removeprefix('new_')}", tensor.dtype) for tensor in new]
    returns = [("logits", trt.float32), *((tensor.name, tensor.dtype) for tensor in new)]
    found = [[(tensor.name, tensor.dtype) for tensor in tensors] for tensors in (inputs, outputs)]
    if found != [takes, returns] or any(tuple(tensor.shape)[:1] != (-1,) for tensor in inputs):
        told = [f"{tensor.name} {tensor.dtype} {tuple(tensor.shape)}" for tensor in [*inputs, *outputs]]
        more = f" and {len(told) - 8} more" if len(told) > 8 else ""
        raise EngineError(
            f"{graph.name} has {', '.join(told[:8])}{more}; expected frames uint8 (batch, T, H, W, 3) and logits float32, "
            "and for a step graph step, bias, and past_X for every new_X. Export the bundle again"
        )


def _name_errors(errors: list[Any]) -> str:
    """Name the nodes that the parser rejects."""
    told = []
    for error in errors[:3]:
        name = error.node_name()
        part = part_of(name)
        where = f"{error.node_operator()} '{name}'" + (f" in {part}" if part else "") if name else "the file"
        told.append(f"{where}: {' '.join(error.desc().split())}")
    more = f"; and {len(errors) - 3} more" if len(errors) > 3 else ""
    return "; ".join(told) + more


def _configure(config: Any, dialect: Dialect, workspace_mib: int | None, compute_capabilities: Sequence[str]) -> None:
    trt = dialect.trt
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # otherwise only the names of the layers are reported
    config.clear_flag(trt.BuilderFlag.TF32)  # FP32 with a mantissa of 10 bits; fp32 means fp32
    if workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mib << 20)
    if compute_capabilities:
        known = trt.ComputeCapability.__members__
        config.num_compute_capabilities = len(compute_capabilities)
        for index, capability in enumerate(compute_capabilities):
            member = known.get("SM" + capability.replace(".", ""))
            if member is None or not config.set_compute_capability(member, index):
                names = ", ".join(f"{name[2:-1]}.{name[-1]}" for name in known if name.startswith("SM"))
                raise OptionError(
                    f"{dialect.title} does not support compute capability {capability}; it supports {names}"
                )


def _set_profile(builder: Any, network: Any, config: Any, batch: Batch) -> None:
    """Give every input the same batches."""
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        profile.set_shape(tensor.name, *((size, *tuple(tensor.shape)[1:]) for size in batch))
    if config.add_optimization_profile(profile) < 0:
        shape = tuple(network.get_input(0).shape)[1:]
        raise EngineError(f"TensorRT rejects a batch of {':'.join(map(str, batch))} times {shape}")


@contextlib.contextmanager
def _timing(config: Any, path: Path | None, say: Warn) -> Iterator[None]:
    """Let a build use the timings in a file, and add its own to the file."""
    if path is None:
        yield
        return
    cache = _read_timings(config, path)
    if cache is None or not config.set_timing_cache(cache, False):
        say(f"{path} is of another version or GPU, or damaged; kernels are measured again")
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    yield
    newest = _read_timings(config, path)  # another process may have added to it meanwhile
    if newest is not None:
        cache.combine(newest, False)  # rejected where it does not fit, and then ours replaces it
    write_whole(path, bytes(cache.serialize()))


def _read_timings(config: Any, path: Path) -> Any:
    try:
        return config.create_timing_cache(read_limited(path, CACHE_BYTES))
    except FileNotFoundError:
        return config.create_timing_cache(b"")
    except OSError as error:
        raise OutputError(f"{path} cannot be read: {error.strerror}. Remove it") from error
