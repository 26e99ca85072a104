"""The result of a training run, and its report."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from mar_edge.evaluation.metrics import Evaluation
from mar_edge.evaluation.report import write_report
from mar_edge.training.baselines.baseline import BASELINES, read_baselines, say_verdict
from mar_edge.training.progress import RATE
from mar_edge.training.recipe import Recipe
from mar_edge.training.training_data import TrainingData
from mar_edge.version import __version__


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training run.

    Attributes:
        checkpoint: path of the newest checkpoint.
        best: path of the best by validation; None without validation, or if it was moved.
        step: steps done so far.
        steps: steps of the recipe.
        accuracy: share of correctly classified training clips over the last steps; None for pre-training, or if no steps were left.
        validation: of the newest weights; None without validation videos.
        best_top1: validation accuracy of `best`; None without.
        report: path of the report; None before the end.
        data_wait: share of the time that the model waited for clips; NaN if there were no steps.
        interrupted: number of the signal that stopped it; None if none did.
        verdict: whether the best weights are better than the best baseline, a sentence; None without baselines.
        rank: number of this process; only the first, 0, prints messages.
    """

    checkpoint: Path
    best: Path | None
    step: int
    steps: int
    accuracy: float | None
    validation: Evaluation | None
    best_top1: float | None
    report: Path | None
    data_wait: float
    interrupted: int | None
    verdict: str | None
    rank: int

    @property
    def finished(self) -> bool:
        """Whether all steps of the recipe are done."""
        return self.step >= self.steps


def report_training(
    path: Path, recipe: Recipe, data: TrainingData, progress: dict[str, Any], evaluation: Evaluation | None
) -> str | None:
    """Write the report of a finished training, with the baselines that lie beside it.

    Args:
        path: the HTML file.
        recipe: the training.
        data: its data.
        progress: of the trainer: `step`, `rows`, `best`, `elapsed_s`, `waited_s`.
        evaluation: of the best weights on the validation videos; None without them.

    Returns:
        Whether they are better than the best baseline, a sentence; None without baselines.

    Raises:
        OutputError: if it cannot be written.
    """
    elapsed_s = progress["elapsed_s"]
    facts = {
        "training clips": f"{len(data.train.classes)}, data {data.digest}",
        "steps": f"{progress['step']}, seed {recipe.seed}",
        "time": f"{timedelta(seconds=round(elapsed_s))} of steps; {progress['waited_s'] / elapsed_s:.1%} of it waiting for clips",
        "mask": f"{recipe.mask.kind} {recipe.mask.ratio:.0%}",
        "versions": f"mar-edge {__version__}, torch {torch.__version__}, Python {platform.python_version()}",
    }
    if progress["best"]:
        best = progress["best"]
        facts["best checkpoint"] = f"step {best['step']}, validation top-1 {best['val_top1']:.1%}"
    baselines = read_baselines(path.parent / BASELINES) if recipe.baselines else []
    verdict = None if evaluation is None else say_verdict(evaluation, baselines)
    facts |= {f"baseline {one.name}": one.figures for one in baselines}
    facts |= {} if verdict is None else {"against the baselines": verdict}
    val = data.val
    write_report(
        path,
        title=f"Training of {recipe.name}",
        facts=facts,
        history=[{name: value for name, value in row.items() if name != RATE} for row in progress["rows"]],
        evaluation=evaluation,
        pictures=None if val is None else lambda index: val.views(index)[0],
    )
    return verdict
