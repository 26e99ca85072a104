"""The provenance in a checkpoint, and what identifies a run."""

from __future__ import annotations

import json
import platform
import shlex
from pathlib import Path
from typing import Any

import torch
import yaml

from mar_edge.bundle import MANIFEST
from mar_edge.files.graph_files import hash_file
from mar_edge.model.checkpoint import CheckpointInfo
from mar_edge.training.recipe import COMMANDS, Recipe
from mar_edge.training.videos import VideosPart
from mar_edge.version import __version__

_NOT_THE_SAME_RUN = {
    "name", "description", "licence", "attribution", "idle_label", "events", "clip_answer", "baselines",
    "data.cache", "data.train", "data.val", "data.root", "data.skip_broken", "start", "objective.distil.teacher",
    *(f"trainer.{key}" for key in (
        "batch", "accumulate", "max_minutes", "threads", "workers", "out", "checkpoint_steps", "validate_steps",
        "validate_epochs", "patience", "accelerator", "devices", "nodes", "strategy",
    )),
}  # fmt: skip
"""Keys that may change before a run resumes: texts, limits of one start, and what is identified otherwise: clips by their
hash, batch, accumulate and devices by their product, and initial weights by the resulting state."""


_PLACES = {
    "data.cache", "data.train", "data.val", "data.root", "data.labels", "data.pictures", "data.videos",
    "start.weights", "objective.distil.teacher", "trainer.out",
}  # fmt: skip
"""Keys that name files and folders."""


def identity_of(recipe: Recipe, data_digest: str, batch: int) -> dict[str, str]:
    """Return what must stay the same for a run to resume, by name; keys at their defaults are left out.

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
    """Return the provenance for a checkpoint of a recipe.

    Args:
        recipe: the recipe.
        labels: class names.
        data_digest: hash of its clips.
        figures: step, and the measurements at that step.
    """
    videos = recipe.data if isinstance(recipe.data, VideosPart) else None
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
        events=recipe.events,
        clip_answer=recipe.clip_answer,
        provenance={
            **_origin(recipe),
            "data": list(recipe.attribution),
            "recipe": _shown(recipe.model_dump(mode="json", exclude={"attribution"})),
            "data_digest": data_digest,
            "started_from": {
                key: fingerprint_of_weights(place)
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


def _origin(recipe: Recipe) -> dict[str, Any]:
    """Return the command, and the file, that a recipe comes from."""
    file = recipe.file
    if file is None:
        return {"command": "mar_edge.training.trainer.train, with a recipe created in Python"}
    overrides = [_shown_override(override) for override in file.overrides]
    words = ["mar-edge", COMMANDS[recipe.task], _place(file.path), *overrides]
    return {
        "command": shlex.join(words),
        "recipe_file": {"path": _place(file.path), "sha256": file.sha256, "overrides": overrides},
    }


def _shown(values: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Return a recipe's values, with places on this machine as `_place` shows them."""
    return {
        key: _shown(value, f"{above}{key}.") if isinstance(value, dict) else _shown_value(f"{above}{key}", value)
        for key, value in values.items()
    }


def _shown_value(key: str, value: Any) -> Any:
    if key not in _PLACES:
        return value
    if isinstance(value, (list, tuple)) and key != "data.labels":
        return [_place(place) for place in value]
    return _place(value) if isinstance(value, str) else value


def _shown_override(override: str) -> str:
    key, _, text = override.partition("=")
    value = yaml.safe_load(text)
    if isinstance(value, dict):
        return f"{key}={json.dumps(_shown(value, f'{key}.'))}"
    if key not in _PLACES:
        return override
    return f"{key}={_place(value)}" if isinstance(value, str) else f"{key}={json.dumps(_shown_value(key, value))}"


def _place(place: str | Path) -> str:
    """Return a path for publication: relative to the working folder, or the last name only.

    Absolute paths of the training machine are private.
    """
    path = Path(place)
    if not path.is_absolute():
        return str(path)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name


def fingerprint_of_weights(place: str) -> str:
    """Return the name of weights and, if they still exist, the hash of the file or of the bundle's manifest."""
    path = Path(place)
    if path.is_dir():
        path = path / MANIFEST
    if path.is_file() and path.name == MANIFEST:
        return f"{Path(place).name} manifest sha256 {hash_file(path)}"
    return f"{path.name} sha256 {hash_file(path)}" if path.is_file() else path.name
