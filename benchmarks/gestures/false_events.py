"""How often a gestures model tells an event where nobody means to gesture: an hour of films. Prints Markdown.

    python benchmarks/gestures/false_events.py BUNDLE [--hour 60] [--background FOLDER ...] [--held-out NAME ...] [--out FILE.md]

Every video below ../shared/clips (sign language, daily activities and falls, a damaged file), ARID's actions in the dark and
the demo camera, each in a session of its own with its native time stamps. They are less than an hour together, so they are
shown again mirrored, at 0.7 of their speed, both, and at 0.85, until the hour is reached: the same people and places, so
that the interval is too narrow for what is left of chance. The first round alone is told as well. What of their motion
truly is a gesture is not judged: a wave or a sign that looks like a swipe counts as false.

Films that training used as backgrounds are counted apart: as the bundle's provenance tells, or as given.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from backgrounds import Used, used_in_training
from intervals import poisson
from result_tables import give, table
from rich.console import Console
from rich.progress import track
from watching import Said, changed, frames_of, model_of, watch

from mar_edge.bundle import open_bundle
from mar_edge.counting import counted
from mar_edge.errors import MarEdgeError, SourceError
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.model import Model
from mar_edge.runtime.video.listing import list_videos

SHARED = Path("../shared")
DEMO = "demo:realtime=no"


@dataclass(frozen=True)
class Round:
    """One way to show all films.

    Attributes:
        speed: at which they run.
        mirrored: whether left and right are exchanged.
    """

    speed: float = 1.0
    mirrored: bool = False

    def __str__(self) -> str:
        return f"speed {self.speed:g}{', mirrored' if self.mirrored else ''}"


ROUNDS = tuple(Round(speed, mirrored) for speed in (1.0, 0.7, 0.85, 1.2) for mirrored in (False, True))
"""In this order until there is enough."""


@dataclass(frozen=True, eq=False)
class Film:
    """A film in which nobody gestures.

    Attributes:
        source: a file, or the demo camera.
        group: what it is counted with.
        used: whether training used it; None if that is not known.
    """

    source: str | Path
    group: str
    used: bool | None


@dataclass(frozen=True, eq=False)
class Shown:
    """What was said about a film in one round."""

    film: Film
    round: Round
    said: Said


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("bundle")
    arguments.add_argument("--shared", type=Path, default=SHARED)
    arguments.add_argument("--hour", type=float, default=60.0, help="minutes to reach")
    arguments.add_argument("--precision", default="fp32")
    arguments.add_argument(
        "--background", type=Path, action="append", help="file or folder of films that training used"
    )
    arguments.add_argument("--held-out", action="append", help="name of a film there that it left out")
    arguments.add_argument("--out", type=Path, default=None)
    options = arguments.parse_args()
    try:
        bundle = open_bundle(options.bundle)
        model = model_of(bundle, precision=options.precision)
        used, said = used_in_training(bundle.manifest, options.background, options.held_out)
        films = find_films(options.shared, used)
        shown, failed = show_all(model, films, 60 * options.hour)
    except MarEdgeError as error:
        sys.exit(str(error))
    give(page(shown, f"{bundle.manifest.name}, {model.variant.title}", said, failed), options.out)


def find_films(shared: Path, used: Used | None) -> list[Film]:
    """Return all films, sorted by their folders."""
    folders = [shared / "clips", shared / "data" / "arid"]
    found = [
        Film(path, path.parent.relative_to(shared).as_posix(), None if used is None else used(path))
        for folder in folders
        for path in list_videos(folder).videos
    ]
    return [*found, Film(DEMO, "demo camera", False)]


def show_all(model: Model, films: Sequence[Film], least_s: float) -> tuple[list[Shown], dict[str, str]]:
    """Show all films, in one round after the other until there is enough.

    Args:
        model: what watches.
        films: the films.
        least_s: after a round that reaches this, there is no further one.

    Returns:
        What was said; and why some films could not be read, by their names.

    Raises:
        SourceError: if the rounds end before there is enough.
    """
    shown: list[Shown] = []
    failed: dict[str, str] = {}
    for one in ROUNDS:
        for film in track(films, description=str(one), console=Console(stderr=True)):
            frames = changed(_pictures(film, failed), mirrored=one.mirrored, speed=one.speed)
            shown.append(Shown(film, one, watch(model, frames)))
        if sum(each.said.length_s for each in shown) >= least_s:
            return shown, failed
    seconds = sum(each.said.length_s for each in shown)
    raise SourceError(
        f"the films are only {seconds:.0f} s long in all rounds, and {least_s:.0f} s are wanted. Lower --hour"
    )


def page(shown: Sequence[Shown], named: str, backgrounds: str, failed: dict[str, str]) -> str:
    """Return all tables."""
    first = [one for one in shown if one.round == ROUNDS[0]]
    groups = dict.fromkeys(one.film.group for one in shown)
    rounds = dict.fromkeys(one.round for one in shown)
    rows = [rate_row("**all**", shown)]
    uses = {True: "used as backgrounds", False: "never seen in training", None: "not known whether training used them"}
    for used, title in uses.items():
        if some := [one for one in shown if one.film.used is used]:
            rows.append(rate_row(title, some))
    rows += [rate_row(str(one), [each for each in shown if each.round == one]) for one in rounds]
    by_group = [
        [
            group,
            *_sums(
                [one for one in shown if one.film.group == group], [one for one in first if one.film.group == group]
            ),
        ]
        for group in groups
    ]
    parts = [
        f"## {named}: events where nobody means to gesture",
        "What of the motion in these films truly is a gesture is not judged: every event counts as false. The rounds show "
        "the same films again, so that the interval over all of them is too narrow; that of the first "
        "round, speed 1, is not. *Able*: seconds in which an event "
        "could begin, because the model was warm; a film begins cold, and most are short.",
        table(RATE_HEAD, rows),
        table(["films", "number", "used in training", "seconds a round", "seconds in all", "able", "events"], by_group),
        f"Films that training used: {backgrounds}.",
        f"Every event:\n\n{every_event(shown)}",
    ]
    if failed:
        named_films = "; ".join(f"{film}: {why}" for film, why in failed.items())
        parts.append(f"{counted(len(failed), 'film')} could not be read to the end: {named_films}")
    return "\n\n".join(parts)


RATE_HEAD = ["films", "seconds", "able", "events", "an hour", "95 % (Poisson)", "an able hour", "95 % (Poisson)"]


def rate_row(title: str, shown: Iterable[Shown]) -> list[str]:
    """Return seconds, events and events an hour of some films."""
    said = [one.said for one in shown]
    count = sum(len(one.begun) for one in said)
    row = [title]
    lengths_s = sum(one.length_s for one in said), sum(one.able_s for one in said)
    row += [f"{seconds:.0f}" for seconds in lengths_s] + [str(count)]
    for seconds in lengths_s:
        low, high = (3600 * end / seconds for end in poisson(count)) if seconds else (0.0, 0.0)
        row += [f"**{3600 * count / seconds:.1f}**", f"{low:.1f} to {high:.1f}"] if seconds else ["-", "-"]
    return row


def every_event(shown: Iterable[Shown]) -> str:
    """Return a row for every event; a sentence if there is none."""
    rows = [
        [str(one.film.source), str(one.round), event.label, f"{event.told_s:.1f} s"]
        for one in shown
        for event in one.said.begun
    ]
    return table(["film", "round", "class", "told at"], rows) if rows else "There was none."


def _sums(shown: Sequence[Shown], first: Sequence[Shown]) -> list[str]:
    """Return the numbers of one group of films: of all rounds, and of the first one."""
    classes = Counter(event.label for one in shown for event in one.said.begun)
    used = [one.film.used for one in first]
    return [
        str(len(first)),
        "not known" if None in used else str(sum(bool(one) for one in used)),
        f"{sum(one.said.length_s for one in first):.0f}",
        f"{sum(one.said.length_s for one in shown):.0f}",
        f"{sum(one.said.able_s for one in shown):.0f}",
        ", ".join(f"{count} {label}" for label, count in classes.most_common()) or "none",
    ]


def _pictures(film: Film, failed: dict[str, str]) -> Iterator[Frame]:
    """Read a film as far as that is possible."""
    try:
        yield from frames_of(film.source)
    except SourceError as error:
        failed[str(film.source)] = str(error)


if __name__ == "__main__":
    main()
