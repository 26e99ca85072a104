"""Engines by name: which exist, which are installed, and loading one by its name."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from mar_edge.bundle import Bundle
from mar_edge.errors import BundleError, EngineError
from mar_edge.manifest import Variant
from mar_edge.model_spec import ModelSpec
from mar_edge.runtime.engines.engine import Engine
from mar_edge.telemetry import import_openvino

EngineName = Literal["auto", "onnxruntime", "openvino", "tensorrt", "tensorrt-rtx"]
ENGINES: tuple[str, ...] = ("auto", "onnxruntime", "openvino", "tensorrt", "tensorrt-rtx")

_MODULES = {
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "tensorrt": "tensorrt",
    "tensorrt-rtx": "tensorrt_rtx",
}
_PACKAGES = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"),
    "openvino": ("openvino",),
    "tensorrt": ("tensorrt",),
    "tensorrt-rtx": ("tensorrt-rtx", "tensorrt-rtx-cu12", "tensorrt-rtx-cu13"),
}
"""Packages that contain the module of an engine."""


MOST_THREADS = 1024
"""Most CPU threads of an inference; engines start as many as they are given."""


def create_engine(bundle: Bundle, variant: Variant, name: str = "onnxruntime", *, threads: int | None = None) -> Engine:
    """Load a graph of a bundle into an engine; see `load_graph`.

    Raises:
        BundleError: if the graph or its weights changed after the bundle was checked.
    """
    engine = load_graph(bundle.manifest, variant, bundle.graph_path(variant), name, threads=threads)
    try:
        bundle.check_unchanged(variant)
    except BundleError:
        engine.close()
        raise
    return engine


def load_graph(
    spec: ModelSpec, variant: Variant, path: Path, name: str = "onnxruntime", *, threads: int | None = None
) -> Engine:
    """Load a graph into an engine.

    Args:
        spec: the model.
        variant: which of its graphs it is.
        path: the file that holds it.
        name: an engine's name; `auto` is ONNX Runtime, which is always installed. What was measured on this device is
            considered by `measurement.choice`, not here.
        threads: CPU threads for one inference; None for all cores.

    Raises:
        EngineError: if there is no such engine, or it rejects the graph.
        MissingExtraError: if it is not installed.
    """
    # engines are large: imported only when needed
    if name in ("auto", "onnxruntime"):
        from mar_edge.runtime.engines.onnxruntime import OnnxRuntimeEngine

        return OnnxRuntimeEngine(spec, variant, path, threads=threads)
    if name == "openvino":
        from mar_edge.runtime.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(spec, variant, path, threads=threads)
    if name in ("tensorrt", "tensorrt-rtx"):
        from mar_edge.runtime.engines.tensorrt.engine import TensorRTEngine

        return TensorRTEngine(spec, variant, path, module=_MODULES[name], threads=threads)
    raise EngineError(f"unknown engine '{name}'; choose from {', '.join(ENGINES)}")


def available_engines() -> list[str]:
    """Return the engines that are installed; TensorRT only where a GPU exists as well."""
    found = [name for name, module in _MODULES.items() if find_spec(module) is not None]
    return found if _has_gpu() else [name for name in found if not name.startswith("tensorrt")]


def engine_version(name: str) -> str | None:
    """Return the version of an engine; None if it is not installed.

    It is that of the installed package: importing an engine for it would take time and memory, and may have side effects.
    """
    if find_spec(_MODULES[name]) is None:
        return None
    versions = set()
    for package in _PACKAGES[name]:
        with suppress(metadata.PackageNotFoundError):
            versions.add(metadata.version(package))
    if len(versions) == 1:
        return versions.pop()
    # a Jetson's own TensorRT may come without metadata; if two packages contain one module, the last one installed counts
    try:
        module = import_openvino() if name == "openvino" else import_module(_MODULES[name])
        return str(module.__version__)
    except (ImportError, OSError):  # a library that it needs may be missing
        return None


def _has_gpu() -> bool:
    """Return whether NVIDIA's driver finds a GPU."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
