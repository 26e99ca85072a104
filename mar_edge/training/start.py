"""Initial weights: random, those of another model, filters computed from the data."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from mar_edge.bundle import open_bundle
from mar_edge.counting import counted, form
from mar_edge.errors import CheckpointError
from mar_edge.extras import require
from mar_edge.files.yaml_part import Part
from mar_edge.model import checkpoint
from mar_edge.model.checkpoint import CheckpointInfo
from mar_edge.model.config import ModelConfig
from mar_edge.model.mar import MAR
from mar_edge.model.streaming import StreamingMAR
from mar_edge.model.transformer import Attention


class StartPart(Part):
    """The initial weights.

    Attributes:
        weights: a checkpoint (of `train`, `pretrain` or `import`), a bundle or a built-in model's name; null for random weights.
        parts: `encoder` loads only the encoder; `all` also classifier and decoder if they fit.
        patches_from_data: initialise the patch embedding as whitening filters of the training clips (see `patch_init`).
    """

    weights: str | None = None
    parts: Literal["encoder", "all"] = "all"
    patches_from_data: bool = False


@torch.no_grad()
def take_weights(model: MAR, settings: StartPart) -> list[str]:
    """Copy the weights that the recipe starts from into a model.

    Args:
        model: changed in place.
        settings: the recipe's.

    Returns:
        Sentences about what could not be loaded.

    Raises:
        CheckpointError: if the checkpoint cannot be read, or its encoder differs.
    """
    if settings.weights is None:
        return []
    source, config, _ = load_weights(settings.weights)
    other = _other_encoder(model, source)
    if other:
        raise CheckpointError(
            f"the encoder of {settings.weights} differs from this recipe's: {'; '.join(other[:3])}. "
            "Set width, depth, heads, frames and patch_px of model as in that checkpoint"
        )
    theirs, ours = source.state_dict(), model.state_dict()
    if isinstance(model, StreamingMAR) and not isinstance(source, StreamingMAR):
        theirs[_POSITIONS] = _of_one_step(theirs[_POSITIONS], source.encoder.geometry.grid[0])
    wanted = {name for name in ours if settings.parts == "all" or name.startswith("encoder.")}
    fits = {name for name in wanted if name in theirs and theirs[name].shape == ours[name].shape}
    model.load_state_dict({name: theirs[name] if name in fits else tensor for name, tensor in ours.items()})
    notes = []
    fixed = {name for name, _ in model.named_buffers()}  # position tables, which have no random start
    for part, label in _PARTS.items():
        left = sorted(name for name in wanted - fits if name.startswith(part))
        if left and fixed.issuperset(left):
            notes.append(f"{settings.weights}: {left[0]} has another size; this recipe's own table is used")
        elif left:
            notes.append(
                f"{settings.weights}: {counted(len(left), 'tensor')} of the {label} {form(len(left), 'does not fit and starts', 'do not fit and start')} from random values, "
                f"for instance {left[0]}"
            )
    if config.input_norm != model.encoder.input_norm:
        notes.append(
            f"{settings.weights} was trained with input_norm '{config.input_norm}', this recipe has "
            f"'{model.encoder.input_norm}'"
        )
    return notes


def _of_one_step(table: Tensor, steps: int) -> Tensor:
    """Return the positions of a clip's middle time step: what is left of a windowed model's table without time."""
    return table.reshape(steps, -1, table.shape[1])[steps // 2]


_POSITIONS = "encoder.positions"
_PARTS = {
    _POSITIONS: "position table",
    "encoder.norm.": "encoder's last norm",
    "classifier.": "classifier",
    "decoder.": "decoder",
}


def _other_encoder(model: MAR, source: MAR) -> list[str]:
    """Return the differences of the encoders because of which weights cannot be loaded."""
    theirs, ours = source.state_dict(), model.state_dict()
    fresh = {_POSITIONS}
    if isinstance(source.encoder.norm, nn.Identity):  # a mean-pooling head, which contains the norm, follows
        fresh |= {"encoder.norm.weight", "encoder.norm.bias"}
    other = [
        f"{name} {tuple(theirs[name].shape) if name in theirs else 'missing'} instead of {tuple(tensor.shape)}"
        for name, tensor in ours.items()
        if name.startswith("encoder.") and name not in fresh
        if name not in theirs or theirs[name].shape != tensor.shape
    ]
    blocks = [name for name in theirs if name.startswith("encoder.blocks.") and name not in ours]
    if blocks:
        other.append(f"{blocks[0]}, which this recipe's does not have")
    heads = [{part.heads for part in one.encoder.modules() if isinstance(part, Attention)} for one in (source, model)]
    if heads[0] != heads[1]:  # no shape shows them
        other.append(f"{counted(max(heads[0]), 'attention head')} instead of {max(heads[1])}")
    return other


def read_architecture(place: str) -> ModelConfig:
    """Read the architecture of a checkpoint, a bundle or a built-in model, without its weights.

    Raises:
        CheckpointError: if a checkpoint cannot be read.
        BundleError: if there is no such bundle.
    """
    if not place.endswith(".safetensors"):
        manifest = open_bundle(place).manifest
        return ModelConfig.of_spec(manifest)
    return checkpoint.read_config(Path(place))


def load_weights(place: str) -> tuple[MAR, ModelConfig, CheckpointInfo]:
    """Read a checkpoint, a bundle or a built-in model.

    Raises:
        CheckpointError: if a checkpoint cannot be read, or a bundle's weights cannot be read back.
        BundleError: if there is no such bundle.
    """
    path = Path(place)
    if place.endswith(".safetensors"):
        return checkpoint.load(path)
    if path.is_dir() and not place.rstrip("/").endswith(".mar"):
        raise CheckpointError(f"{place} is a folder; name a checkpoint in it, for instance {path / 'last.safetensors'}")
    require("onnx", "export")
    from mar_edge.model.bundle_weights import read_bundle

    return read_bundle(open_bundle(place))
