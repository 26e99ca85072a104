"""Engines that run a bundle's graph. The checks are made once here; an engine writes only the raw call."""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from importlib import import_module
from importlib.util import find_spec
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mar_edge.bundle import Bundle, Variant
from mar_edge.errors import EngineError, FrameError

EngineName = Literal["auto", "onnxruntime", "openvino", "tensorrt", "tensorrt-rtx"]
ENGINES: tuple[str, ...] = ("auto", "onnxruntime", "openvino", "tensorrt", "tensorrt-rtx")

_MODULES = {
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "tensorrt": "tensorrt",
    "tensorrt-rtx": "tensorrt_rtx",
}


class Engine(ABC):
    """A loaded graph.

    Attributes:
        name: of the engine.
        bundle: where the graph comes from.
        variant: which graph it is.
    """

    name: str

    def __init__(self, bundle: Bundle, variant: Variant) -> None:
        self.bundle = bundle
        self.variant = variant
        self._shape = bundle.manifest.geometry.clip_shape
        self._classes = len(bundle.manifest.labels)

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the graph.

        Args:
            frames: uint8 (B, T, H, W, 3) RGB; not kept.

        Returns:
            Logits, float32 (B, classes).

        Raises:
            FrameError: if the frames are not what the graph takes.
            EngineError: if the engine fails or gives something that is not a number.
        """
        if frames.dtype != np.uint8 or frames.ndim != 5 or frames.shape[1:] != self._shape or not len(frames):
            raise FrameError(
                f"the graph takes uint8 (B, {', '.join(map(str, self._shape))}), not {frames.dtype} {frames.shape}"
            )
        logits = self._infer(frames)
        if logits.shape != (len(frames), self._classes) or not np.isfinite(logits).all():
            raise EngineError(f"{self.name} gave {logits.shape} logits, not finite ({len(frames)}, {self._classes})")
        return logits

    def close(self) -> None:  # noqa: B027 - most engines hold nothing
        """Give back what the engine holds outside of Python's memory; it infers no more."""

    def layer_precisions(self) -> dict[str, str] | None:
        """Say in which numbers each matrix product really is computed on this device.

        Returns:
            `fp32`, `fp16`, `bf16` or `int8` by the name of the graph's node, or by the engine's own name for it where
            it has no other; None if the engine cannot tell.
        """
        return None

    def layer_times(self, frames: NDArray[np.uint8], runs: int = 5) -> dict[str, float] | None:
        """Measure where the time goes.

        Args:
            frames: one clip, as `infer` takes it.
            runs: inferences to take the median of, after one more.

        Returns:
            Milliseconds of each step of the engine, in the order of execution, by the name of one of the graph's nodes
            in it; a step that the engine added has another name. None if it cannot tell.
        """
        return None

    @abstractmethod
    def _infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the graph on checked frames."""


def create_engine(bundle: Bundle, variant: Variant, name: str = "onnxruntime", *, threads: int | None = None) -> Engine:
    """Load a graph into an engine.

    Args:
        bundle: the bundle.
        variant: the graph.
        name: an engine's name; `auto` is ONNX Runtime, which is always there. What was measured on this device is
            looked at by `device_choice.choose`, not here.
        threads: CPU threads for one inference; None for all cores.

    Raises:
        EngineError: if there is no such engine, or it refuses the graph.
        MissingExtraError: if it is not installed.
    """
    # engines are heavy: loaded when asked for
    if name in ("auto", "onnxruntime"):
        from mar_edge.runtime.engines.onnxruntime import OnnxRuntimeEngine

        return OnnxRuntimeEngine(bundle, variant, threads=threads)
    if name == "openvino":
        from mar_edge.runtime.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(bundle, variant, threads=threads)
    if name in ("tensorrt", "tensorrt-rtx"):
        from mar_edge.runtime.engines.tensorrt.engine import TensorRTEngine

        return TensorRTEngine(bundle, variant, module=_MODULES[name], threads=threads)
    raise EngineError(f"no engine '{name}'; there are {', '.join(ENGINES)}")


def available_engines() -> list[str]:
    """Return the engines that are installed; TensorRT only where there is a GPU, too."""
    found = [name for name, module in _MODULES.items() if find_spec(module) is not None]
    return found if _has_gpu() else [name for name in found if not name.startswith("tensorrt")]


def engine_version(name: str) -> str | None:
    """Return the version of an engine; None if it is not there or does not load."""
    try:
        return str(import_module(_MODULES[name]).__version__)
    except (ImportError, OSError):  # a library that it needs may be missing
        return None


def _has_gpu() -> bool:
    """Ask NVIDIA's driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
