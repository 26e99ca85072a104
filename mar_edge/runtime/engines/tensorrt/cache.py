"""Keeps the engines built on this device, so that only the first use of a graph has to wait."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

from mar_edge.errors import EngineError, OutputError
from mar_edge.files.atomic_file import write_whole
from mar_edge.files.graph_files import hash_graph
from mar_edge.files.json_text import parse_json
from mar_edge.files.regular_file import open_regular
from mar_edge.manifest import Variant
from mar_edge.reporting import Warn, no_warning
from mar_edge.runtime.device import cache as device_cache
from mar_edge.runtime.engines.tensorrt import versions as tensorrt_versions
from mar_edge.runtime.engines.tensorrt.build import ONE_CLIP, Batch, BuiltEngine, build
from mar_edge.runtime.engines.tensorrt.cuda import CudaPlace, Gpu
from mar_edge.runtime.engines.tensorrt.layers import LayerReport
from mar_edge.runtime.engines.tensorrt.versions import Dialect

KIND = "tensorrt"
"""Folder of the device's cache."""

ANY_GPU = Gpu("any GPU", "8.0 and newer")
"""What TensorRT-RTX builds for by default."""

TURING = Gpu("any GPU", "7.5")
"""What it builds for on request."""

_MAGIC = b"mar-edge TensorRT engine 1\n"


@dataclass(frozen=True)
class EngineKey:
    """What an engine was built from and for: it is used only if all of this is the same.

    Attributes:
        graph_sha256: of the ONNX file and of weights beside it.
        module: `tensorrt` or `tensorrt-rtx`.
        version: of the module.
        gpu: name of the GPU.
        compute_capability: of the GPU, or those it was built for.
        batch: profile of the batch; None for any.
        workspace_mib: limit it was built with, 0 for none; None for any.
    """

    graph_sha256: str
    module: str
    version: str
    gpu: str
    compute_capability: str
    batch: Batch | None = None
    workspace_mib: int | None = None

    @property
    def path(self) -> Path:
        """Path of the engine: one for each graph, module and kind of GPU, so that a newer one replaces it.

        Raises:
            OutputError: if the cache cannot be made.
        """
        return device_cache.folder(KIND) / f"{self.graph_sha256[:16]}-{self._device}.engine"

    @property
    def timings(self) -> Path:
        """Path of the measured kernels of all graphs.

        Raises:
            OutputError: if the cache cannot be made.
        """
        return device_cache.folder(KIND) / f"{self._device}.timings"

    @property
    def _device(self) -> str:
        return re.sub(r"[^\w.]+", "-", f"{self.module} {self.gpu} {self.compute_capability}")

    def differs(self, other: EngineKey) -> str:
        """Report what differs from this key; empty if the other key's engine can be used."""
        for field, wanted in asdict(self).items():
            have = getattr(other, field)
            if wanted is not None and have != wanted:
                return f"{field} is {have}, not {wanted}"
        return ""


def key_of(
    variant: Variant, dialect: Dialect, gpu: Gpu, *, batch: Batch | None = None, workspace_mib: int | None = None
) -> EngineKey:
    """Return the key of a graph's engine on a GPU."""
    if dialect.release.portable:  # one engine for all GPUs from 8.0 on, and another for Turing
        gpu = TURING if gpu.compute_capability == TURING.compute_capability else ANY_GPU
    return EngineKey(
        variant.digest, dialect.engine, dialect.version, gpu.name, gpu.compute_capability, batch, workspace_mib
    )


def obtain(graph: Path, variant: Variant, key: EngineKey, *, say: Warn, damaged: bool = False) -> bytes:
    """Return a graph's engine: the cached one if it can be used, otherwise one that is built now and cached.

    The GPU's context must be current. Two processes do not build the same engine: one waits for the other.

    Args:
        graph: its file.
        variant: the bundle's entry for it.
        key: what the engine must be built for.
        say: called with one sentence each: that and why an engine is built, and what else the operator should know.
        damaged: do not use the cached one: it could not be loaded.

    Raises:
        EngineError: if it cannot be built.
        OutputError: if the device's cache cannot be made.
    """
    path = key.path
    with _locked(path, say):
        if not damaged:
            reason, data = _read(path, key)
            if data is not None:
                return data
        else:
            reason = f"{path.name} cannot be loaded"
        say(
            f"building the {dialect_name(key)} engine for {graph.parent.stem} {variant.title} on {key.gpu}: "
            f"{reason}. This takes minutes, and is done once"
        )
        return build_and_keep(graph, variant, key, say=say, must_keep=False).data


