"""Optimisers, their parameter groups, the learning rate over time, and the average of the weights.

Groups and schedule are those of MAR as released (AdamW, layer-wise decay as in BEiT, arXiv 2106.08254).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from mar_edge.files.yaml_part import Part, Share, refuse

Beta = Annotated[float, Field(ge=0, lt=1)]

_Tensors: TypeAlias = "tuple[Tensor, ...] | list[Tensor]"


class OptimiserPart(Part):
    """AdamW, or Muon for the weight matrices of the blocks and AdamW for the rest.

    Attributes:
        kind: `adamw`, or `muon` for the blocks' matrices with AdamW for the rest.
        lr, betas, weight_decay: AdamW's; `weight_decay` is Muon's too. Norms and biases have none.
        muon_lr, muon_momentum: Muon's (Keller Jordan 2024, as in torch.optim.Muon).
        layer_decay: factor on the learning rate from one encoder block to the one below it; 1 for none.
        warmup_steps, warmup_epochs: linear warm-up; set one of the two.
        warmup_lr, min_lr: where warm-up starts and the cosine ends, in AdamW's learning rate.
        schedule: replaces warm-up and cosine: [step, share of the learning rate] pairs, joined by lines.
        clip_norm: bound on the norm of each optimiser's gradient; null for none.
        ema: decay of the running average of the weights, which is then validated and saved; null for none.
            In the first steps it is (1 + n) / (10 + n) if that is smaller.
    """

    kind: Literal["adamw", "muon"] = "adamw"
    lr: float = Field(default=1e-3, gt=0)
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    weight_decay: float = Field(default=0.05, ge=0)
    muon_lr: float = Field(default=0.02, gt=0)
    muon_momentum: Beta = 0.95
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    warmup_steps: int | None = Field(default=None, ge=0)
    warmup_epochs: float | None = Field(default=None, ge=0)
    warmup_lr: float = Field(default=0.0, ge=0)
    min_lr: float = Field(default=0.0, ge=0)
    schedule: Annotated[list[tuple[int, Share]], Field(min_length=2)] | None = None
    clip_norm: float | None = Field(default=1.0, gt=0)
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> OptimiserPart:
        if self.warmup_steps is not None and self.warmup_epochs is not None:
            refuse(("warmup_epochs", "give warmup_steps or warmup_epochs, not both"))
        steps = [step for step, _ in self.schedule or []]
        if steps != sorted(set(steps)):
            refuse(("schedule", f"its steps must increase: {steps}"))
        for key in ("min_lr", "warmup_lr"):
            if getattr(self, key) > self.lr:
                refuse((key, f"{getattr(self, key):g} must not be above lr {self.lr:g}"))
        return self


class Scale(NamedTuple):
    """The settings of a parameter group."""

    lr_scale: float
    weight_decay: float


def scale_of(name: str, *, depth: int, layer_decay: float, weight_decay: float) -> Scale:
    """Return a parameter's learning-rate scale and weight decay.

    Layer decay touches only the weights of patch embedding and encoder blocks and the decoder's mask token; norms,
    biases and gains have neither layer decay nor weight decay. Source: MAR as released (goldens, optimizer_groups.json).

    Args:
        name: as in `Objective.named_parameters` or `MAR.named_parameters`.
        depth: number of encoder blocks.
        layer_decay: factor from one block to the one below it.
        weight_decay: of parameters with weight decay.
    """
    if "norm" in name or name.endswith("bias") or ".gamma_" in name:
        return Scale(1.0, 0.0)
    layer = depth + 1
    if re.search(r"encoder\.embed\.|decoder\.mask_token", name):
        layer = 0
    elif block := re.search(r"encoder\.blocks\.(\d+)\.", name):
        layer = int(block[1]) + 1
    return Scale(layer_decay ** (depth + 1 - layer), weight_decay)


def make_optimisers(module: nn.Module, settings: OptimiserPart, *, depth: int) -> list[torch.optim.Optimizer]:
    """Return AdamW and, if set, Muon over the trainable parameters of a module.

    Every group carries `peak_lr`, its learning rate at share 1.
    """
    by_muon: dict[Scale, list[nn.Parameter]] = {}
    by_adamw: dict[Scale, list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        scale = scale_of(name, depth=depth, layer_decay=settings.layer_decay, weight_decay=settings.weight_decay)
        muon = settings.kind == "muon" and parameter.dim() == 2 and ".blocks." in name
        (by_muon if muon else by_adamw).setdefault(scale, []).append(parameter)
    optimisers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(_groups(by_adamw, settings.lr), lr=settings.lr, betas=settings.betas)
    ]
    if by_muon:
        groups = _groups(by_muon, settings.muon_lr)
        optimisers.append(torch.optim.Muon(groups, lr=settings.muon_lr, momentum=settings.muon_momentum))
    return optimisers


def _groups(by_scale: dict[Scale, list[nn.Parameter]], lr: float) -> list[dict[str, object]]:
    return [
        {"params": parameters, "weight_decay": scale.weight_decay, "peak_lr": lr * scale.lr_scale}
        for scale, parameters in by_scale.items()
    ]


def cosine_lr(position: float, *, total: float, warmup: float, lr: float, min_lr: float, warmup_lr: float) -> float:
    """Return MAR's learning rate: linear warm-up to the cosine's value at its end; the cosine starts at 0, not after warm-up.

    Args:
        position: progress of the training, in the unit of `total` and `warmup` (steps or epochs).
        total: the length of the training.
        warmup: the warm-up.
        lr: peak of the cosine, which is not reached because of the warm-up.
        min_lr: its end.
        warmup_lr: start of the warm-up.
    """

    def cosine(at: float) -> float:
        return min_lr + 0.5 * (lr - min_lr) * (1 + float(np.cos(np.pi * min(1.0, at / total))))

    if position >= warmup:
        return cosine(position)
    return warmup_lr + (cosine(warmup) - warmup_lr) * position / warmup


def lr_share(settings: OptimiserPart, step: int, *, steps: int, steps_per_epoch: float) -> float:
    """Return the share of the peak learning rate at a step.

    Args:
        settings: the recipe's.
        step: steps done so far.
        steps: of the entire training.
        steps_per_epoch: for a warm-up in epochs.
    """
    if settings.schedule:
        at, shares = zip(*settings.schedule, strict=True)
        return float(np.interp(step, np.array(at, np.float64), np.array(shares, np.float64)))
    warmup = settings.warmup_steps or (settings.warmup_epochs or 0.0) * steps_per_epoch
    rates = {"lr": settings.lr, "min_lr": settings.min_lr, "warmup_lr": settings.warmup_lr}
    return cosine_lr(step, total=steps, warmup=warmup, **rates) / settings.lr


def set_lr(optimisers: Sequence[torch.optim.Optimizer], share: float) -> None:
    """Set every group to a share of its peak learning rate."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group["peak_lr"] * share


def average_of(module: nn.Module, decay: float) -> AveragedModel:
    """Return a running average (EMA) of a module's weights; `update_parameters` after every step."""
    return AveragedModel(module, multi_avg_fn=_ema(decay))


def _ema(decay: float) -> Callable[[_Tensors, _Tensors, Tensor | int], None]:
    @torch.no_grad()
    def update(averages: _Tensors, current: _Tensors, updates: Tensor | int) -> None:
        done = float(updates)
        torch._foreach_lerp_(averages, current, 1 - min(decay, (1 + done) / (10 + done)))

    return update
