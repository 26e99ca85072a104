"""What a checkpoint says about how it was made, and what makes two runs the same."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import torch

from mar_edge.bundle import hash_file
from mar_edge.model.checkpoint import CheckpointInfo
from mar_edge.training.recipe import Recipe
from mar_edge.training.videos import VideosPart
from mar_edge.version import __version__

_NOT_THE_SAME_RUN = {
    "name", "description", "licence", "attribution", "idle_label",
    "data.cache", "data.train", "data.val", "data.root", "data.skip_broken", "start", "objective.distil.teacher",
    *(f"trainer.{key}" for key in (
        "batch", "accumulate", "max_minutes", "threads", "workers", "out", "checkpoint_steps", "validate_steps",
        "validate_epochs", "accelerator", "devices", "nodes", "strategy",
    )),
}  # fmt: skip
"""Keys that may change while a run goes on: words, how one sitting goes, and what is known by other means: clips by their
hash, batch, accumulate and devices by their product, and weights to start from by what became of them."""


def identity_of(recipe: Recipe, data_digest: str, batch: int) -> dict[str, str]:
    """Return what must stay the same for a run to go on, by name; keys at their defaults are left out.

    Args:
        recipe: the recipe.
        data_digest: hash of its clips.
        batch: clips in an optimiser step, over all processes.
    """
    said = _flat(recipe.model_dump(mode="json", exclude_defaults=True))
    kept = {
        key: value
        for key, value in said.items()
        if not any(key == other or key.startswith(f"{other}.") for other in _NOT_THE_SAME_RUN)
    }
    return {**kept, "data": f"clips {data_digest}", "trainer.batch x accumulate x devices": str(batch)}


def _flat(values: dict[str, Any], above: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": json.dumps(value)}
    return flat


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
            "started_from": {
                key: _fingerprint(place)
                for key, place in (
                    ("weights", recipe.start.weights),
                    ("teacher", recipe.objective.distil.teacher if recipe.objective.distil else None),
                )
                if place is not None
            },
            **figures,
            "versions": {
                "mar_edge": __version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
        },
    )


def _fingerprint(place: str) -> str:
    """Return the name of weights and, if they are a file that is still there, its hash."""
    path = Path(place)
    return f"{path.name} sha256 {hash_file(path)}" if path.is_file() else path.name
