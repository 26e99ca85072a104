"""A baseline's result, and the file that keeps the results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mar_edge.counting import counted
from mar_edge.evaluation.metrics import Evaluation
from mar_edge.files.atomic_file import write_output
from mar_edge.files.json_text import parse_json
from mar_edge.files.marks import lines_kind, mark_record
from mar_edge.training.baselines.comparison import share_interval95

BASELINES = "baselines.jsonl"
SCHEMA = "mar-edge/baselines/1"
BASELINES_KIND = lines_kind("list of baselines", SCHEMA, "baseline")

MOST_SCORES = 1_000_000
"""With more training clips times classes, their scores are not kept: about 7 bytes each."""


@dataclass(frozen=True)
class Baseline:
    """What is reached without training a network.

    Attributes:
        name: `majority`, `flow`, or `probe of MODEL`.
        seconds: time it took, decoding included.
        held_out_top1: share of the training clips that are recognised while their group is left out; None for `majority`.
        held_out_loss: mean -ln(probability of the true class) of these clips; None for `majority`.
        held_out: on these clips; None for `majority`, or with more than `MOST_SCORES` scores.
        clips: training clips.
        groups: of every validation clip, in the order of `evaluation`; empty without validation videos.
        evaluation: on the validation videos; None without them.
        checkpoint: the model, which can be exported and run; None for what is no network.
    """

    name: str
    seconds: float
    held_out_top1: float | None
    held_out_loss: float | None
    held_out: Evaluation | None
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
            low, high = share_interval95(self.evaluation.right, self.groups)
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
        judged = [one for one in (self.evaluation, self.held_out) if one is not None]
        if judged:
            record["labels"] = list(judged[0].labels)
        if self.held_out is not None:
            record["held_out"] = list(_clips(self.held_out, digits=4))
        if self.evaluation is None:
            return record
        clips = zip(_clips(self.evaluation), self.groups, strict=True)
        return {
            **record,
            "top1": self.evaluation.top1,
            "interval95": list(share_interval95(self.evaluation.right, self.groups)),
            "clips": [{**clip, "group": group} for clip, group in clips],
        }


def read_baselines(path: Path) -> list[Baseline]:
    """Read what `write_baselines` wrote; empty if there is no such file, or it is damaged."""
    try:
        records = [parse_json(line) for line in path.read_bytes().splitlines()]
        return [_read_one(record, path.parent) for record in records]
    except (OSError, ValueError, LookupError, TypeError):
        return []


def _read_one(record: dict[str, Any], folder: Path) -> Baseline:
    labels, clips = tuple(record.get("labels", ())), record.get("clips", ())
    return Baseline(
        name=record["baseline"],
        seconds=record["seconds"],
        held_out_top1=record["held_out_top1"],
        held_out_loss=record["held_out_loss"],
        held_out=_evaluation(labels, record.get("held_out", ())),
        clips=record["train_clips"],
        groups=tuple(clip["group"] for clip in clips),
        evaluation=_evaluation(labels, clips),
        checkpoint=None if record["checkpoint"] is None else folder / record["checkpoint"],
    )


def _clips(evaluation: Evaluation, digits: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield a plain record of every clip."""
    scores = evaluation.scores.astype(np.float64)
    rows = (scores if digits is None else scores.round(digits)).tolist()
    for name, target, row in zip(evaluation.names, evaluation.targets.tolist(), rows, strict=True):
        yield {"name": name, "label": evaluation.labels[target], "scores": row}


def _evaluation(labels: tuple[str, ...], clips: Sequence[dict[str, Any]]) -> Evaluation | None:
    """Return what records of `_clips` say; None if there are none."""
    if not clips:
        return None
    return Evaluation(
        labels=labels,
        scores=np.array([clip["scores"] for clip in clips], np.float32),
        targets=np.array([labels.index(clip["label"]) for clip in clips], np.int64),
        names=tuple(clip["name"] for clip in clips),
    )


def write_baselines(path: Path, baselines: Sequence[Baseline]) -> None:
    """Write one JSON object a line for each baseline; an existing file is replaced if it is one of these.

    Raises:
        OutputError: if it cannot be written.
    """
    records = [baseline.to_json() for baseline in baselines]
    marked = [record if index else mark_record(record, SCHEMA) for index, record in enumerate(records)]
    text = "".join(json.dumps(record) + "\n" for record in marked)
    write_output(path, text.encode(), kind=BASELINES_KIND)
