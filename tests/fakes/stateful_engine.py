"""A streaming model whose answer tells what is in its state."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mar_edge.model_spec import GraphSpec
from mar_edge.runtime.engines.engine_set import EngineSet, Unloaded
from mar_edge.runtime.engines.stream_state import StateLayout, StreamState
from mar_edge.testing import FakeEngine, frame_number


class Ran(NamedTuple):
    """A step that ran.

    Attributes:
        step: its number.
        frames: numbers of its frames, see `testing.frame_number`.
        seen: numbers of the first frames of the earlier steps that it saw, in order.
        mask: of the graph, percent.
    """

    step: int
    frames: tuple[int, ...]
    seen: tuple[int, ...]
    mask: int


class StatefulEngine(FakeEngine):
    """Keeps the number of each step's first frame in keys and values, and answers with what it finds there.

    Attributes:
        ran: every step, in order.
        batches: how many steps ran at once.
    """

    def __init__(self, mask: int = 50, **options: Any) -> None:
        super().__init__(streaming=True, keep=False, **options)
        self.variant = GraphSpec(mask=mask, precision="fp32", gmacs=0.001 * (100 - mask))
        self.layout = StateLayout.of(self.spec.geometry, mask / 100, [(1, 4)])
        self.ran: list[Ran] = []
        self.batches: list[int] = []

    def _step(self, frames: NDArray[np.uint8], states: Sequence[StreamState]) -> NDArray[np.float32]:
        logits = self._infer(frames)
        self.batches.append(len(frames))
        for row, (step, state) in enumerate(zip(frames, states, strict=True)):
            numbers = tuple(frame_number(picture) for picture in step)
            tokens = state.layout.slots * state.layout.tokens
            attended = state.bias[0, 0, 0, :tokens] == 0
            seen = np.unique(state.fetch()[0][0, 0, attended, 0])
            self.ran.append(Ran(state.step, numbers, tuple(map(int, seen)), self.variant.mask))
            logits[row] = logits[row] / 8 + np.array([seen.sum() % 7, numbers[0] % 5, len(seen)], np.float32) / 4
            state.write([np.full(shape, numbers[0], np.float32) for shape in state.layout.shapes(1)])
        return logits


def engines(*masks: int, **options: Any) -> EngineSet:
    """Return engines of several masks, of which the first is loaded."""
    first, *others = masks
    return EngineSet(
        StatefulEngine(first, **options),
        {mask: Unloaded(0.001 * (100 - mask), partial(StatefulEngine, mask, **options)) for mask in others},
    )
