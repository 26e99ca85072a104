"""What a model answers to a whole clip: window by window, or step by step from an empty state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mar_edge.counting import counted
from mar_edge.runtime.clips.whole_clip import WholeClip
from mar_edge.runtime.clips.windows import cold_doubt, doubt
from mar_edge.runtime.engines.engine import Engine


@dataclass(frozen=True)
class ClipAnswers:
    """What is averaged.

    Attributes:
        logits: float32 (answers, classes).
        doubts: why an answer is not reliable, of those that are not.
        views: windows; or crops that a streaming model ran through.
        noun: what one answer is of, `window` or `time step`.
    """

    logits: NDArray[np.float32]
    doubts: tuple[str, ...]
    views: int
    noun: str


def answer(engine: Engine, clip: WholeClip) -> ClipAnswers:
    """Run a model on a clip.

    A streaming model runs through it from an empty state, which a break empties again. Answers count from the first full
    band on; all do if the clip, or its longest part without a gap, is shorter.

    Raises:
        SourceError: if the file cannot be read.
        EngineError: if the engine fails.
    """
    return _by_step(engine, clip) if engine.spec.streaming else _by_window(engine, clip)


def _by_window(engine: Engine, clip: WholeClip) -> ClipAnswers:
    logits: list[NDArray[np.float32]] = []
    doubts: list[str] = []
    for view in clip:
        logits.append(engine.infer(view.frames[None])[0])
        if why := doubt(view.pictures, len(view.frames)):
            doubts.append(why)
    return ClipAnswers(np.stack(logits), tuple(doubts), len(logits), "window")


def _by_step(engine: Engine, clip: WholeClip) -> ClipAnswers:
    spec = engine.spec
    band, frames = spec.geometry.grid[0], spec.geometry.frames
    found: list[tuple[NDArray[np.float32], str | None, bool]] = []
    views = since = longest = 0
    for step in clip.time_steps():
        if step.begins:
            states = [engine.new_state() for _ in step.frames]
            views, since = views + len(states), 0
        since += 1
        longest = max(longest, since)
        parts = range(0, len(states), max(1, engine.max_batch))
        logits = [
            engine.step(step.frames[first : first + engine.max_batch], states[first : first + engine.max_batch])
            for first in parts
        ]
        why = cold_doubt(min(since, band), band) or doubt(step.pictures, frames)
        found += [(row, why, since >= band) for row in np.concatenate(logits)]
    full = [one for one in found if one[2]]
    if not full:
        clip.warnings.append(
            f"{clip.name} has {counted(longest, 'time step')} without a gap, fewer than the {band} that an answer depends on; "
            "all of them were averaged"
        )
    kept = full or found
    doubts = tuple(why for _, why, _ in kept if why is not None)
    crops = len(step.frames) if spec.sampling == "dense" else views
    return ClipAnswers(np.stack([row for row, _, _ in kept]), doubts, crops, "time step")
