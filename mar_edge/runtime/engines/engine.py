"""What runs a graph. The checks are made once here; an engine writes only the raw call."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from mar_edge.bundle import Bundle, Variant
from mar_edge.errors import EngineError, FrameError


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
