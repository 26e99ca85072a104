"""What a training step allocates and computes, found by tracing the real step without memory or arithmetic.

torch's fake tensors have shapes, types and a device but no numbers. The model, the loss, the backward pass and the
optimiser run on them as they will run on real ones, and every storage that lives is counted. So all that a recipe may
say about them is in the figures, and no formula has to be kept in step with the code.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from mar_edge.model.config import ModelConfig, build
from mar_edge.training.objective import Batch, Objective
from mar_edge.training.optimiser import make_optimisers
from mar_edge.training.patch_init import init_patch_embedding
from mar_edge.training.recipe import Recipe

TRACED_BLOCKS = 24
"""Deeper stacks are traced with so many blocks and with fewer, and what a block adds is counted on."""

SLOPE_BLOCKS = 4

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class StepTrace:
    """What one process needs for a step.

    Attributes:
        parameters: of the model, the classifier and decoder included.
        peak_bytes: largest sum of all that lives at a time: weights, gradients, optimiser, activations, the batch.
        kept_bytes: what stays between steps: weights, the optimiser's state, a teacher.
        macs: multiply-accumulates of matrix products, forward and backward, in one forward pass's batch.
    """

    parameters: int
    peak_bytes: int
    kept_bytes: int
    macs: int

    def plus(self, other: StepTrace, times: int) -> StepTrace:
        """Return this with another's figures added so many times."""
        return StepTrace(*(a + times * b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


def trace_step(
    recipe: Recipe,
    config: ModelConfig,
    *,
    batch: int,
    device: torch.device,
    flow_channels: int,
    teacher: ModelConfig | None,
) -> StepTrace:
    """Trace a step of a recipe.

    Args:
        recipe: what is trained.
        config: its architecture.
        batch: clips in a forward pass.
        device: where it will run.
        flow_channels: numbers that tell the flow at a token.
        teacher: architecture of the teacher; None without distillation.

    Raises:
        OverflowError: if sizes are beyond what numbers can hold.
    """

    def traced(model: ModelConfig) -> StepTrace:
        try:
            return _trace(recipe, model, batch, device, flow_channels, teacher)
        except RuntimeError as error:  # torch's "Storage size calculation overflowed"
            if "overflow" in str(error):
                raise OverflowError(str(error)) from error
            raise

    depths = {name: getattr(config, name) for name in ("depth", "bridge_depth", "decoder_depth")}
    cut = {name: min(depth, TRACED_BLOCKS) for name, depth in depths.items()}
    found = base = traced(replace(config, **cut))
    for name, depth in depths.items():
        if depth > cut[name]:
            fewer = traced(replace(config, **{**cut, name: cut[name] - SLOPE_BLOCKS}))
            rise = base.plus(fewer, -1)
            a_block = StepTrace(*(-(-value // SLOPE_BLOCKS) for value in vars(rise).values()))
            found = found.plus(a_block, depth - cut[name])
    return found


def least_bytes(config: ModelConfig, *, batch: int, hidden: float) -> int:
    """Return what a step takes at the very least, in bytes, without looking closer.

    Weights, gradients and AdamW's state are four numbers a weight, with at least 12 width² weights a block; and a block
    keeps at least eight numbers of two bytes a token and channel for its backward pass.
    """
    stacks = [(config.depth, config.width), (config.decoder_depth, config.decoder_width)]
    weights = sum(12 * depth * width**2 for depth, width in stacks)
    tokens = math.floor(config.geometry.tokens * (1 - hidden))
    kept = 8 * tokens * config.width * config.depth * 2
    return 16 * weights + batch * (math.prod(config.geometry.clip_shape) + kept)


def trace_patch_init(config: ModelConfig, *, clips: int, visible: int) -> int:
    """Return the peak in bytes of making the patch embedding from clips, besides the model."""
    with FakeTensorMode(), _Live() as live, torch.no_grad():
        encoder = build(replace(config, depth=1, decoder_depth=0)).encoder
        before = live.bytes
        frames = torch.empty(clips, *config.geometry.clip_shape, dtype=torch.uint8)
        init_patch_embedding(encoder, frames, torch.empty(visible, dtype=torch.int64))
        clips_bytes = int(frames.untyped_storage().nbytes())
    # the clips are drawn into a list first, and then stacked
    peak_bytes: int = live.peak_bytes - before + clips_bytes
    return peak_bytes


def _trace(
    recipe: Recipe,
    config: ModelConfig,
    batch: int,
    device: torch.device,
    flow_channels: int,
    teacher: ModelConfig | None,
) -> StepTrace:
    precision = recipe.trainer.precision
    flops = FlopCounterMode(display=False)
    with FakeTensorMode(), _Live() as live, device:
        objective = Objective(
            build(config),
            recipe.objective,
            class_weights=None if recipe.objective.class_weights == "none" else torch.empty(config.classes),
            teacher=None if teacher is None else build(teacher),
            flow_channels=flow_channels,
        )
        optimisers = make_optimisers(objective, recipe.optimiser, depth=config.depth)
        _make_state(objective, optimisers)
        kept_bytes = live.bytes
        clips = _batch(recipe, config, batch, flow_channels)
        for passed in range(min(2, recipe.trainer.accumulate)):  # gradients live through the second pass
            with flops, torch.autocast(device.type, _AUTOCAST.get(precision), enabled=precision in _AUTOCAST):
                total = objective(clips).total
            with flops:
                total.backward()
            del total
            passes = passed + 1
        for optimiser in optimisers:
            optimiser.step()
        parameters = sum(parameter.numel() for parameter in objective.model.parameters())
    return StepTrace(parameters, live.peak_bytes, kept_bytes, int(flops.get_total_flops()) // 2 // passes)


def _make_state(objective: Objective, optimisers: list[torch.optim.Optimizer]) -> None:
    """Let the optimisers make what they keep."""
    for parameter in objective.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.empty_like(parameter)
    for optimiser in optimisers:
        optimiser.step()
        optimiser.zero_grad()


def _batch(recipe: Recipe, config: ModelConfig, batch: int, flow_channels: int) -> Batch:
    tokens = config.geometry.tokens
    hidden = round(tokens * recipe.mask.ratio)
    return Batch(
        clips=torch.empty(batch, *config.geometry.clip_shape, dtype=torch.uint8),
        targets=torch.empty(batch, config.classes),
        flows=torch.empty(batch, tokens if recipe.objective.flow_weight else 0, flow_channels),
        visible=torch.empty(batch, tokens - hidden, dtype=torch.int64),
        masked=torch.empty(batch, hidden, dtype=torch.int64),
        files=(),
    )


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all storages that live."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0
        self.peak_bytes = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = id(storage)
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self.bytes += self._sizes[key]
            self.peak_bytes = max(self.peak_bytes, self.bytes)
            weakref.finalize(storage, self._forget, key).atexit = False

    def _forget(self, key: int) -> None:
        self.bytes -= self._sizes.pop(key)
