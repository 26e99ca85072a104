"""The result of a training run: the weights to use, the judgement, and the report."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import torch

from mar_edge.evaluation.metrics import Evaluation
from mar_edge.evaluation.report import write_report
from mar_edge.training.baselines.baseline import BASELINES, Baseline, read_baselines
from mar_edge.training.judgement.choice import CHOSEN, TUNED, Candidate, choose, write_chosen
from mar_edge.training.judgement.judgement import (
    Judgement,
    judge_detection,
    judge_fit,
    judge_groups,
    recognised,
)
from mar_edge.training.judgement.looks import Looks
from mar_edge.training.judgement.next_commands import Trained, next_commands
from mar_edge.training.judgement.suspects import find_suspects
from mar_edge.training.progress import RATE
from mar_edge.training.recipe import Recipe
from mar_edge.training.run_folder import BEST, LAST, REPORT
from mar_edge.training.training_data import TrainingData
from mar_edge.training.videos import VideosPart
from mar_edge.version import __version__

Ended = Literal["steps", "patience", "time", "signal"]
"""Why a training ended: all steps are done, the validation loss fell no more, or its time limit or a signal stopped it."""

DECAYED = 0.1
"""Share of the highest learning rate from which on a schedule has not decayed yet."""


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training run.

    Attributes:
        checkpoint: path of the newest checkpoint.
        best: path of the best fine-tuned one by validation; None without validation, or if it was moved.
        step: steps done so far.
        steps: steps of the recipe.
        accuracy: share of correctly classified training clips over the last steps; None for pre-training, or if no steps were left.
        validation: of the newest weights; None without validation videos.
        best_top1: validation accuracy of `best`; None without.
        data_wait: share of the time that the model waited for clips; NaN if there were no steps.
        ended: why it ended.
        interrupted: number of the signal that stopped it; None if none did.
        judgement: the weights to use, and what there is to say of them; None before the end, for pre-training, and for all
            processes but the first.
        rank: number of this process; only the first, 0, prints messages.
    """

    checkpoint: Path
    best: Path | None
    step: int
    steps: int
    accuracy: float | None
    validation: Evaluation | None
    best_top1: float | None
    data_wait: float
    ended: Ended
    interrupted: int | None
    judgement: Judgement | None
    rank: int

    @property
    def finished(self) -> bool:
        """Whether the same command would not go on: all steps of the recipe are done, or its patience is."""
        return self.ended in ("steps", "patience")

    @property
    def chosen(self) -> Path | None:
        """Path of the weights to use; None without a judgement."""
        return None if self.judgement is None else self.judgement.weights

    @property
    def report(self) -> Path | None:
        """Path of the report; None before the end."""
        return self.checkpoint.parent / REPORT if self.finished else None

    @property
    def lines(self) -> list[str]:
        """What to tell a person in a terminal."""
        going_on = "" if self.finished else "; the same command resumes"
        said = [f"step {self.step} of {self.steps}{going_on}"]
        if self.accuracy is not None:
            said.append(f"top-1 of the last training steps {self.accuracy:.3f}")
        if self.best is not None:
            said.append(f"best fine-tuned weights, validation top-1 {self.best_top1:.3f}: {self.best}")
        said.append(f"newest: {self.checkpoint}")
        said += [] if self.judgement is None else self.judgement.short
        return said if self.report is None else [*said, f"report: {self.report}"]


