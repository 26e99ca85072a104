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

ROUNDS = 15
"""Minimum number of inferences that a median is taken over."""


@dataclass
class Turns:
    """What one engine returned.

    Attributes:
        logits: float32 (classes,) of every clip.
        times_ms: of every inference.
        failure: the engine's message when it failed; it has no more turns after that.
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
    """Run every engine on every clip, in turn.

    Args:
        engines: loaded graphs, of one geometry.
        clips: uint8 (T, H, W, 3) RGB.
        count: how many clips there are.
        rounds: inferences of each engine, at least; with fewer clips each is inferred several times.
        progress: called after every clip.

    Returns:
        What each engine returned, in the order of `engines`.
    """
    found = [Turns() for _ in engines]
    repeats = -(-rounds // max(1, count))
    for index, clip in enumerate(clips):
        for repeat in range(repeats):
            for turn in range(len(engines)):
                # the first one finds the caches filled by the decoder, so each engine is first in turn
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
