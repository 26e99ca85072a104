"""What a probe's checkpoint says of itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mar_edge.bundle import open_bundle
from mar_edge.datasets.clip_reader import ClipReader
from mar_edge.datasets.fingerprint import TRAINING_VIDEOS, Fingerprints
from mar_edge.model.checkpoint import CheckpointInfo
from mar_edge.training.baselines.regression import Regression
from mar_edge.training.provenance import checkpoint_info, fingerprint_of_weights
from mar_edge.training.recipe import Recipe


def probe_info(
    recipe: Recipe, name: str, source: CheckpointInfo, train: ClipReader, regression: Regression, top1: float | None
) -> CheckpointInfo:
    """Return the metadata of a probe: classes and texts of the recipe, sampling and mask of the model whose layers it has.

    Args:
        recipe: of the training that it belongs to.
        name: of the built-in model.
        source: its metadata.
        train: the training videos.
        regression: the last layer.
        top1: share of validation clips that it recognises; None without validation.
    """
    figures: dict[str, Any] = {
        "probe": {
            "layers_of": name,
            "last_layer": "ridge regression",
            "strength": regression.strength,
            "held_out_top1": regression.top1,
            "held_out_loss": regression.loss,
        },
        TRAINING_VIDEOS: Fingerprints.of([video.path for video in train.videos.videos]).text,
    }
    if top1 is not None:
        figures["val_top1"] = top1
    ours = checkpoint_info(recipe, train.videos.labels, train.digest[:16], figures)
    data = dict.fromkeys([*recipe.attribution, *source.provenance.get("data", ())])
    started_from = {"weights": fingerprint_of_weights(str(open_bundle(name).path))}
    return replace(
        ours,
        name=f"{recipe.name}_probe",
        description=f"{recipe.description}: the layers of {name} with a regression as the last one".lstrip(": "),
        rate_fps=source.rate_fps,
        resize=source.resize,
        sampling=source.sampling,
        mask_ratio=source.mask_ratio,
        clip_answer="mean",
        provenance={**ours.provenance, "data": list(data), "started_from": started_from},
    )
