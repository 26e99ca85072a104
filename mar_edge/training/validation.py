"""Evaluates the model on the validation videos during training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor

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
    tell: Callable[[int, int], None] = lambda _done, _total: None,
) -> Evaluation:
    """Evaluate a model on all validation videos, each process its part of them.

    The scores of a video are the mean over its views; or for `clip_answer: peak` those of the answer that names an action most
    surely, of all views and, with a streaming model, of all their time steps. Otherwise a streaming model is judged after the
    last whole time step of a view. Where a video is shorter than a view, that is the last step before its last frame is
    repeated: live, and in `Model.classify`, nothing stands still after the end.

    Args:
        model: the model; left in evaluation mode.
        clips: the videos.
        mask: the mask (t, h, w) to use.
        fabric: for the device and processes.
        batch: maximum views in a forward pass.
        clip_answer: see `ModelSpec`.
        idle_label: class that is no action; None for none.
        tell: called with the number of videos that are done, and of all.
    """
    peak, idle = clip_answer == "peak", None if idle_label is None else clips.labels.index(idle_label)
    model.eval()
    visible = torch.from_numpy(visible_indices(mask)).to(fabric.device)
    repeated = clips.repeated_frames()
    scores = torch.zeros(len(clips.classes), len(clips.labels), device=fabric.device)
    # with sharded weights every process must call the model equally often
    for first in range(0, len(clips.classes), fabric.world_size):
        tell(first, len(clips.classes))
        index = min(first + fabric.global_rank, len(clips.classes) - 1)
        views = torch.from_numpy(clips.views(index))
        shown = None if peak else views.shape[1] - int(repeated[index])
        with fabric.autocast():  # more at once than in training may not fit
            parts = [_answers(model, part.to(fabric.device), visible, shown) for part in torch.split(views, batch)]
            logits = torch.cat(parts).float()
        logits = logits.flatten(0, -2)  # (answers, classes)
        if peak:
            logits = logits[[peak_of(logits.cpu().numpy(), idle)]]
        if first + fabric.global_rank < len(clips.classes):
            scores[index] = F.softmax(logits, dim=1).mean(dim=0)
    tell(len(clips.classes), len(clips.classes))
    if fabric.world_size > 1:
        scores = fabric.all_reduce(scores, reduce_op="sum")  # type: ignore[assignment]
    return Evaluation(
        labels=clips.labels,
        scores=scores.cpu().numpy().astype(np.float32),
        targets=clips.classes,
        names=tuple(clips.name(index) for index in range(len(clips.classes))),
    )


def _answers(model: MAR, views: Tensor, visible: Tensor, shown: int | None) -> Tensor:
    """Return the logits of views (B, classes); or of all time steps of a streaming model (B, steps, classes).

    All steps of a streaming model run, also those that are not looked at: with sharded weights every process must run
    equally many passes.

    Args:
        model: the model.
        views: uint8 (B, T, H, W, 3).
        visible: token indices.
        shown: frames before the last one is repeated; None for all time steps.
    """
    if not isinstance(model, StreamingMAR):
        out: Tensor = model(views, visible)
        return out
    logits = model.every_step(views, visible)
    return logits if shown is None else logits[:, max(1, shown // model.geometry.tubelet_frames) - 1]
