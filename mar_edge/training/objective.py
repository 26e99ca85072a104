"""The loss of a training step: classes, hidden pixels, motion, and a teacher's outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mar_edge.files.yaml_part import Part, Share
from mar_edge.model.mar import MAR, JointOutput, pick
from mar_edge.model.streaming import StreamingMAR
from mar_edge.training.streaming import StreamingPart, step_weights

ClassWeights = Literal["none", "root", "balanced"]

FLOW_SCALE = 0.004
"""Flow, in picture widths, around which its target changes from linear to logarithmic."""


class DistilPart(Part):
    """Distillation from a dense teacher (Hinton et al., arXiv 1503.02531).

    Attributes:
        teacher: checkpoint, bundle or built-in name of a model for the same clips and labels; it gets every tubelet.
        logits_weight: weight of the KL divergence between softened outputs.
        temperature: divisor of both models' logits; the loss is scaled by its square.
        tokens_weight: weight of the mean squared error between encoder tokens at the visible places, each standardised.
    """

    teacher: str
    logits_weight: Share = 1.0
    temperature: float = Field(default=1.0, gt=0)
    tokens_weight: Share = 0.0


class ObjectivePart(Part):
    """Weights of the parts of the loss.

    Attributes:
        reconstruction_weight: of the hidden tubelets' reconstruction; 0.1 in MAR for Something-Something, 0.01 for
            Kinetics. For pre-training it is the only part, and the weight only scales it.
        flow_weight: of predicting the motion at every visible token; 0 for none.
        label_smoothing: share of the target spread over all classes (Szegedy et al., arXiv 1512.00567).
        class_weights: `balanced` weighs classes by their rarity in the training set, `root` by its square root, which leaves
            scores nearer to probabilities. Time steps are counted where a clip's class may change.
        distil: also learn from a teacher.
    """

    reconstruction_weight: Share = 0.1
    flow_weight: Share = 0.0
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: ClassWeights = "none"
    distil: DistilPart | None = None


class Batch:
    """The input of one forward pass; a separate class, because Fabric would round the targets of a tuple to bf16.

    Args:
        clips: uint8 (B, T, H, W, 3) RGB.
        targets: float32 (B, classes), each summing to 1; (B, steps, classes) if they differ from step to step; (B, 0) for
            pre-training.
        flows: float32 (B, tokens, channels), in picture widths, as the source defines; (B, 0, channels) if unknown.
        visible: token indices (B, N).
        masked: token indices (B, M).
        files: source of each clip.
        skipped: time steps that a streaming model misses, bool (B, steps); None for none.
    """

    def __init__(
        self,
        *,
        clips: Tensor,
        targets: Tensor,
        flows: Tensor,
        visible: Tensor,
        masked: Tensor,
        files: tuple[str, ...],
        skipped: Tensor | None = None,
    ) -> None:
        self.clips, self.targets, self.flows = clips, targets, flows
        self.visible, self.masked, self.skipped = visible, masked, skipped
        self.files = files

    @property
    def last_targets(self) -> Tensor:
        """What is right at the end of the clips, (B, classes)."""
        return self.targets[:, -1] if self.targets.dim() == 3 else self.targets

    def to(self, *args: Any, **kwargs: Any) -> Batch:
        """Return the batch on another device, as Tensor.to."""
        return self._each(lambda tensor: tensor.to(*args, **kwargs))

    def pin_memory(self) -> Batch:
        """Return the batch in pinned memory."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        tensors = {name: change(value) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return Batch(files=self.files, **tensors)


class Losses(NamedTuple):
    """The output of one forward pass.

    Attributes:
        total: the loss to minimise.
        parts: the unweighted parts by name, detached.
        logits: (B, classes), detached, of a streaming model those after the last step; (B, 0) for a model without
            classifier.
    """

    total: Tensor
    parts: dict[str, Tensor]
    logits: Tensor


