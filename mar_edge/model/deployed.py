"""The deployed form of a model: the visible tokens as constants, and its description."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError
from torch import Tensor, nn

from mar_edge.errors import CheckpointError
from mar_edge.masking import MASK_RATIOS
from mar_edge.model.checkpoint import CheckpointInfo
from mar_edge.model.config import ModelConfig
from mar_edge.model.mar import MAR
from mar_edge.model.streaming import StreamingMAR, running_tokens
from mar_edge.model_spec import ModelSpec


class DeployedGraph(nn.Module):
    """The model for inference and export: uint8 frames in, logits out, the visible tokens as constants.

    A streaming model takes clips of any number of time steps, from an empty state; its export is `streaming.StepGraph`.

    Args:
        model: a model with classifier.
        mask_ratio: share of hidden tokens, one of `masking.MASK_RATIOS`.

    Raises:
        GeometryError: if the model's grid has no cells for the mask.
    """

    visible: Tensor

    def __init__(self, model: MAR, mask_ratio: float) -> None:
        super().__init__()
        self.model = model
        self._ratio = mask_ratio
        geometry = model.geometry if isinstance(model, StreamingMAR) else model.encoder.geometry
        self.register_buffer("visible", running_tokens(geometry, mask_ratio, geometry.grid[0]))

    def forward(self, frames: Tensor) -> Tensor:
        """Map uint8 frames (B, T, H, W, 3) to logits (B, classes)."""
        if isinstance(self.model, StreamingMAR):
            return self.every_step(frames)[:, -1]
        logits: Tensor = self.model(frames, self.visible)
        return logits

    def every_step(self, frames: Tensor) -> Tensor:
        """Map uint8 frames (B, T, H, W, 3) to a streaming model's logits after every time step, (B, steps, classes)."""
        assert isinstance(self.model, StreamingMAR)
        steps = frames.shape[1] // self.model.geometry.tubelet_frames
        visible = running_tokens(self.model.geometry, self._ratio, steps).to(frames.device)
        return self.model.every_step(frames, visible)


def nearest_mask(ratio: float) -> int:
    """Return the deployable mask in percent that is nearest to a training ratio."""
    return round(100 * min(MASK_RATIOS, key=lambda known: abs(known - ratio)))


def check_classifier(path: Path, config: ModelConfig) -> None:
    """Check that a checkpoint has classes.

    Raises:
        CheckpointError: if it was pre-trained only.
    """
    if config.classifier == "none":
        raise CheckpointError(f"{path} was pre-trained only and has no classifier; train it on labels first")


def describe(path: Path, config: ModelConfig, info: CheckpointInfo) -> ModelSpec:
    """Return the specification of a checkpoint's model.

    Args:
        path: of the checkpoint, for messages.
        config: its architecture.
        info: its other metadata.

    Raises:
        CheckpointError: if the checkpoint's metadata is invalid.
    """
    try:
        return ModelSpec(
            name=info.name,
            description=info.description,
            licence=info.licence,
            labels=info.labels,
            temporal=config.temporal,
            geometry=config.geometry,
            rate_fps=info.rate_fps,
            resize=info.resize,
            sampling=info.sampling,
            idle_label=info.idle_label,
            events=info.events,
            clip_answer=info.clip_answer,
            architecture={key: value for key, value in config.to_dict().items() if key not in ("geometry", "temporal")},
            trained_mask=round(100 * info.mask_ratio),
            provenance=info.provenance,
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "its description"
        raise CheckpointError(f"{path} cannot be used: {where}: {first['msg']}") from error
