"""Sets of clips as a user would have them: a list to train on, and one to judge by that the training never sees."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAR_EDGE = (sys.executable, "-m", "mar_edge")

WINDOW_S = 1.6
"""Length of a clip that is cut from a longer film, seconds."""

STEP_S = 0.8
"""From one of these clips to the next, seconds."""


@dataclass(frozen=True)
class ClipSet:
    """Clips of classes.

    Attributes:
        name: what it is called in tables.
        data: what is given to `mar-edge train --data`.
        test: the list to judge by; None if the tool must refuse to train.
        options: further ones of `mar-edge train`.
    """

    name: str
    data: Path
    test: Path | None
    options: tuple[str, ...] = ()


def make_sets(shared: Path, folder: Path) -> list[ClipSet]:
    """Return the sets, made below a folder where they are no lists yet.

    Args:
        shared: with `clips` and `data`.
        folder: to write into; it may exist.
    """
    arid = shared / "data" / "arid"
    return [
        ClipSet("arid", arid / "train.csv", arid / "val.csv"),
        _falls(shared / "clips" / "daily", folder / "falls"),
        _gestures(shared / "data" / "gestures_real" / "clips.csv", folder / "gestures"),
        ClipSet("asl", shared / "clips" / "asl", None),
    ]


def _gestures(clips: Path, folder: Path) -> ClipSet:
    """Keep a third of the scenes for the test."""
    if not (folder / "test.csv").exists():
        words = ["data", "split", clips, "--group", "group", "--val", "0", "--test", "33", "-o", folder]
        subprocess.run([*MAR_EDGE, *map(str, words)], check=True)
    return ClipSet("gestures_real", folder / "train.csv", folder / "test.csv", ("--group", "group"))


def _falls(films: Path, folder: Path) -> ClipSet:
    """Cut the films by their labels: falls, and what people do otherwise; one person trains, the other one tests."""
    for part, person in (("train", "s1"), ("test", "s2")):
        if (folder / f"{part}.csv").exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / f"{part}.csv", "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["path", "label", "group"])
            for film in sorted(films.glob(f"{person}_*.mp4")):
                for number, (label, begin_s) in enumerate(_windows(film)):
                    clip = folder / part / f"{film.stem}_{number:02}.mp4"
                    _cut(film, begin_s, clip)
                    rows.writerow([clip.relative_to(folder), label, film.stem])
    return ClipSet("falls", folder / "train.csv", folder / "test.csv", ("--group", "group"))


def _windows(film: Path) -> Iterator[tuple[str, float]]:
    """Yield label and begin of every clip of a film."""
    person, kind, number = film.stem.split("_")
    with open(film.with_name(f"{person}_{kind}.csv"), newline="") as file:
        (said,) = (row[-1] for row in csv.reader(file) if row[0].strip() == f"{number}.mp4")
    for what, begin, end in re.findall(r"([A-Za-z ()]+?)\s*\[\s*([\d.]+) to ([\d.]+)\s*\]", said):
        begin_s = float(begin)
        while begin_s + WINDOW_S <= float(end):
            yield "fall" if "Falling" in what else "activity", begin_s
            begin_s += STEP_S


def _cut(film: Path, begin_s: float, clip: Path) -> None:
    clip.parent.mkdir(exist_ok=True)
    words: list[str | Path] = ["-ss", f"{begin_s:.2f}", "-i", film, "-t", f"{WINDOW_S:.2f}", "-an", "-crf", "18", clip]
    subprocess.run(["ffmpeg", "-v", "error", "-y", *words], check=True)
