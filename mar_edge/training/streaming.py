"""How a streaming model is trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from mar_edge.files.yaml_part import Part
from mar_edge.geometry import Geometry


class StreamingPart(Part):
    """Training of a streaming model (`model.temporal: causal`), whose loss counts every time step.

    Attributes:
        windows: length of a training clip in windows of `model.frames`. What a stream keeps was computed from earlier
            steps, which saw still earlier ones; a model that knows one window only meets such states live.
        carry: run a clip window by window, and carry the state over without gradient; saves little memory but for very long
            clips (8 % of the activations at 8 windows, 23 % at 24).
        skipped: share of the clips in which time steps are missing at random, as live where the engine is busy or the scene
            is still.
    """

    windows: int = Field(default=2, ge=1, le=64)
    carry: bool = False
    skipped: float = Field(default=0.0, ge=0, le=1)

    def clip(self, window: Geometry) -> Geometry:
        """Return the geometry of a training clip.

        Raises:
            GeometryError: if it would be too large.
        """
        return replace(window, frames=self.windows * window.frames)

    def draw_skipped(self, steps: int, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Draw which time steps of a clip are missing, bool (steps,)."""
        if rng.random() >= self.skipped:
            return np.zeros(steps, np.bool_)
        return rng.random(steps) < rng.uniform(0, 0.7)


def step_weights(steps: int, band: int, skipped: Tensor | None, clips: int) -> Tensor:
    """Return how much each time step counts in the loss: less before the band is full, nothing if it is missing.

    Args:
        steps: time steps of a clip.
        band: time steps that an answer sees.
        skipped: bool (B, steps); None for none.
        clips: how many clips there are.

    Returns:
        float32 (B, steps).
    """
    weights = (torch.arange(1, steps + 1) / band).clamp(max=1).expand(clips, -1)
    return weights if skipped is None else weights.to(skipped.device) * ~skipped
