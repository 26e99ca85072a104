"""What a checkpoint says about how it was made, and what makes two runs the same."""

from __future__ import annotations

import json
import platform
from typing import Any

import torch

import mar_edge
from mar_edge.model.checkpoint import CheckpointInfo
from mar_edge.training.recipe import Recipe
from mar_edge.training.videos import VideosPart

_WORDS = dict.fromkeys(("name", "description", "licence", "attribution", "idle_label"), True)

_SITTING = {
    "batch", "accumulate", "max_minutes", "threads", "workers", "out", "checkpoint_steps", "validate_steps", "validate_epochs",
    "accelerator", "devices", "nodes", "strategy",
}  # fmt: skip
"""How one sitting goes; batch, accumulate and devices only through the clips of a step, which their product is."""


def identity_of(recipe: Recipe, data_digest: str, batch: int) -> dict[str, str]:
    """Return what must stay the same for a run to go on, by name.

    Args:
        recipe: the recipe.
        data_digest: hash of its clips.
        batch: clips in an optimiser step, over all processes.
    """
    kept = recipe.model_dump(mode="json", exclude={**_WORDS, "trainer": _SITTING, "data": {"cache"}})
    return {
        "recipe": json.dumps(kept, sort_keys=True),
        "data": data_digest,
        "batch x accumulate x devices": str(batch),
    }


def checkpoint_info(
    recipe: Recipe, labels: tuple[str, ...], data_digest: str, figures: dict[str, Any]
) -> CheckpointInfo:
    """Return what a checkpoint of a recipe says about itself.

    Args:
        recipe: the recipe.
        labels: class names.
        data_digest: hash of its clips.
        figures: step, and what was measured there.
    """
    videos = recipe.data if isinstance(recipe.data, VideosPart) else None
    command = {"classify": "train", "pretrain": "pretrain"}[recipe.task]
    # where things lie on the machine of whoever trained is nobody's business
    places = {"cache", "pictures", "videos", "train", "val", "root"}
    said = recipe.model_dump(
        mode="json",
        exclude={
            "attribution": True,
            "trainer": {"out"},
            "data": places,
            "start": {"weights"},
            "objective": {"distil": {"teacher"}},
        },
    )
    return CheckpointInfo(
        name=recipe.name,
        description=recipe.description,
        licence=recipe.licence,
        labels=list(labels),
        rate_fps=recipe.data.rate_fps,
        resize="stretch" if videos is None else videos.resize,
        sampling="dense" if videos is None else videos.sampling,
        mask_ratio=recipe.mask.ratio,
        idle_label=recipe.idle_label,
        provenance={
            "command": f"mar-edge {command} {recipe.name}.yaml",
            "data": list(recipe.attribution),
            "recipe": said,
            "data_digest": data_digest,
            **figures,
            "versions": {
                "mar_edge": mar_edge.__version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
        },
    )
