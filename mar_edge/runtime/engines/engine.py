"""The base class of engines. All checks are made here; an engine implements only the raw call."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NoReturn, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import EngineError, FrameError
from mar_edge.model_spec import GraphSpec, ModelSpec


class Engine(ABC):
    """A loaded graph. It works only in the process that loaded it, not in a fork of it.

    Attributes:
        name: of the engine.
        spec: the model.
        variant: which of its graphs it is.
        path: the file that holds it.
        max_batch: most clips that `infer` takes to the engine at once.
    """

    name: str
    max_batch: int = 1

    def __init__(self, spec: ModelSpec, variant: GraphSpec, path: Path) -> None:
        self.spec = spec
        self.variant = variant
        self.path = path
        self._shape = spec.geometry.clip_shape
        self._classes = len(spec.labels)
        self._process = os.getpid()

    def check_process(self) -> None:
        """Check that this is the process that loaded the graph: threads and locks of an engine do not survive a fork.

        Raises:
            EngineError: if it is another process.
        """
        if os.getpid() != self._process:
            raise EngineError(
                f"this model was loaded in process {self._process}, and process {os.getpid()} is a fork of it, where the "
                "engine does not work. Call mar_edge.load in each process, or start processes with 'spawn'"
            )

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse to be pickled: an engine cannot leave its process."""
        raise EngineError(
            f"an engine ({self.name}) cannot be pickled. Send the model returned by mar_edge.load, or load it in each process"
        )

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the graph.

        Args:
            frames: uint8 (B, T, H, W, 3) RGB; not kept.

        Returns:
            Logits, float32 (B, classes).

        Raises:
            FrameError: if the frames are not what the graph expects.
            EngineError: if the engine fails, returns NaN or infinite values, or was loaded in another process.
        """
        self.check_process()
        if frames.dtype != np.uint8 or frames.ndim != 5 or frames.shape[1:] != self._shape or not len(frames):
            raise FrameError(
                f"the graph expects uint8 (B, {', '.join(map(str, self._shape))}), not {frames.dtype} {frames.shape}"
            )
        logits = self._infer(frames)
        if logits.shape != (len(frames), self._classes) or not np.isfinite(logits).all():
            raise EngineError(
                f"{self.name} returned logits of shape {logits.shape}; expected finite logits of shape ({len(frames)}, {self._classes})"
            )
        return logits

    def close(self) -> None:  # noqa: B027 - most engines hold nothing
        """Release what the engine holds outside of Python's memory; it cannot be used afterwards."""

    def layer_precisions(self) -> dict[str, str] | None:
        """Report in which precision each matrix product is actually computed on this device.

        Returns:
            `fp32`, `fp16`, `bf16` or `int8` by the name of the graph's node, or by the engine's own name for it where
            it has no other; None if the engine does not report it.
        """
        return None

    def layer_times(self, frames: NDArray[np.uint8], runs: int = 5) -> dict[str, float] | None:
        """Measure the time of each step.

        Args:
            frames: one clip, as `infer` takes it.
            runs: inferences that the median is taken over, after one warm-up.

        Returns:
            Milliseconds of each step of the engine, in the order of execution, by the name of one of the graph's nodes
            in it; a step that the engine added has another name. None if the engine does not report it.
        """
        return None

    @abstractmethod
    def _infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the graph on checked frames."""
