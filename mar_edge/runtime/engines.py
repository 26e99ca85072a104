"""Engines that run a bundle's graph. The checks are made once here; an engine writes only the raw call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mar_edge.bundle import Bundle, Variant
from mar_edge.errors import EngineError, FrameError

EngineName = Literal["auto", "onnxruntime"]
ENGINES: tuple[str, ...] = ("auto", "onnxruntime")


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


class OnnxRuntimeEngine(Engine):
    """ONNX Runtime on the CPU.

    Args:
        bundle: the bundle.
        variant: the graph to load.
        threads: CPU threads for one inference; None for all cores.
    """

    name = "onnxruntime"

    def __init__(self, bundle: Bundle, variant: Variant, *, threads: int | None = None) -> None:
        super().__init__(bundle, variant)
        import onnxruntime as ort
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        # its exceptions have no common base
        self._errors = tuple(
            kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)
        )
        options = ort.SessionOptions()
        options.log_severity_level = 4  # what goes wrong is raised, and told by us
        # spinning threads would take the core that the robot's own loop needs
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if threads:
            options.intra_op_num_threads = threads
        path = bundle.graph_path(variant)
        try:
            self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except self._errors as error:
            raise EngineError(f"ONNX Runtime refuses {path}: {error}") from error
        (frames,), (logits,) = self._session.get_inputs(), self._session.get_outputs()
        wanted = ("tensor(uint8)", list(self._shape), [self._classes])
        if (frames.type, frames.shape[1:], logits.shape[1:]) != wanted:
            raise EngineError(
                f"{path} takes {frames.type} {frames.shape} and gives {logits.shape}, which is not what its manifest says: "
                f"clips {list(self._shape)} and {self._classes} labels. Export the bundle again"
            )

    def _infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            logits: NDArray[np.float32] = self._session.run(["logits"], {"frames": frames})[0]
        except self._errors as error:
            raise EngineError(f"ONNX Runtime failed on {self.variant.file}: {error}") from error
        return logits


def create_engine(bundle: Bundle, variant: Variant, name: str = "auto", *, threads: int | None = None) -> Engine:
    """Load a graph into an engine.

    Args:
        bundle: the bundle.
        variant: the graph.
        name: `auto` or an engine's name.
        threads: CPU threads for one inference; None for all cores.

    Raises:
        EngineError: if there is no such engine, or it refuses the graph.
    """
    if name not in ENGINES:
        raise EngineError(f"no engine '{name}'; there are {', '.join(ENGINES)}")
    return OnnxRuntimeEngine(bundle, variant, threads=threads)
