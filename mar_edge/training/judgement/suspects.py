"""Finds clips whose label is doubtful: a model that never saw their group is sure of another class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mar_edge.evaluation.metrics import Evaluation
from mar_edge.training.baselines.baseline import Baseline
from mar_edge.training.videos import VideosPart

SURE = 0.5
"""Score of another class from which on a model counts as sure of it."""

DOUBT = 0.05
"""Score of the label up to which a model counts as sure that it is wrong."""

MOST = 20
"""Clips that are named, the surest first."""


@dataclass(frozen=True)
class Suspect:
    """A clip to look at: its label is wrong, or it is hard.

    Attributes:
        name: of the clip, as listed; with `findable` a path from here.
        part: `training` or `validation`.
        label: its class.
        looks_like: the class that the model is sure of.
        score: of that class, 0 to 1.
        judge: name of the model.
    """

    name: str
    part: str
    label: str
    looks_like: str
    score: float
    judge: str

    def findable(self, data: VideosPart) -> Suspect:
        """Return it with a path that opens the clip from the folder of the command; lists name clips from their own folder.

        Args:
            data: of the recipe, whose lists name the clip.
        """
        source = data.train[0] if self.part == "training" or data.val is None else data.val
        path = os.path.join(data.root or (source if source.is_dir() else source.parent), self.name)
        short = os.path.normpath(path)
        same = os.path.exists(short) and os.path.samefile(short, path)  # through a link, `..` leads elsewhere
        return replace(self, name=short if same else path)


def find_suspects(chosen: str, validation: Evaluation | None, baselines: Sequence[Baseline]) -> list[Suspect]:
    """Find doubtful labels: of validation clips by the chosen model, of training clips by the best baseline while their group is left out.

    Args:
        chosen: name of the chosen model.
        validation: its scores of validation clips; None without them.
        baselines: of the same recipe; those without scores of training clips are left out.

    Returns:
        At most `MOST`, the surest first.
    """
    found = [] if validation is None else _of(validation, "validation", chosen)
    held_out = [(one.held_out.loss, one.name, one.held_out) for one in baselines if one.held_out is not None]
    if held_out:
        _, name, evaluation = min(held_out, key=lambda one: one[0])
        found += _of(evaluation, "training", name)
    return sorted(found, key=lambda one: -one.score)[:MOST]


def _of(evaluation: Evaluation, part: str, judge: str) -> list[Suspect]:
    true = np.take_along_axis(evaluation.scores, evaluation.targets[:, None], axis=1)[:, 0]
    best = evaluation.scores.max(axis=1)
    return [
        Suspect(
            name=evaluation.names[place],
            part=part,
            label=evaluation.labels[evaluation.targets[place]],
            looks_like=evaluation.labels[evaluation.predicted[place]],
            score=float(best[place]),
            judge=judge,
        )
        for place in np.flatnonzero((true <= DOUBT) & (best >= SURE)).tolist()
    ]
