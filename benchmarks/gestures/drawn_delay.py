"""How soon after the end of a drawn stroke a gestures model tells it, and how often it is right there. Prints Markdown.

    python benchmarks/gestures/drawn_delay.py BUNDLE [--count 300] [--films MODULE:FUNCTION] [--out FILE.md]

Every film goes through a session of its own with the model's rule, and its own times. An event belongs to the newest
stroke of which half is over when it is told, unless that stroke ended more than 1.5 s before. The first event of a stroke is
its answer; further ones, and those that belong to no stroke, are false. The delay runs from the end of the stroke to the time
of the newest frame when the right event was told. Films without a stroke are negatives: their answer is the first event. The last
picture of a film is held for 0.8 s, because a camera goes on. Strokes that end after the film, or before the model has seen
enough for an event to begin, are left out and counted.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from drawn_films import GENERATOR, SEED, GestureFilm, generator
from intervals import poisson
from judging import CLASSES, NONE, Answers, check_labels
from real_clips import HOLD_S
from result_tables import confusion, give, quantile, recalls, table
from rich.console import Console
from rich.progress import track
from watching import Begun, film_frames, held_around, model_of, watch

from mar_edge.bundle import open_bundle
from mar_edge.errors import MarEdgeError, OptionError
from mar_edge.runtime.model import Model

LATEST_S = 1.5
"""An event that is told later after the end of a stroke does not belong to it."""


@dataclass
class Told:
    """What was told about drawn films.

    Attributes:
        truths, answers: of every stroke, and of every film without one.
        delays_s: of the strokes that were told right, seconds.
        strokes: how many there were.
        left_out: further strokes that nobody could tell.
        false: events beside the first of a stroke.
        length_s: of all films, seconds.
    """

    truths: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    delays_s: list[float] = field(default_factory=list)
    strokes: int = 0
    left_out: int = 0
    false: int = 0
    length_s: float = 0.0


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("bundle")
    arguments.add_argument("--count", type=int, default=300, help="films")
    arguments.add_argument("--seed", type=int, default=SEED)
    arguments.add_argument("--films", default=GENERATOR, metavar="MODULE:FUNCTION")
    arguments.add_argument("--classes", type=int, choices=tuple(CLASSES), default=8)
    arguments.add_argument("--precision", default="fp32")
    arguments.add_argument("--out", type=Path, default=None)
    options = arguments.parse_args()
    classes = CLASSES[options.classes]
    try:
        bundle = open_bundle(options.bundle)
        model = model_of(bundle, precision=options.precision)
        films = generator(options.films)(options.count, options.seed)
        told = tell(model, track(films, "films", options.count, console=Console(stderr=True)), classes)
    except MarEdgeError as error:
        sys.exit(str(error))
    named = f"{bundle.manifest.name}, {model.variant.title}: {options.count} drawn films of {options.films}"
    give(page(told, classes, f"{named}, seed {options.seed}"), options.out)


def tell(model: Model, films: Iterable[GestureFilm], classes: tuple[str, ...]) -> Told:
    """Show drawn films to the model.

    Raises:
        OptionError: if the model does not know the classes, or there is no film.
    """
    check_labels(model.labels, classes)
    told = Told()
    for film in films:
        said = watch(model, held_around(film_frames(film.clip, film.time_s), after_s=HOLD_S))
        begun = [event for event in said.begun if event.label in classes and event.label != NONE]
        length_s = float(film.time_s[-1])
        judged = [stroke for stroke in film.strokes if stroke[0] in classes and stroke[0] != NONE]
        judge(judged, begun, told, (math.inf if said.able_from_s is None else said.able_from_s, length_s))
        told.length_s += said.length_s
    if not told.truths:
        raise OptionError("the generator drew no film. Give a --count above 0")
    return told


def judge(
    strokes: Sequence[tuple[str, float, float]], begun: Sequence[Begun], told: Told, tellable_s: tuple[float, float]
) -> None:
    """Add what was told about one film.

    Args:
        strokes: (label, start, end) of the film, of classes that are judged.
        begun: the events of such classes, in order.
        told: what this is added to.
        tellable_s: a stroke that ends before or after this is left out.
    """
    firsts: dict[int, Begun] = {}
    for event in begun:
        place = _belongs_to(event, strokes)
        if place is None or place in firsts:
            told.false += 1
        else:
            firsts[place] = event
    for place, (label, _, end_s) in enumerate(strokes):
        if not tellable_s[0] <= end_s <= tellable_s[1]:
            told.left_out += 1
            continue
        told.strokes += 1
        event_of = firsts.get(place)
        told.truths.append(label)
        told.answers.append(NONE if event_of is None else event_of.label)
        if event_of is not None and event_of.label == label:
            told.delays_s.append(event_of.told_s - end_s)
    if not strokes:
        told.truths.append(NONE)
        told.answers.append(begun[0].label if begun else NONE)


def page(told: Told, classes: tuple[str, ...], named: str) -> str:
    """Return all tables."""
    answers = Answers(classes, tuple(told.truths), tuple(told.answers), tuple(map(str, range(len(told.truths)))))
    low, high = (3600 * end / told.length_s for end in poisson(told.false))
    delays = told.delays_s
    late = sum(delay_s > 0.5 for delay_s in delays)
    rows = [
        ["strokes", str(told.strokes)],
        ["further ones, cut by the film's end or over before an event could begin", str(told.left_out)],
        ["told right", str(len(delays))],
        ["delay of those, 10 % / median / 90 %", " / ".join(quantile(delays, share) for share in (0.1, 0.5, 0.9))],
        ["median over all strokes, those not told right counting as endless", quantile(delays, 0.5, told.strokes)],
        ["told right, later than 0.5 s", str(late)],
        ["false events", f"{told.false}, {3600 * told.false / told.length_s:.1f} an hour ({low:.1f} to {high:.1f})"],
        ["length of the films", f"{told.length_s:.0f} s"],
    ]
    shown = [*classes[1:], NONE]
    return "\n\n".join(
        [
            f"## {named}",
            "From the end of the stroke, which the generator knows, to the time of the newest frame when its event was "
            "told. False: further events of a stroke, and those without one. Row `none`: films without a stroke.",
            table(["", ""], rows),
            recalls({"first event": answers}),
            confusion(shown, classes, answers.confusion(shown)),
        ]
    )


def _belongs_to(event: Begun, strokes: Sequence[tuple[str, float, float]]) -> int | None:
    """Return the place of the stroke that an event tells; None if it tells none."""
    begun = [place for place, (_, start_s, end_s) in enumerate(strokes) if (start_s + end_s) / 2 <= event.told_s]
    return begun[-1] if begun and event.told_s <= strokes[begun[-1]][2] + LATEST_S else None


if __name__ == "__main__":
    main()
