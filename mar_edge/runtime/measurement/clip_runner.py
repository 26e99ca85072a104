"""Runs a graph on clips in a session of its own: a windowed graph at once, a step graph one time step after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mar_edge.masking import PLACES
from mar_edge.model_spec import ModelSpec
from mar_edge.runtime.clips.clip_answers import peak_of
from mar_edge.runtime.engines.stream_state import StateLayout, StreamState

SEQUENCE_STEPS = 128
"""Time steps of the long sequence that step graphs are compared on: longer than what an answer can depend on in the
presets (7 steps for every block), and the clock's period twice."""

PAST, FRESH = "past_", "new_"
"""Beginnings of the names of a step graph's keys and values: inputs, and outputs."""

_KINDS = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(bfloat16)": "bfloat16"}

Run = Callable[[list[str], dict[str, NDArray[Any]]], Sequence[NDArray[Any]]]
"""Runs a graph once: takes names of outputs and the inputs by name, and returns the outputs."""


class Input(NamedTuple):
    """An input of a graph.

    Attributes:
        shape: its shape, the first number for a batch.
        kind: number format, as in `stream_state.KINDS`; others are not used.
    """

    shape: tuple[int, ...]
    kind: str = "float32"


class ClipRunner:
    """Shows clips to a graph, each from an empty state.

    Args:
        run: runs the graph once.
        inputs: of the graph, by name; a step graph has some that begin with `PAST`.

    Attributes:
        layout: what a step graph keeps; None for a windowed graph. Its places are only counted: the graph does not
            tell which they are.
    """

    def __init__(self, run: Run, inputs: Mapping[str, Input]) -> None:
        self._run = run
        self._length = inputs["frames"].shape[1]
        self.layout = _layout(inputs)

    @classmethod
    def of(cls, session: Any) -> ClipRunner:
        """Return one for a session of ONNX Runtime, which takes batches of any size."""
        inputs = {
            given.name: Input((1, *given.shape[1:]), _KINDS.get(given.type, given.type))
            for given in session.get_inputs()
        }
        return cls(session.run, inputs)

    def show(self, clip: NDArray[np.uint8], names: Sequence[str]) -> Iterator[list[NDArray[Any]]]:
        """Run the graph on a clip, and yield the outputs of every run: one, or as many as there are time steps.

        Args:
            clip: uint8 (T, H, W, 3) RGB; of whole time steps for a step graph.
            names: of the outputs that are returned.
        """
        if self.layout is None:
            yield list(self._run(list(names), {"frames": clip[None]}))
            return
        state = StreamState(self.layout)
        fresh = [f"{FRESH}{name}" for name in self.layout.names]
        for first in range(0, len(clip), self._length):
            state.begin()
            past = dict(zip((f"{PAST}{name}" for name in self.layout.names), state.kept, strict=True))
            frames = clip[None, first : first + self._length]
            step = np.array([state.clock], np.int64)
            found = self._run([*names, *fresh], {"frames": frames, "step": step, "bias": state.bias, **past})
            state.write(found[len(names) :])
            state.finish()
            yield list(found[: len(names)])

    def logits(self, clip: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits on a clip, float32 (1, classes), or those after every time step (steps, classes)."""
        return np.concatenate([logits for (logits,) in self.show(clip, ["logits"])])


def joined(clips: Sequence[NDArray[np.uint8]], steps: int, tubelet_frames: int) -> NDArray[np.uint8]:
    """Return a sequence of time steps: clips one after the other, from the first again where they are too few.

    Args:
        clips: uint8 (T, H, W, 3) each.
        steps: how many time steps.
        tubelet_frames: frames of a time step.
    """
    needed = steps * tubelet_frames
    have = sum(map(len, clips))
    return np.concatenate(list(clips) * -(-needed // have))[:needed]


def step_targets(
    targets: NDArray[np.int64] | None, steps: Sequence[int], reference: NDArray[np.float32], spec: ModelSpec
) -> NDArray[np.int64] | None:
    """Return the class of every answer of a streaming model: a clip's class is known of one of its time steps only.

    That is its last one; or for a model that answers to a clip with its peak, the one that FP32 answers with.

    Args:
        targets: class of each clip (N,); None without labels.
        steps: time steps of each clip (N,).
        reference: logits of FP32 (answers, classes), clip by clip; those after the clips belong to no clip.
        spec: the model.

    Returns:
        (answers,), -1 for those without; None without labels.
    """
    if targets is None:
        return None
    found = np.full(len(reference), -1, np.int64)
    end = 0
    for target, length in zip(targets, steps, strict=True):
        first, end = end, end + length
        known = first + peak_of(reference[first:end], spec.idle) if spec.clip_answer == "peak" else end - 1
        found[known] = target
    return found


def _layout(inputs: Mapping[str, Input]) -> StateLayout | None:
    past = [given for name, given in inputs.items() if name.startswith(f"{PAST}k")]
    if not past:
        return None
    kept = past[0].shape[2]
    tokens = inputs["bias"].shape[3] - kept
    return StateLayout(
        places=(tuple(range(tokens)),) * PLACES,
        slots=kept // tokens,
        attentions=tuple((given.shape[1], given.shape[3]) for given in past),
        kind=past[0].kind,
    )
