"""The commands that follow a training: export, evaluate, run."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mar_edge.printable import typed
from mar_edge.training.recipe import Recipe
from mar_edge.training.videos import VideosPart

FALSE_ALARMS = 0.05
"""Share of clips of other classes that may begin an event, for which onsets are chosen."""

_VALIDATION = ("val", "valid", "validation")


class NextCommand(NamedTuple):
    """A command to copy.

    Attributes:
        does: what it does, in words.
        line: as typed into a shell.
    """

    does: str
    line: str


@dataclass(frozen=True)
class Trained:
    """What the commands name, with paths as the recipe has them.

    Attributes:
        name: of the model.
        out: folder of the training.
        weights: the checkpoint to use.
        train: lists or folders to train with; None for drawn clips.
        val: what chose the weights; None for none.
        test: what chose nothing; None for none.
        root: what relative paths of the lists start from; None for their folders.
    """

    name: str
    out: Path
    weights: Path
    train: Path | None
    val: Path | None
    test: Path | None
    root: Path | None = None

    @classmethod
    def by(cls, recipe: Recipe, weights: Path) -> Trained:
        """Return the names of a recipe; a test list is one that lies beside the validation list."""
        data = recipe.data if isinstance(recipe.data, VideosPart) else None
        if data is None:
            return cls(recipe.name, recipe.trainer.out, weights, None, None, None)
        return cls(
            recipe.name, recipe.trainer.out, weights, data.train[0], data.val, _test_beside(data.val), root=data.root
        )


def named_after(folder: Path) -> str:
    """Return a model's name from the folder of its training, which may be `.`."""
    return Path(os.path.abspath(folder)).name or "model"


def next_commands(trained: Trained, *, detects: bool) -> list[NextCommand]:
    """Return what to type after a training.

    Args:
        trained: what to name.
        detects: whether onsets of events are worth choosing.
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", trained.name).lstrip(".-") or "model"
    bundle = trained.out / f"{name}.mar"
    return [
        _export(trained, bundle),
        *_judge(trained, bundle, detects),
        NextCommand("run it on a camera", command("run", "--model", bundle, "--camera", "0")),
    ]


def _export(trained: Trained, bundle: Path) -> NextCommand:
    words: list[str | Path] = ["export", trained.weights, "-o", bundle]
    if trained.train is None:
        return NextCommand("export it (drawn clips are no list to calibrate INT8 on)", command(*words))
    # lists of another root cannot be named to export; their folder can
    clips = trained.train if trained.root is None else trained.root
    words += ["--precision", "fp32", "--precision", "int8", "--calibrate", clips]
    if trained.val is not None and trained.root is None:
        words += ["--data", trained.val]
    return NextCommand("export it, also in INT8, each graph compared with torch", command(*words))


def _judge(trained: Trained, bundle: Path, detects: bool) -> Iterator[NextCommand]:
    root: list[str | Path] = [] if trained.root is None else ["--root", trained.root]
    report: list[str | Path] = ["--report", bundle.with_name(f"{bundle.stem}.html")]
    if trained.val is not None and detects:
        told = (
            f"choose the onset of each class for {100 * FALSE_ALARMS:g} % of false alarms, and write it into the bundle"
        )
        onset = ["--false-alarms", f"{FALSE_ALARMS:g}", "--set-onset"]
        yield NextCommand(told, command("evaluate", bundle, "--data", trained.val, *root, *onset))
    if trained.test is not None:
        told = "judge what was exported, on clips that chose nothing"
        yield NextCommand(told, command("evaluate", bundle, "--data", trained.test, *root, *report))
    elif trained.val is not None:
        told = "judge what was exported; give a test list that chose nothing"
        yield NextCommand(told, command("evaluate", bundle, "--data", trained.val, *root, *report))


def _test_beside(val: Path | None) -> Path | None:
    """Return `test.csv` beside `val.csv`, or the folder `test` beside `val`; None if there is none."""
    if val is None or val.stem.lower() not in _VALIDATION:
        return None
    path = val.with_name(f"test{val.suffix}")
    return path if path.exists() else None


def command(*words: str | Path) -> str:
    """Return a command of mar-edge as typed."""
    return " ".join(["mar-edge", *(typed(word) if isinstance(word, Path) else shlex.quote(word) for word in words)])