class Objective(nn.Module):
    """A model together with its loss, so that a distributed strategy has to wrap only one forward pass.

    Args:
        model: the model to train. Parts of it that the loss does not reach are frozen.
        settings: weights of the parts.
        class_weights: (classes,) for the cross entropy; None for equal ones.
        teacher: the dense teacher, in evaluation mode; None without distillation.
        flow_channels: number of flow values per token.
        streaming: training of a streaming model; None for its defaults, or a windowed one.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        model: MAR,
        settings: ObjectivePart,
        *,
        class_weights: Tensor | None = None,
        teacher: MAR | None = None,
        flow_channels: int = 2,
        streaming: StreamingPart | None = None,
    ) -> None:
        super().__init__()
        self._carry = streaming is not None and streaming.carry
        self.model = model
        self.settings = settings
        self.register_buffer("class_weights", class_weights, persistent=False)
        width = model.encoder.embed.out_features
        self.flow_head = nn.Linear(width, flow_channels) if settings.flow_weight else None
        self.token_map: nn.Linear | None = None
        if teacher is not None and settings.distil is not None and settings.distil.tokens_weight:
            self.token_map = nn.Linear(width, teacher.encoder.embed.out_features)
        self._teacher = (
            [] if teacher is None else [teacher.requires_grad_(False).eval()]
        )  # in a list: not part of the state
        if model.decoder is not None and not settings.reconstruction_weight:
            model.decoder.requires_grad_(False)

    def forward(self, batch: Batch) -> Losses:
        """Return the losses of a batch."""
        settings = self.settings
        masked = batch.masked if settings.reconstruction_weight else batch.masked[:, :0]
        if isinstance(self.model, StreamingMAR):
            output = self.model.joint(batch.clips, batch.visible, masked, skipped=batch.skipped, carry=self._carry)
        else:
            output = self.model.joint(batch.clips, batch.visible, masked)
        terms: list[tuple[str, Tensor, float]] = []
        if output.logits is not None:
            terms.append(("classification", self._classification(output.logits.float(), batch), 1.0))
        if output.pixels is not None and output.target is not None:
            loss = F.mse_loss(output.pixels.float(), output.target)
            terms.append(("reconstruction", loss, settings.reconstruction_weight))
        if self.flow_head is not None:
            target = torch.asinh(pick(batch.flows, batch.visible) / FLOW_SCALE)
            terms.append(("flow", F.mse_loss(self.flow_head(output.tokens).float(), target), settings.flow_weight))
        if self._teacher and settings.distil is not None:
            terms += self._distil(output, batch, settings.distil)
        total = torch.stack([weight * loss for _, loss, weight in terms]).sum()
        said = batch.last_targets[:, :0] if output.logits is None else output.logits.detach().float()
        return Losses(total, {name: loss.detach() for name, loss, _ in terms}, said[:, -1] if said.dim() == 3 else said)

    def _classification(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the cross entropy; of a streaming model over all time steps."""
        smoothing = self.settings.label_smoothing
        if not isinstance(self.model, StreamingMAR):
            return F.cross_entropy(logits, batch.targets, self.class_weights, label_smoothing=smoothing)
        steps = logits.shape[1]
        targets = batch.targets if batch.targets.dim() == 3 else batch.targets[:, None].expand_as(logits)
        losses = F.cross_entropy(
            logits.flatten(0, 1),
            targets.flatten(0, 1),
            self.class_weights,
            label_smoothing=smoothing,
            reduction="none",
        )
        weights = step_weights(steps, self.model.band, batch.skipped, len(logits)).to(logits.device)
        return (losses * weights.flatten()).sum() / weights.sum().clamp(min=1)

    def _distil(self, output: JointOutput, batch: Batch, settings: DistilPart) -> list[tuple[str, Tensor, float]]:
        teacher = self._teacher[0].to(batch.clips.device)
        clips, visible, logits, tokens = batch.clips, batch.visible, output.logits, output.tokens
        if isinstance(
            self.model, StreamingMAR
        ):  # each window is a clip of the teacher, judged after its last time step
            band = self.model.band
            steps = clips.shape[1] // self.model.geometry.tubelet_frames
            clips = clips.reshape(-1, self.model.geometry.frames, *clips.shape[2:])
            visible = self.model.by_window(visible, steps)
            logits = None if logits is None else logits[:, band - 1 :: band].flatten(0, 1)
            tokens = tokens.reshape(*visible.shape, -1)
        with torch.no_grad():
            everywhere = torch.arange(teacher.encoder.geometry.tokens, device=clips.device)
            said = teacher.joint(clips, everywhere.expand(len(clips), -1), batch.masked[:, :0])
        terms: list[tuple[str, Tensor, float]] = []
        if settings.logits_weight and logits is not None and said.logits is not None:
            ours = F.log_softmax(logits.float() / settings.temperature, dim=1)
            theirs = F.log_softmax(said.logits.float() / settings.temperature, dim=1)
            divergence = F.kl_div(ours, theirs, reduction="batchmean", log_target=True)
            terms.append(("distillation", divergence * settings.temperature**2, settings.logits_weight))
        if self.token_map is not None:
            wanted = F.layer_norm(pick(said.tokens.float(), visible), said.tokens.shape[-1:])
            terms.append(("tokens", F.mse_loss(self.token_map(tokens).float(), wanted), settings.tokens_weight))
        return terms


def rarity_weights(counts: Tensor, kind: ClassWeights) -> Tensor | None:
    """Return weights (classes,) that grow with a class's rarity, with a mean of 1 over the clips; None for equal ones.

    Args:
        counts: clips, or time steps, per class.
        kind: as in `ObjectivePart`.
    """
    if kind == "none":
        return None
    rarity = counts.sum() / (counts.clamp(min=1).float() * (counts > 0).sum())
    weights = rarity if kind == "balanced" else rarity.sqrt()
    return weights * counts.sum() / (weights * counts).sum()
