"""The base class of engines. All checks are made here; an engine implements only the raw call."""

from __future__ import annotations

import os
from abc import ABC
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from mar_edge.counting import counted
from mar_edge.errors import EngineError, FrameError
from mar_edge.model_spec import GraphSpec, ModelSpec
from mar_edge.runtime.engines.stream_state import StateLayout, StreamState


class Engine(ABC):
    """A loaded graph. It works only in the process that loaded it, not in a fork of it.

    An engine of a windowed model implements `_infer`, one of a streaming model `_step` and `layout`.

    Attributes:
        name: of the engine.
        spec: the model.
        variant: which of its graphs it is.
        path: the file that holds it.
        max_batch: most clips, or time steps of different streams, that the engine runs at once.
        layout: what a streaming model keeps of a stream; None for a windowed model.
    """

    name: str
    max_batch: int = 1
    layout: StateLayout | None = None

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
        """Run the graph on clips; a streaming model from an empty state, step by step.

        Args:
            frames: uint8 (B, T, H, W, 3) RGB; not kept. A streaming model takes any number of time steps.

        Returns:
            Logits, float32 (B, classes); of a streaming model those after the last time step.

        Raises:
            FrameError: if the frames are not what the graph expects.
            EngineError: if the engine fails, returns NaN or infinite values, or was loaded in another process.
        """
        if self.spec.streaming:
            return self.every_step(frames)[:, -1]
        self.check_process()
        self._check_frames(frames, self.spec.geometry.frames)
        return self._checked(self._infer(frames), len(frames))

    def every_step(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run a streaming model on clips from an empty state, and return its answer after every time step.

        Args:
            frames: uint8 (B, T, H, W, 3) RGB of any number of time steps; not kept.

        Returns:
            Logits, float32 (B, steps, classes).

        Raises:
            FrameError: if the frames are not what the graph expects.
            EngineError: as `step`.
        """
        length = self.spec.geometry.tubelet_frames
        if frames.ndim != 5 or not frames.shape[0] or not frames.shape[1] or frames.shape[1] % length:
            raise FrameError(f"clips of shape {frames.shape} are not of whole time steps of {length} frames")
        clips = frames.reshape(len(frames), -1, length, *frames.shape[2:])
        logits = []
        for first in range(0, len(clips), self.max_batch):  # no more states than the engine runs at once
            steps = clips[first : first + self.max_batch].swapaxes(0, 1)
            states = [self.new_state() for _ in steps[0]]
            logits.append(np.stack([self.step(step, states) for step in steps], axis=1))
        return np.concatenate(logits)

    def new_state(self) -> StreamState:
        """Return an empty state for a stream of a streaming model.

        Raises:
            EngineError: if the model is windowed.
        """
        return StreamState(self._layout())

    def step(self, frames: NDArray[np.uint8], states: Sequence[StreamState]) -> NDArray[np.float32]:
        """Run one time step of each of several streams of a streaming model, and move their states on.

        Args:
            frames: uint8 (B, tubelet frames, H, W, 3) RGB; not kept.
            states: one of each stream, from `new_state`, all different.

        Returns:
            Logits, float32 (B, classes).

        Raises:
            FrameError: if the frames are not what the graph expects.
            EngineError: if the engine fails, returns NaN or infinite values, or was loaded in another process; then the
                step is missing in the states.
        """
        self.check_process()
        layout = self._layout()
        self._check_frames(frames, self.spec.geometry.tubelet_frames)
        if len({id(state) for state in states}) != len(frames) or len(states) != len(frames):
            raise EngineError(
                f"{counted(len(frames), 'time step')} came with {counted(len(states), 'state')}; give each its stream's own"
            )
        if not all(state.layout == layout and self._can_use(state) for state in states):
            raise EngineError(
                "this state is of another engine, mask or precision; get one from new_state, and call its take_over"
            )
        for state in states:
            state.begin()
        try:
            logits = self._checked(self._step(frames, states), len(frames))
        except EngineError:
            for state in states:
                state.skip()
            raise
        for state in states:
            state.finish()
        return logits

    def _can_use(self, state: StreamState) -> bool:
        """Return whether the engine can read a state of its layout where it is kept."""
        return type(state) is StreamState

    def _layout(self) -> StateLayout:
        if self.layout is None:
            raise EngineError(f"{self.spec.name} sees whole clips and keeps no state; use infer")
        return self.layout

    def _check_frames(self, frames: NDArray[np.uint8], length: int) -> None:
        shape = (length, *self._shape[1:])
        if frames.dtype != np.uint8 or frames.ndim != 5 or frames.shape[1:] != shape or not len(frames):
            raise FrameError(
                f"the graph expects uint8 (B, {', '.join(map(str, shape))}), not {frames.dtype} {frames.shape}"
            )

    def _checked(self, logits: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        if logits.shape != (count, self._classes) or not np.isfinite(logits).all():
            raise EngineError(
                f"{self.name} returned logits of shape {logits.shape}; expected finite logits of shape ({count}, {self._classes})"
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
            frames: one clip, as `infer` takes it; of a streaming model its last time step is run, from an empty state.
            runs: inferences that the median is taken over, after one warm-up.

        Returns:
            Milliseconds of each step of the engine, in the order of execution, by the name of one of the graph's nodes
            in it; a step that the engine added has another name. None if the engine does not report it.
        """
        return None

    def _last_step(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the last time step (tubelet frames, H, W, 3) of a clip (1, T, H, W, 3)."""
        return frames[0, -self.spec.geometry.tubelet_frames :]

    def _infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the graph of a windowed model on checked frames."""
        raise NotImplementedError

    def _step(self, frames: NDArray[np.uint8], states: Sequence[StreamState]) -> NDArray[np.float32]:
        """Run a step graph on checked frames; write the fresh keys and values with `StreamState.write`."""
        raise NotImplementedError
