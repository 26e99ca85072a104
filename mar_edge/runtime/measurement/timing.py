"""Runs several engines on the same clips in turns, so that a busy moment of the device meets all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import EngineError
from mar_edge.runtime.engines.engine import Engine

ROUNDS = 15
"""Inferences that a median is taken of, at least."""


@dataclass
class Turns:
    """What one engine gave.

    Attributes:
        logits: float32 (classes,) of every clip.
        times_ms: of every inference.
        failure: what the engine said when it failed; it had no more turns then.
    """

    logits: list[NDArray[np.float32]] = field(default_factory=list)
    times_ms: list[float] = field(default_factory=list)
    failure: str | None = None

    @property
    def median_ms(self) -> float:
        """Median time of an inference."""
        return median(self.times_ms)


def run_in_turns(
    engines: Sequence[Engine],
    clips: Iterable[NDArray[np.uint8]],
    *,
    count: int,
    rounds: int = ROUNDS,
    progress: Callable[[], None] = lambda: None,
) -> list[Turns]:
    """Let every engine infer every clip, one after another.

    Args:
        engines: loaded graphs, of one geometry.
        clips: uint8 (T, H, W, 3) RGB.
        count: how many clips there are.
        rounds: inferences of each engine, at least; with fewer clips each is inferred several times.
        progress: called after every clip.

    Returns:
        What each engine gave, in their order.
    """
    found = [Turns() for _ in engines]
    repeats = -(-rounds // max(1, count))
    for index, clip in enumerate(clips):
        for repeat in range(repeats):
            for turn in range(len(engines)):
                # whoever comes first finds the caches filled by the decoder, so each does in its turn
                place = (index * repeats + repeat + turn) % len(engines)
                if found[place].failure is None:
                    _infer(engines[place], clip, found[place], warm=index + repeat > 0, keep=repeat == 0)
        progress()
    return found


def _infer(engine: Engine, clip: NDArray[np.uint8], turns: Turns, *, warm: bool, keep: bool) -> None:
    try:
        if not warm:  # the first inference of an engine allocates and tunes
            engine.infer(clip[None])
        began_s = time.perf_counter()
        logits = engine.infer(clip[None])
        turns.times_ms.append(1000 * (time.perf_counter() - began_s))
    except EngineError as error:
        turns.failure = str(error)
        return
    if keep:
        turns.logits.append(logits[0])