def judge_training(
    recipe: Recipe, data: TrainingData, progress: Mapping[str, Any], evaluation: Evaluation | None
) -> Judgement | None:
    """Judge a finished training, write the weights to use and the report, with the baselines that lie beside it.

    Args:
        recipe: the training.
        data: its data.
        progress: of the trainer: `step`, `steps`, `rows`, `best`, `elapsed_s`, `waited_s`, `lr_share`.
        evaluation: of the best fine-tuned weights on the validation videos; None without them.

    Returns:
        The judgement; None for pre-training.

    Raises:
        OutputError: if a file cannot be written.
    """
    baselines = read_baselines(recipe.trainer.out / BASELINES) if recipe.baselines else []
    judgement = None if recipe.task == "pretrain" else _judge(recipe, data, progress, evaluation, baselines)
    judged = None if judgement is None else judgement.choice.chosen.evaluation
    val = data.val
    write_report(
        recipe.trainer.out / REPORT,
        title=f"Training of {recipe.name}",
        facts=_facts(recipe, data, progress, baselines),
        history=[{name: value for name, value in row.items() if name != RATE} for row in progress["rows"]],
        kept_step=progress["best"]["step"] if progress["best"] else None,
        curves_of="" if judgement is None else judgement.choice.curves_of,
        evaluation=judged,
        detection=None if judgement is None else judgement.detection,
        pictures=None if val is None else lambda index: val.views(index)[0],
        answers=() if judgement is None else judgement.answers,
        commands=() if judgement is None else judgement.commands,
    )
    return judgement


def _judge(
    recipe: Recipe,
    data: TrainingData,
    progress: Mapping[str, Any],
    evaluation: Evaluation | None,
    baselines: list[Baseline],
) -> Judgement:
    folder = recipe.trainer.out
    best = folder / BEST
    tuned = best if evaluation is not None and best.exists() else folder / LAST
    choice = choose(Candidate(TUNED, evaluation, tuned), baselines)
    assert choice.chosen.checkpoint is not None
    weights = folder / CHOSEN
    write_chosen(weights, choice, choice.chosen.checkpoint)
    judged = choice.chosen.evaluation
    detection = None if judged is None else judge_detection(recipe, judged)
    suspects = find_suspects(choice.chosen.name, judged, baselines)
    if isinstance(recipe.data, VideosPart):
        suspects = [one.findable(recipe.data) for one in suspects]
    return Judgement(
        choice=choice,
        weights=weights,
        ended=_ended_early(progress),
        fit=judge_fit(Looks.of(progress["rows"]), recognised(progress["rows"])),
        groups=() if judged is None else judge_groups(judged),
        detection=detection,
        suspects=tuple(suspects),
        leaks=data.leaks,
        commands=tuple(next_commands(Trained.by(recipe, weights), detects=detection is not None)),
    )


def _ended_early(progress: Mapping[str, Any]) -> str | None:
    """Say that patience ended the training, and what it means for the learning rate."""
    if progress["step"] >= progress["steps"]:
        return None
    best = progress["best"]
    since = f"the validation loss has not fallen since step {best['step']}" if best else "no validation loss was finite"
    said = f"Stopped by trainer.patience after step {progress['step']} of {progress['steps']}: {since}"
    if progress["lr_share"] <= DECAYED or not best:
        return said
    return (
        f"{said}. The learning rate was still {progress['lr_share']:.0%} of its highest: a new run with "
        f"trainer.steps={max(1, round(1.25 * best['step']))} would let it fall, and may end better"
    )


def _facts(
    recipe: Recipe, data: TrainingData, progress: Mapping[str, Any], baselines: list[Baseline]
) -> dict[str, str]:
    elapsed_s = progress["elapsed_s"]
    waiting = f"; {progress['waited_s'] / elapsed_s:.1%} of it waiting for clips" if elapsed_s else ""
    facts = {
        "training clips": f"{len(data.train.classes)}, data {data.digest}",
        "steps": f"{progress['step']} of {progress['steps']}, seed {recipe.seed}",
        "time": f"{timedelta(seconds=round(elapsed_s))} of steps{waiting}",
        "mask": f"{recipe.mask.kind} {recipe.mask.ratio:.0%}",
        "versions": f"mar-edge {__version__}, torch {torch.__version__}, Python {platform.python_version()}",
    }
    if progress["best"]:
        best = progress["best"]
        facts["best fine-tuned"] = (
            f"step {best['step']}, validation top-1 {best['val_top1']:.1%}, loss {best['val_loss']:.3f}"
        )
    return facts | {f"baseline {one.name}": one.figures for one in baselines}
