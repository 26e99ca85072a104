"""Runs several engines on the same clips in turns, so that other load on the device affects all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import EngineError
from mar_edge.runtime.engines.engine import Engine
from mar_edge.runtime.engines.stream_state import StreamState

ROUNDS = 15
"""Minimum number of inferences that a median is taken over."""

STREAM_CLIPS = 16
"""Clips that a streaming model also sees in a row: 128 time steps of its presets, see `clip_runner.SEQUENCE_STEPS`."""


@dataclass
class Turns:
    """What one engine returned.

    Attributes:
        logits: float32 (classes,) of every clip; of a streaming model, of every time step of every clip from an empty state, and
            then of the first `STREAM_CLIPS` in a row.
        times_ms: of every inference: a clip, or a time step that is not the first of a state.
        failure: the engine's message when it failed; it has no more turns after that.
    """

    logits: list[NDArray[np.float32]] = field(default_factory=list)
    times_ms: list[float] = field(default_factory=list)
    failure: str | None = None

    @property
    def median_ms(self) -> float:
        """Median time of an inference."""
        return median(self.times_ms)


@dataclass
class _Place:
    """An engine in its turns.

    Attributes:
        engine: the engine.
        turns: what it returned of every clip.
        in_a_row: logits of a streaming model that sees clips in a row.
        stream: its state.
    """

    engine: Engine
    turns: Turns = field(default_factory=Turns)
    in_a_row: list[NDArray[np.float32]] = field(default_factory=list)
    stream: StreamState | None = None

    def finish(self) -> Turns:
        """Return everything that the engine returned."""
        self.turns.logits += self.in_a_row
        return self.turns

    def infer(self, clip: NDArray[np.uint8], *, warm: bool, repeat: int, keep_row: bool) -> None:
        """Run the engine once on a clip; a streaming model first from an empty state, in the repeats in a row.

        Args:
            clip: uint8 (T, H, W, 3) RGB.
            warm: whether the engine has run before; the first inference allocates and tunes.
            repeat: how often this clip was run before.
            keep_row: whether the answers of the first repeat are compared.
        """
        try:
            if not warm:
                self.engine.infer(clip[None])
            if self.engine.spec.streaming:
                self._infer_steps(clip, repeat, keep_row)
                return
            began_s = time.perf_counter()
            logits = self.engine.infer(clip[None])
            self.turns.times_ms.append(1000 * (time.perf_counter() - began_s))
            if not repeat:
                self.turns.logits.append(logits[0])
        except EngineError as error:
            self.turns.failure = str(error)

    def _infer_steps(self, clip: NDArray[np.uint8], repeat: int, keep_row: bool) -> None:
        if self.stream is None:
            self.stream = self.engine.new_state()
        state = self.stream if repeat else self.engine.new_state()
        kept = {0: self.turns.logits, 1: self.in_a_row if keep_row else None}.get(repeat)
        for frames in clip.reshape(-1, 1, self.engine.spec.geometry.tubelet_frames, *clip.shape[1:]):
            timed = state.step > 0 or len(clip) == len(frames[0])
            began_s = time.perf_counter()
            logits = self.engine.step(frames, [state])
            if timed:
                self.turns.times_ms.append(1000 * (time.perf_counter() - began_s))
            if kept is not None:
                kept.append(logits[0])


def run_in_turns(
    engines: Sequence[Engine],
    clips: Iterable[NDArray[np.uint8]],
    *,
    count: int,
    rounds: int = ROUNDS,
    progress: Callable[[], None] = lambda: None,
) -> list[Turns]:
    """Run every engine on every clip, in turn.

    Args:
        engines: loaded graphs of one model.
        clips: uint8 (T, H, W, 3) RGB.
        count: how many clips there are.
        rounds: inferences of each engine, at least; with fewer clips each is inferred several times. Every time step of a
            streaming model is an inference.
        progress: called after every clip.

    Returns:
        What each engine returned, in the order of `engines`.
    """
    places = [_Place(engine) for engine in engines]
    spec = engines[0].spec if engines else None
    steps = spec.geometry.grid[0] if spec is not None and spec.streaming else 1
    needed = -(-rounds // max(1, count * steps))
    for index, clip in enumerate(clips):
        keep_row = spec is not None and spec.streaming and index < STREAM_CLIPS
        repeats = max(2, needed) if keep_row else needed
        for repeat in range(repeats):
            for turn in range(len(engines)):
                # the first one finds the caches filled by the decoder, so each engine is first in turn
                place = places[(index * repeats + repeat + turn) % len(engines)]
                if place.turns.failure is None:
                    place.infer(clip, warm=index + repeat > 0, repeat=repeat, keep_row=keep_row)
        progress()
    return [place.finish() for place in places]