def build_and_keep(graph: Path, variant: Variant, key: EngineKey, *, say: Warn, must_keep: bool = True) -> BuiltEngine:
    """Build a graph's engine and keep it.

    Args:
        graph: its file.
        variant: the bundle's entry for it.
        key: what to build it for; the defaults are one clip and no workspace limit.
        say: see `obtain`.
        must_keep: whether a full disk is an error; otherwise it is reported, and the engine is built again next time.

    Raises:
        EngineError: if it cannot be built, does not have the requested precision, or the graph changed meanwhile.
        OutputError: if it cannot be written.
    """
    made = replace(key, batch=key.batch or ONE_CLIP, workspace_mib=key.workspace_mib or 0)
    built = build(
        graph,
        module=key.module,
        batch=made.batch or ONE_CLIP,
        workspace_mib=made.workspace_mib or None,
        timing_cache=key.timings,
        compute_capabilities=(TURING.compute_capability,) if (key.gpu, key.compute_capability) == TURING else (),
        precision=variant.precision,
        kept=variant.kept,
        say=say,
    )
    if hash_graph(graph) != key.graph_sha256:  # or another graph's engine would stay in the cache under its name
        raise EngineError(f"{graph} was changed while its engine was built. Load the bundle again")
    header = {**asdict(made), "engine_sha256": hashlib.sha256(built.data).hexdigest()}
    try:
        write_whole(key.path, _MAGIC, json.dumps(header).encode() + b"\n", built.data)
    except OutputError as error:
        if must_keep:
            raise
        say(f"the engine is not cached, and will be built again next time: {error}")
    return built


class BuiltFile(NamedTuple):
    """An engine that was built ahead of its first use.

    Attributes:
        path: where it is kept in this device's cache.
        gpu: what it runs on.
        size_bytes: of the engine.
        seconds: the build took.
        layers: what it computes in which precision; None if that is not reported.
    """

    path: Path
    gpu: Gpu
    size_bytes: int
    seconds: float
    layers: LayerReport | None


def build_to_file(
    graph: Path,
    variant: Variant,
    *,
    module: str,
    out: Path | None = None,
    device: int | None = None,
    batch: Batch = ONE_CLIP,
    workspace_mib: int | None = None,
    turing: bool = False,
    say: Warn = no_warning,
) -> BuiltFile:
    """Build a graph's engine now, into this device's cache, where the first use of the graph finds it.

    TensorRT needs the GPU that is to run it; TensorRT-RTX needs none.

    Args:
        graph: its file.
        variant: the bundle's entry for it.
        module: `tensorrt` or `tensorrt-rtx`.
        out: write the bare engine to this file as well, for other programs.
        device: number of the GPU, see `CudaPlace`.
        batch: profile of the batch.
        workspace_mib: memory that one layer may use in addition to its tensors; None for all available memory.
        turing: with TensorRT-RTX, build for GPUs of compute capability 7.5, and not for newer ones.
        say: called with what the operator should know.

    Raises:
        MissingExtraError: if the module is not installed.
        OptionError: if the batch, the workspace or the GPU is invalid.
        EngineError: if there is no GPU where one is needed, or the engine cannot be built, or does not have the
            requested precision.
        OutputError: if it cannot be written. No partial file is left.
    """
    dialect = tensorrt_versions.load(module)
    with contextlib.ExitStack() as stack:
        if dialect.release.portable:
            gpu = TURING if turing else ANY_GPU
        else:
            place = CudaPlace(device)
            gpu = place.gpu
            stack.enter_context(place.current())
        key = key_of(variant, dialect, gpu, batch=batch, workspace_mib=workspace_mib)
        stack.enter_context(_locked(key.path, say))
        started = time.monotonic()
        built = build_and_keep(graph, variant, key, say=say)
        seconds = time.monotonic() - started
    if out is not None:
        write_whole(out, built.data)
    return BuiltFile(key.path, Gpu(key.gpu, key.compute_capability), len(built.data), seconds, built.layers)


def dialect_name(key: EngineKey) -> str:
    """Return the module and version in readable form."""
    return f"{'TensorRT-RTX' if key.module == 'tensorrt-rtx' else 'TensorRT'} {key.version}"


def _read(path: Path, key: EngineKey) -> tuple[str, bytes | None]:
    """Return why there is no usable engine, or the engine."""
    try:
        with open(open_regular(path), "rb") as file:
            content = file.read()
    except FileNotFoundError:
        return "there is none yet", None
    except OSError as error:
        return f"{path.name} cannot be read: {error.strerror}", None
    header, found, data = content.removeprefix(_MAGIC).partition(b"\n")
    try:
        values = parse_json(header)
        digest = values.pop("engine_sha256")
        have = EngineKey(**{**values, "batch": tuple(values["batch"])})
    except (ValueError, TypeError, KeyError, AttributeError):
        return f"{path.name} is damaged", None
    if not content.startswith(_MAGIC) or not found or hashlib.sha256(data).hexdigest() != digest:
        return f"{path.name} is damaged", None
    if why := key.differs(have):
        return f"{path.name} belongs to another configuration: its {why}", None
    return "", data


@contextlib.contextmanager
def _locked(path: Path, say: Warn) -> Iterator[None]:
    """Let one process at a time look for an engine; the lock is released when its process ends."""
    try:
        file = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OutputError(f"cannot write {path.parent}: {error.strerror}. Set {device_cache.VARIABLE}") from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process is building {path.name}; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
