"""Evaluates the model on the validation videos during training."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric

from mar_edge.evaluation.metrics import Evaluation
from mar_edge.masking import Mask, visible_indices
from mar_edge.model.mar import MAR
from mar_edge.model.streaming import StreamingMAR
from mar_edge.model_spec import ClipAnswer
from mar_edge.runtime.clips.clip_answers import peak_of
from mar_edge.training.videos import VideoClips


@torch.no_grad()
def validate(
    model: MAR,
    clips: VideoClips,
    mask: Mask,
    fabric: Fabric,
    *,
    batch: int,
    clip_answer: ClipAnswer = "mean",
    idle_label: str | None = None,
) -> Evaluation:
    """Evaluate a model on all validation videos, each process its part of them.

    The scores of a video are the mean over its views; or for `clip_answer: peak` those of the answer that names an action most
    surely, of all views and, with a streaming model, of all their time steps.

    Args:
        model: the model; left in evaluation mode.
        clips: the videos.
        mask: the mask (t, h, w) to use.
        fabric: for the device and processes.
        batch: maximum views in a forward pass.
        clip_answer: see `ModelSpec`.
        idle_label: class that is no action; None for none.
    """
    peak, idle = clip_answer == "peak", None if idle_label is None else clips.labels.index(idle_label)
    run = model.every_step if peak and isinstance(model, StreamingMAR) else model
    model.eval()
    visible = torch.from_numpy(visible_indices(mask)).to(fabric.device)
    scores = torch.zeros(len(clips.classes), len(clips.labels), device=fabric.device)
    # with sharded weights every process must call the model equally often
    for first in range(0, len(clips.classes), fabric.world_size):
        index = min(first + fabric.global_rank, len(clips.classes) - 1)
        views = torch.from_numpy(clips.views(index))
        with fabric.autocast():  # more at once than in training may not fit
            logits = torch.cat([run(part.to(fabric.device), visible).float() for part in torch.split(views, batch)])
        logits = logits.flatten(0, -2)  # (answers, classes)
        if peak:
            logits = logits[[peak_of(logits.cpu().numpy(), idle)]]
        if first + fabric.global_rank < len(clips.classes):
            scores[index] = F.softmax(logits, dim=1).mean(dim=0)
    if fabric.world_size > 1:
        scores = fabric.all_reduce(scores, reduce_op="sum")  # type: ignore[assignment]
    return Evaluation(
        labels=clips.labels,
        scores=scores.cpu().numpy().astype(np.float32),
        targets=clips.classes,
        names=tuple(clips.name(index) for index in range(len(clips.classes))),
    )
