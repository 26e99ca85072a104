"""Shows a film to a model as a user's loop does, and notes what it says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mar_edge.bundle import Bundle
from mar_edge.runtime.engines.registry import create_engine
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.model import Model
from mar_edge.runtime.results import EventStarted
from mar_edge.runtime.sources.open import open_source
from mar_edge.runtime.sources.source import Reading


class Begun(NamedTuple):
    """An event that began.

    Attributes:
        label: its class.
        told_s: time of the newest frame when it was told, which is when a robot can act on it, seconds.
        start_s: since when it lasts, seconds.
    """

    label: str
    told_s: float
    start_s: float


@dataclass(frozen=True, eq=False)
class Said:
    """What a model said about one film.

    Attributes:
        begun: the events, in order.
        scores: unsmoothed probabilities of every answer, float64 (answers, classes), of which the best five are kept and the
            others are 0; (0, classes) if they were not asked for.
        length_s: from the first frame to the last, seconds.
        able_s: the part of it in which an event could begin: the model was warm, and the pictures were no repeats.
        able_from_s: when one could begin for the first time; None if never.
    """

    begun: tuple[Begun, ...]
    scores: NDArray[np.float64]
    length_s: float
    able_s: float
    able_from_s: float | None


def model_of(bundle: Bundle, *, mask: int | None = None, precision: str = "fp32") -> Model:
    """Load a graph of a bundle in ONNX Runtime, on one thread.

    Args:
        bundle: the bundle.
        mask: in percent; None for the one that the model was trained with.
        precision: of the graph.

    Raises:
        BundleError, EngineError: if there is no such graph, or it cannot be loaded.
    """
    variant = bundle.variant("auto" if mask is None else mask, precision)
    return Model(create_engine(bundle, variant, "onnxruntime", threads=1))


def watch(model: Model, frames: Iterable[Frame], *, unsmoothed: bool = False) -> Said:
    """Push a film through a session with the model's own rule and smoothing.

    Args:
        model: what watches.
        frames: the film, with its times.
        unsmoothed: whether a second session without smoothing watches as well, for `Said.scores`.
    """
    session = model.session()
    plain = model.session(smoothing_s=0.0) if unsmoothed else None
    begun: list[Begun] = []
    rows: list[list[float]] = []
    first_s = last_s = answered_s = able_from_s = None
    able_s = 0.0
    for frame in frames:
        first_s, last_s = frame.time_s if first_s is None else first_s, frame.time_s
        prediction = session.push(frame.picture, frame.time_s, color=frame.color, held=frame.held)
        if prediction is not None:
            begun += [
                Begun(event.label, prediction.time_s, event.start_s)
                for event in prediction.events
                if isinstance(event, EventStarted)
            ]
            if prediction.reliable:
                able_s += 0.0 if answered_s is None else prediction.time_s - answered_s
                able_from_s = prediction.time_s if able_from_s is None else able_from_s
            answered_s = prediction.time_s
        if plain is not None:
            answer = plain.push(frame.picture, frame.time_s, color=frame.color, held=frame.held)
            if answer is not None:
                best = dict(answer.top)
                rows.append([best.get(label, 0.0) for label in model.labels])
    scores = np.array(rows, np.float64).reshape(len(rows), len(model.labels))
    return Said(tuple(begun), scores, (last_s or 0.0) - (first_s or 0.0), able_s, able_from_s)


def frames_of(source: str | Path) -> Iterator[Frame]:
    """Read a source to its end, with its own time stamps.

    Raises:
        SourceError: if it cannot be read.
    """
    with Reading(open_source(source)) as reading:
        yield from reading


def held_around(frames: Iterable[Frame], *, before_s: float = 0.0, after_s: float = 0.0) -> Iterator[Frame]:
    """Show a cut film as a camera would, which runs before and after: its first and last picture are held.

    Args:
        frames: the film. Its times stay, those before it count down from its first.
        before_s: how long the first is held, at the film's rate, seconds.
        after_s: the same for the last.
    """
    rest = iter(frames)
    start = list(islice(rest, 2))
    if len(start) < 2:
        yield from start
        return
    step_s = start[1].time_s - start[0].time_s
    for place in range(round(before_s / step_s), 0, -1):
        yield _at(start[0], start[0].time_s - place * step_s)
    times_s: list[float] = []
    last = start[-1]
    for last in chain(start, rest):
        times_s.append(last.time_s)
        yield last
    step_s = float(np.median(np.diff(times_s)))
    for place in range(1, round(after_s / step_s) + 1):
        yield _at(last, times_s[-1] + place * step_s)


def changed(frames: Iterable[Frame], *, mirrored: bool = False, speed: float = 1.0) -> Iterator[Frame]:
    """Show a film mirrored, or at another speed.

    Args:
        frames: the film.
        mirrored: left and right are exchanged.
        speed: 0.5 lasts twice as long.
    """
    for frame in frames:
        picture = np.ascontiguousarray(frame.picture[:, ::-1]) if mirrored else frame.picture
        yield Frame(picture=picture, time_s=frame.time_s / speed, color=frame.color, held=frame.held)


def film_frames(clip: NDArray[np.uint8], times_s: NDArray[np.float64]) -> Iterator[Frame]:
    """Return the frames of a film in memory; one at the same time as the one before repeats it, and is left out.

    Args:
        clip: uint8 (T, H, W, 3) RGB.
        times_s: of every frame (T,), never falling.
    """
    for index, (picture, time_s) in enumerate(zip(clip, times_s.tolist(), strict=True)):
        if not index or time_s > times_s[index - 1]:
            yield Frame(picture=picture, time_s=time_s)


def _at(frame: Frame, time_s: float) -> Frame:
    """Return a frame again at another time, as a camera that looks at the same still."""
    return Frame(picture=frame.picture, time_s=time_s, color=frame.color)
