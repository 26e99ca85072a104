"""Chooses the built-in model that training starts from, and takes over its encoder's architecture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mar_edge.bundle import builtin_names, open_bundle
from mar_edge.counting import counted
from mar_edge.model.config import ModelConfig
from mar_edge.training.first_recipe.class_names import words_of


@dataclass(frozen=True)
class StartModel:
    """The model that training starts from.

    Attributes:
        name: of the built-in model.
        config: its architecture.
        said: why, for a comment.
    """

    name: str
    config: ModelConfig
    said: str


def nearest_builtin(labels: Sequence[str], window_s: float) -> StartModel:
    """Return the built-in model whose class names have most words in common, or else whose window is about as long.

    Args:
        labels: the classes.
        window_s: length of the new model's window.

    Raises:
        BundleError: if a built-in model is damaged.
    """
    words = words_of(labels)
    manifests = {name: open_bundle(name).manifest for name in builtin_names()}
    shared = {name: words & words_of(manifest.labels) for name, manifest in manifests.items()}
    chosen = max(manifests, key=lambda name: (len(shared[name]), -abs(manifests[name].window_s - window_s)))
    if len(manifests) == 1:
        said = "the built-in model"
    elif shared[chosen]:
        said = f"of the built-in models the one whose class names have {counted(len(shared[chosen]), 'word')} in common"
    else:
        said = "of the built-in models the one with the most similar window; no class names are alike"
    return StartModel(chosen, ModelConfig.of_spec(manifests[chosen]), said)
