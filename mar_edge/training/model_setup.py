"""Builds the model of a recipe and its loss."""

from __future__ import annotations

import numpy as np
import torch

from mar_edge.errors import CheckpointError, RecipeError
from mar_edge.masking import visible_indices
from mar_edge.model.config import ModelConfig, build
from mar_edge.model.mar import MAR
from mar_edge.training.objective import DistilPart, Objective
from mar_edge.training.patch_init import init_patch_embedding
from mar_edge.training.recipe import Recipe
from mar_edge.training.start import load_weights, take_weights
from mar_edge.training.training_data import TrainingData

PATCH_CLIPS = 512
"""Number of clips that the patch embedding's filters are computed from."""


def make_objective(
    recipe: Recipe, data: TrainingData, config: ModelConfig, *, goes_on: bool
) -> tuple[Objective, list[str]]:
    """Build the model, load its initial weights, and wrap it in the loss.

    Args:
        recipe: the recipe.
        data: its data.
        config: the architecture.
        goes_on: whether the weights come from an earlier start, so that nothing else is needed.

    Returns:
        The objective, and sentences for the user.

    Raises:
        CheckpointError: if weights or a teacher cannot be read or do not fit.
        RecipeError: if the teacher does not fit the recipe.
    """
    model = build(config)
    if recipe.start.patches_from_data and not goes_on:
        rng = np.random.default_rng([recipe.seed, 2])
        indices = rng.integers(0, len(data.train.classes), PATCH_CLIPS)
        clips = np.stack([data.train.sample(int(index), rng).clip for index in indices])
        grid = model.encoder.geometry.grid  # of a clip, or of a time step
        shown = visible_indices(recipe.mask.test_mask(grid))
        init_patch_embedding(model.encoder, torch.from_numpy(clips), torch.from_numpy(shown))
    notes = [] if goes_on else take_weights(model, recipe.start)
    distil = recipe.objective.distil
    teacher = None if distil is None else _teacher(distil, config, data.labels)
    return Objective(
        model,
        recipe.objective,
        class_weights=data.class_weights(recipe.objective.class_weights),
        teacher=teacher,
        flow_channels=data.train.flow_channels,
        streaming=recipe.streaming,
    ), notes


def check_teacher(settings: DistilPart, its_config: ModelConfig, config: ModelConfig) -> None:
    """Check that a teacher takes the student's clips.

    Args:
        settings: the recipe's.
        its_config: the teacher's architecture.
        config: the student's.

    Raises:
        CheckpointError: if it has no classifier.
        RecipeError: if it takes other clips.
    """
    if its_config.classifier == "none":
        raise CheckpointError(f"the teacher {settings.teacher} was pre-trained only and has no classifier")
    if its_config.temporal == "causal":
        raise RecipeError(f"the teacher {settings.teacher} is a streaming model; a teacher sees whole clips")
    if its_config.geometry != config.geometry:
        raise RecipeError(
            f"the teacher {settings.teacher} takes clips of {its_config.geometry}, the student {config.geometry}; both must be the same"
        )


def _teacher(settings: DistilPart, config: ModelConfig, labels: tuple[str, ...]) -> MAR:
    teacher, its_config, info = load_weights(settings.teacher)
    check_teacher(settings, its_config, config)
    if tuple(info.labels) != labels:
        raise RecipeError(
            f"the teacher {settings.teacher} has the labels {', '.join(info.labels)}, the data {', '.join(labels)};  "
            "they must be the same in the same order"
        )
    return teacher
