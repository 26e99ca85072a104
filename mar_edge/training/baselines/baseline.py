"""A baseline's result, and the file that keeps the results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mar_edge.counting import counted
from mar_edge.evaluation.metrics import Evaluation
from mar_edge.files.atomic_file import write_output
from mar_edge.files.json_text import parse_json
from mar_edge.files.marks import lines_kind, mark_record
from mar_edge.training.baselines.comparison import mean_interval95, say_difference

BASELINES = "baselines.jsonl"
SCHEMA = "mar-edge/baselines/1"
BASELINES_KIND = lines_kind("list of baselines", SCHEMA, "baseline")


@dataclass(frozen=True)
class Baseline:
    """What is reached without training a network.

    Attributes:
        name: `majority`, `flow`, or `probe of MODEL`.
        seconds: time it took, decoding included.
        held_out_top1: share of the training clips that are recognised while their group is left out; None for `majority`.
        held_out_loss: mean -ln(probability of the true class) of these clips; None for `majority`.
        clips: training clips.
        groups: of every validation clip, in the order of `evaluation`; empty without validation videos.
        evaluation: on the validation videos; None without them.
        checkpoint: the model, which can be exported and run; None for what is no network.
    """

    name: str
    seconds: float
    held_out_top1: float | None
    held_out_loss: float | None
    clips: int
    groups: tuple[str, ...]
    evaluation: Evaluation | None
    checkpoint: Path | None

    @property
    def said(self) -> str:
        """One line for the user."""
        text = f"baseline {self.name}: {self.figures}"
        return text if self.checkpoint is None else f"{text}: {self.checkpoint}"

    @property
    def figures(self) -> str:
        """How well it does, and how long it took."""
        parts = []
        if self.evaluation is not None:
            low, high = mean_interval95(self.evaluation.right, self.groups)
            shown = counted(len(self.groups), "validation clip")
            parts.append(f"{self.evaluation.top1:.1%} of {shown} (95 %: {low:.1%} to {high:.1%})")
        if self.held_out_top1 is not None:
            parts.append(f"{self.held_out_top1:.1%} of {counted(self.clips, 'training clip')} whose group is left out")
        return "; ".join([*(parts or ["no validation videos"]), f"{self.seconds:.1f} s"])

    def to_json(self) -> dict[str, Any]:
        """Return a plain record with the scores of every validation clip."""
        record: dict[str, Any] = {
            "baseline": self.name,
            "seconds": round(self.seconds, 1),
            "train_clips": self.clips,
            "held_out_top1": self.held_out_top1,
            "held_out_loss": self.held_out_loss,
            "checkpoint": None if self.checkpoint is None else self.checkpoint.name,
        }
        if self.evaluation is None:
            return record
        scores = self.evaluation.scores.tolist()
        return {
            **record,
            "top1": self.evaluation.top1,
            "interval95": list(mean_interval95(self.evaluation.right, self.groups)),
            "labels": list(self.evaluation.labels),
            "clips": [
                {"name": name, "group": group, "label": self.evaluation.labels[target], "scores": row}
                for name, group, target, row in zip(
                    self.evaluation.names, self.groups, self.evaluation.targets.tolist(), scores, strict=True
                )
            ],
        }


def read_baselines(path: Path) -> list[Baseline]:
    """Read what `write_baselines` wrote; empty if there is no such file, or it is damaged."""
    try:
        records = [parse_json(line) for line in path.read_bytes().splitlines()]
        return [_read_one(record, path.parent) for record in records]
    except (OSError, ValueError, LookupError, TypeError):
        return []


def _read_one(record: dict[str, Any], folder: Path) -> Baseline:
    evaluation, clips = None, record.get("clips", ())
    if clips:
        labels = tuple(record["labels"])
        evaluation = Evaluation(
            labels=labels,
            scores=np.array([clip["scores"] for clip in clips], np.float32),
            targets=np.array([labels.index(clip["label"]) for clip in clips], np.int64),
            names=tuple(clip["name"] for clip in clips),
        )
    return Baseline(
        name=record["baseline"],
        seconds=record["seconds"],
        held_out_top1=record["held_out_top1"],
        held_out_loss=record["held_out_loss"],
        clips=record["train_clips"],
        groups=tuple(clip["group"] for clip in clips),
        evaluation=evaluation,
        checkpoint=None if record["checkpoint"] is None else folder / record["checkpoint"],
    )


def best_baseline(baselines: Sequence[Baseline]) -> Baseline | None:
    """Return the one that recognises most validation clips, of equal ones that with the least loss; None without validation."""
    judged = [
        (one.evaluation.top1, -one.evaluation.loss, -place) for place, one in enumerate(baselines) if one.evaluation
    ]
    return baselines[-max(judged)[2]] if judged else None


def say_verdict(evaluation: Evaluation, baselines: Sequence[Baseline]) -> str | None:
    """Say whether training was worth it: whether a model is better than the best baseline.

    Args:
        evaluation: of the trained model, on the clips that the baselines were judged on.
        baselines: of its recipe.

    Returns:
        One sentence; None without baselines, or if they were judged on other clips.
    """
    best = best_baseline(baselines)
    if best is None or best.evaluation is None or set(best.evaluation.names) != set(evaluation.names):
        return None
    return say_difference("Fine-tuning", evaluation, f"the baseline {best.name}", best.evaluation, best.groups)


def write_baselines(path: Path, baselines: Sequence[Baseline]) -> None:
    """Write one JSON object a line for each baseline; an existing file is replaced if it is one of these.

    Raises:
        OutputError: if it cannot be written.
    """
    records = [baseline.to_json() for baseline in baselines]
    marked = [record if index else mark_record(record, SCHEMA) for index, record in enumerate(records)]
    text = "".join(json.dumps(record) + "\n" for record in marked)
    write_output(path, text.encode(), kind=BASELINES_KIND)
