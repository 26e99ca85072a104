"""Engines that run a bundle's graph. The checks are made once here; an engine writes only the raw call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mar_edge.bundle import Bundle, Variant
from mar_edge.errors import EngineError, FrameError

EngineName = Literal["auto", "onnxruntime", "openvino", "tensorrt", "tensorrt-rtx"]
ENGINES: tuple[str, ...] = ("auto", "onnxruntime", "openvino", "tensorrt", "tensorrt-rtx")


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

    @abstractmethod
    def _infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the graph on checked frames."""


def create_engine(bundle: Bundle, variant: Variant, name: str = "onnxruntime", *, threads: int | None = None) -> Engine:
    """Load a graph into an engine.

    Args:
        bundle: the bundle.
        variant: the graph.
        name: an engine's name; `auto` is ONNX Runtime, which is always there.
        threads: CPU threads for one inference; None for all cores.

    Raises:
        EngineError: if there is no such engine, or it refuses the graph.
        MissingExtraError: if it is not installed.
    """
    if name not in ENGINES:
        raise EngineError(f"no engine '{name}'; there are {', '.join(ENGINES)}")
    from mar_edge.runtime.onnxruntime_engine import OnnxRuntimeEngine  # engines are heavy: loaded when asked for

    return OnnxRuntimeEngine(bundle, variant, threads=threads)
