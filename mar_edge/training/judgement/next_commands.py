"""The commands that follow a training: export, evaluate, run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mar_edge.training.recipe import Recipe
from mar_edge.training.videos import VideosPart


class NextCommand(NamedTuple):
    """A command to copy.

    Attributes:
        does: what it does, in words.
        line: as typed into a shell.
    """

    does: str
    line: str


def next_commands(recipe: Recipe, weights: Path, *, detects: bool, false_alarms: float) -> list[NextCommand]:
    """Return what to type after a training, with paths as the recipe has them.

    Args:
        recipe: that was trained.
        weights: the checkpoint to use.
        detects: whether onsets of events are worth choosing.
        false_alarms: for which share of false alarms.
    """
    bundle = recipe.trainer.out / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', recipe.name).lstrip('.-') or 'model'}.mar"
    data = recipe.data if isinstance(recipe.data, VideosPart) else None
    return [
        _export(data, weights, bundle),
        *(
            ()
            if data is None or data.val is None
            else _judge(data, data.val, bundle, false_alarms if detects else None)
        ),
        NextCommand("run it on a camera", _line("run", "--model", bundle, "--camera", "0")),
    ]


def _export(data: VideosPart | None, weights: Path, bundle: Path) -> NextCommand:
    words: list[str | Path] = ["export", weights, "-o", bundle]
    if data is None:
        return NextCommand("export it (drawn clips are no list to calibrate INT8 on)", _line(*words))
    # lists of another root cannot be named to export; their folder can
    clips = data.train[0] if data.root is None else data.root
    words += ["--precision", "fp32", "--precision", "int8", "--calibrate", clips]
    if data.val is not None and data.root is None:
        words += ["--data", data.val]
    return NextCommand("export it, also in INT8, each graph compared with torch", _line(*words))


def _judge(data: VideosPart, val: Path, bundle: Path, false_alarms: float | None) -> Iterator[NextCommand]:
    words: list[str | Path] = ["evaluate", bundle, "--data", val]
    words += [] if data.root is None else ["--root", data.root]
    if false_alarms is not None:
        told = (
            f"choose the onset of each class for {100 * false_alarms:g} % of false alarms, and write it into the bundle"
        )
        yield NextCommand(told, _line(*words, "--false-alarms", f"{false_alarms:g}", "--set-onset"))
    report = bundle.with_suffix(".html")
    yield NextCommand("judge what was exported; give a test list that chose nothing", _line(*words, "--report", report))


def _line(*words: str | Path) -> str:
    return shlex.join(["mar-edge", *(_typed(word) for word in words)])


def _typed(word: str | Path) -> str:
    """Return a word as typed; a path that begins with a dash would be an option."""
    text = str(word)
    return f"./{text}" if isinstance(word, Path) and text.startswith("-") else text
