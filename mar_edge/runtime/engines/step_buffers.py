"""The host's memory of one time step, which a step graph reads and writes in place."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mar_edge.model_spec import ModelSpec
from mar_edge.runtime.engines.stream_state import KINDS, StateLayout, StreamState


class StepBuffers:
    """Inputs and outputs of one stream's step, of which a stream's own are only its bias, keys and values.

    Nothing is allocated for a step, and nothing is copied but the frames and the step's own keys and values.

    Args:
        spec: a streaming model.
        layout: what its graph keeps.

    Attributes:
        kind: number format of keys and values, one of `KINDS`.
        frames: uint8 (1, tubelet frames, H, W, 3).
        clock: int64 (1,).
        logits: float32 (1, classes).
        fresh: the step's keys and values, in turn for every attention, (1, heads, N, head width).
    """

    def __init__(self, spec: ModelSpec, layout: StateLayout) -> None:
        self._layout, self.kind = layout, layout.kind
        self.frames = np.zeros((1, spec.input_frames, *spec.geometry.clip_shape[1:]), np.uint8)
        self.clock = np.zeros(1, np.int64)
        self.logits = np.zeros((1, len(spec.labels)), np.float32)
        self.fresh: list[NDArray[Any]] = [np.zeros(shape, KINDS[layout.kind]) for shape in layout.shapes(1)]

    def fill(self, frames: NDArray[np.uint8], state: StreamState) -> None:
        """Enter the frames of a step, (tubelet frames, H, W, 3), and the number of a stream's next step."""
        self.frames[0] = frames
        self.clock[0] = state.clock

    def inputs(self, state: StreamState) -> dict[str, NDArray[Any]]:
        """Return the memory of every input of a step of a stream, by its name. It is the same at every step."""
        kept = {f"past_{name}": array for name, array in zip(self._layout.names, state.kept, strict=True)}
        return {"frames": self.frames, "step": self.clock, "bias": state.bias, **kept}

    @property
    def outputs(self) -> dict[str, NDArray[Any]]:
        """The memory of every output, by its name."""
        fresh = {f"new_{name}": array for name, array in zip(self._layout.names, self.fresh, strict=True)}
        return {"logits": self.logits, **fresh}
