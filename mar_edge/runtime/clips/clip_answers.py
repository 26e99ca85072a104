"""What a model answers to a whole clip: window by window, or step by step from an empty state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mar_edge.counting import counted
from mar_edge.runtime.clips.whole_clip import WholeClip
from mar_edge.runtime.clips.windows import cold_doubt, doubt
from mar_edge.runtime.engines.engine import Engine


@dataclass(frozen=True)
class ClipAnswers:
    """What is averaged; of a model that answers with its peak, that answer alone.

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


class _Answer(NamedTuple):
    """One of the answers to a clip.

    Attributes:
        logits: float32 (classes,).
        pictures: distinct pictures of the window, or of the newest band.
        seen: time steps that were seen since the last break.
    """

    logits: NDArray[np.float32]
    pictures: int
    seen: int


def answer(engine: Engine, clip: WholeClip) -> ClipAnswers:
    """Run a model on a clip.

    A streaming model runs through it from an empty state, which a break empties again.

    Where the model's `clip_answer` is `mean`, answers count from the first full band on. If the clip, or its longest part without
    a gap, is shorter, only the last one of that part does, which saw the most. Where it is `peak`, all count, and `peak_of` them is the clip's; `WholeClip` holds the last
    picture for a while. A short clip is no worse than a long one then: only one of too few pictures is in doubt.

    Raises:
        SourceError: if the file cannot be read.
        EngineError: if the engine fails.
    """
    spec = engine.spec
    found, views = _by_step(engine, clip) if spec.streaming else _by_window(engine, clip)
    noun = "time step" if spec.streaming else "window"
    if spec.clip_answer == "peak":
        logits = np.stack([one.logits for one in found])
        why = doubt(max(one.pictures for one in found), spec.geometry.frames)
        return ClipAnswers(logits[[peak_of(logits, spec.idle)]], () if why is None else (why,), views, noun)
    band, longest = spec.geometry.grid[0], max(one.seen for one in found)
    if longest < band:
        clip.warnings.append(
            f"{clip.name} has {counted(longest, 'time step')} without a gap, fewer than the {band} that an answer depends on; the answer is "
            "that of the last one"
        )
    kept = [one for one in found if one.seen >= min(band, longest)]
    doubts = [cold_doubt(min(one.seen, band), band) or doubt(one.pictures, spec.geometry.frames) for one in kept]
    return ClipAnswers(
        np.stack([one.logits for one in kept]), tuple(why for why in doubts if why is not None), views, noun
    )


def peak_of(logits: NDArray[np.float32], idle: int | None) -> int:
    """Return which answer names an action most surely: the one in which a class other than the idle one is likeliest.

    Where no answer names one, it is the answer that is nearest to it, in which the idle class is likeliest.

    Args:
        logits: float32 (answers, classes), at least one answer.
        idle: number of the idle class; None for none.
    """
    shares = logits - np.logaddexp.reduce(
        logits.astype(np.float64), axis=1, keepdims=True
    )  # logarithms of probabilities
    if idle is not None:
        shares[:, idle] = -np.inf
    return int(shares.max(axis=1).argmax())


def _by_window(engine: Engine, clip: WholeClip) -> tuple[list[_Answer], int]:
    """Return the answers, and how many windows there are."""
    band = engine.spec.geometry.grid[0]
    found = [_Answer(engine.infer(view.frames[None])[0], view.pictures, band) for view in clip]
    return found, len(found)


def _by_step(engine: Engine, clip: WholeClip) -> tuple[list[_Answer], int]:
    """Return the answers, and how many crops there are; of a clip that is sampled uniformly, of each of its views."""
    found: list[_Answer] = []
    begun = seen = 0
    for step in clip.time_steps():
        if step.begins:
            states = [engine.new_state() for _ in step.frames]
            begun, seen = begun + len(states), 0
        seen += 1
        parts = range(0, len(states), max(1, engine.max_batch))
        for first in parts:
            part = slice(first, first + engine.max_batch)
            found += [_Answer(row, step.pictures, seen) for row in engine.step(step.frames[part], states[part])]
    return found, len(step.frames) if engine.spec.sampling == "dense" else begun
