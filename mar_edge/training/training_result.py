"""What a training run left behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mar_edge.evaluation.metrics import Evaluation


@dataclass(frozen=True)
class TrainingResult:
    """What a training run left behind.

    Attributes:
        checkpoint: path of the newest checkpoint.
        best: path of the best by validation; None without validation, or if somebody moved it.
        step: steps done so far.
        steps: steps of the recipe.
        accuracy: share of right training clips over the last steps; None for pre-training, or if nothing was left to do.
        validation: of the newest weights; None without validation videos.
        best_top1: validation accuracy of `best`; None without.
        report: path of the report; None before the end.
        data_wait: share of the time that the model waited for clips; NaN if there were no steps.
        interrupted: number of the signal that stopped it; None if none did.
        rank: number of this process; the first, 0, is the one to talk.
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
    rank: int

    @property
    def finished(self) -> bool:
        """Whether the recipe's steps are all done."""
        return self.step >= self.steps
