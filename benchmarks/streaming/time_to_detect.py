"""How long after a camera begins another move a model says so, live, with the smoothing that users have.

    python benchmarks/streaming/time_to_detect.py [BUNDLE ...] [--films 300] [--skip-still LEVEL ...] [--out FILE.md]

Films of 6.4 s with two or three moves, over drawn scenes, pictures and real footage that training never saw, are pushed
through a session of each model. For every change after the first window, the time runs from the first frame of the new
move to the first prediction that names it; a move that ends before that is missed. Both labels are judged: the smoothed one
that users see, and the event, which begins after its minimum length. With `--skip-still` streaming models run once more, with
the gate that leaves out still steps.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from mar_edge.bundle import open_bundle
from mar_edge.runtime.engines.registry import create_engine
from mar_edge.runtime.results import EventStarted
from mar_edge.runtime.sources.demo.camera_path import LABELS
from mar_edge.runtime.streams.session import Session
from mar_edge.training.synthetic.symmetry import Film
from mar_edge.training.synthetic.virtual_camera import Filming, films
from mar_edge.training.synthetic.worlds import World, drawn_worlds, picture_worlds, video_worlds, videos_below

SEED = 555_001
FRAMES = 64


@dataclass
class Delays:
    """How long changes took to be seen.

    Attributes:
        label_s, event_s: of each change that was seen, seconds.
        changes: how many there were.
        still: how many of them were to standing still, which is no event.
        right, answers: predictions that named the move of their newest frame, and all of them.
        reused, steps: predictions without an inference, and all of them.
    """

    label_s: list[float] = field(default_factory=list)
    event_s: list[float] = field(default_factory=list)
    changes: int = 0
    still: int = 0
    right: int = 0
    answers: int = 0
    reused: int = 0
    steps: int = 0


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("bundles", nargs="*", default=["egomotion"])
    arguments.add_argument("--films", type=int, default=300)
    arguments.add_argument("--skip-still", type=float, action="append", default=[], help="grey levels; repeat for more")
    arguments.add_argument("--shared", type=Path, default=Path("../shared"))
    arguments.add_argument("--pictures", type=Path, default=Path("/usr/share/backgrounds/gnome"))
    arguments.add_argument("--out", type=Path, default=None)
    options = arguments.parse_args()

    made = list(unseen_films(options.films, options.shared, options.pictures))
    lines = [
        "| model | changes | label named after, median (90 %) | missed | event begun after, median | missed "
        "| predictions that name the newest frame's move | steps left out |",
        "|---|---|---|---|---|---|---|---|",
    ]
    runs = [(name, level) for name in options.bundles for level in (None, *options.skip_still)]
    for name, level in runs:
        if level is not None and not open_bundle(name).manifest.streaming:
            continue
        found = delays(name, made, level)
        events = found.changes - found.still
        title = name if level is None else f"{name}, --skip-still {level:g}"
        lines.append(
            f"| {title} | {found.changes} | {middle(found.label_s, found.changes)} "
            f"({middle(found.label_s, found.changes, 0.9)}) | {missed(found.label_s, found.changes)} "
            f"| {middle(found.event_s, events)} | {missed(found.event_s, events)} | {found.right / found.answers:.1%} "
            f"| {found.reused / found.steps:.1%} |"
        )
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def unseen_films(count: int, shared: Path, pictures: Path) -> Iterator[Film]:
    """Film moves over worlds that training never saw."""
    groups: list[list[World]] = [
        drawn_worlds(60, SEED),
        picture_worlds([pictures]),
        video_worlds(videos_below(shared / "clips" / "daily")),
    ]
    spec = open_bundle("egomotion").manifest
    filming = Filming(
        geometry=replace(spec.geometry, frames=FRAMES),
        rate_fps=spec.rate_fps,
        margin=0.0,
        min_structure=1.0,
        clean=True,
        changing=1.0,
    )
    yield from films(groups, [0.4, 0.2, 0.4], count, filming, SEED)


def delays(name: str, made: Sequence[Film], skip_still: float | None) -> Delays:
    """Push all films through sessions of a model."""
    bundle = open_bundle(name)
    engine = create_engine(bundle, bundle.variant())
    spec = bundle.manifest
    found = Delays()
    for film in made:
        session = Session(engine, skip_still=skip_still)
        said: list[tuple[int, str]] = []
        begun: list[tuple[int, str]] = []
        for index, frame in enumerate(film.clip):
            if prediction := session.push(frame, index / spec.rate_fps, color="rgb"):
                said.append((index, prediction.label))
                found.reused += prediction.reused
                found.steps += 1
                begun += [(index, event.label) for event in prediction.events if isinstance(event, EventStarted)]
        judge(film, said, begun, found, spec.geometry.frames, spec.rate_fps)
    return found


def judge(
    film: Film, said: list[tuple[int, str]], begun: list[tuple[int, str]], found: Delays, first: int, rate_fps: float
) -> None:
    """Add what was said about one film."""
    classes = film.classes
    ends = [*(np.flatnonzero(np.diff(classes)) + 1), len(classes)]
    for start, end in pairwise(ends):
        if start < first:
            continue
        label = LABELS[classes[start]]
        found.changes += 1
        found.label_s += [(index - start) / rate_fps for index, name in said if start <= index < end and name == label][
            :1
        ]
        if label == "still":
            found.still += 1
        else:
            found.event_s += [
                (index - start) / rate_fps for index, name in begun if start <= index < end and name == label
            ][:1]
    late = [(index, name) for index, name in said if index >= first]
    found.answers += len(late)
    found.right += sum(name == LABELS[classes[index]] for index, name in late)


def middle(times_s: list[float], count: int, share: float = 0.5) -> str:
    """Return a quantile over all changes, those that were missed counting as endless."""
    rank = int(share * count)
    return f"{sorted(times_s)[rank]:.2f} s" if rank < len(times_s) else "never"


def missed(times_s: list[float], count: int) -> str:
    """Return the share of changes that were missed."""
    return f"{1 - len(times_s) / count:.1%}"


if __name__ == "__main__":
    main()
