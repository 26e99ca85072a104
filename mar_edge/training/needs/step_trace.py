"""Measures what a training step allocates and computes, by tracing the real step without memory or arithmetic.

torch's fake tensors have shapes, types and a device but no numbers. The model, the loss, the backward pass and the
optimiser run on them as on real ones, and every live storage is counted. So everything that a recipe may
set is in the figures, and no formula has to be kept consistent with the code.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from mar_edge.geometry import Geometry
from mar_edge.model.config import ModelConfig, build
from mar_edge.training.objective import Batch, Objective, ObjectivePart
from mar_edge.training.optimiser import OptimiserPart, make_optimisers
from mar_edge.training.patch_init import init_patch_embedding
from mar_edge.training.streaming import StreamingPart

TRACED_BLOCKS = 12
"""Deeper stacks are traced with this many blocks and with fewer, and extrapolated per block."""

SLOPE_BLOCKS = 1

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class StepTrace:
    """What one process needs for a step.

    Attributes:
        parameters: of the model, the classifier and decoder included.
        peak_bytes: largest sum of all live storages: weights, gradients, optimiser, activations, the batch.
        kept_bytes: what stays between steps: weights, the optimiser's state, a teacher.
        macs: multiply-accumulates of matrix products, forward and backward, in one forward pass's batch.
    """

    parameters: int
    peak_bytes: int
    kept_bytes: int
    macs: int

    def plus(self, other: StepTrace, times: int) -> StepTrace:
        """Return this with another's figures added `times` times."""
        return StepTrace(*(a + times * b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """Everything that determines what a step takes.

    Attributes:
        config: the architecture.
        objective: the loss.
        optimiser: its kind.
        precision: of the trainer.
        batch: clips in a forward pass.
        passes: forward passes in a step; more than two take the same memory as two.
        hidden: share of hidden tokens.
        flow_channels: number of flow values per token.
        teacher: architecture of the teacher; None without distillation.
        clip: geometry of a training clip.
        streaming: training of a streaming model; None for a windowed one.
        device: where it runs.
    """

    config: ModelConfig
    objective: ObjectivePart
    optimiser: Literal["adamw", "muon"]
    precision: str
    batch: int
    passes: int
    hidden: float
    flow_channels: int
    teacher: ModelConfig | None
    clip: Geometry
    streaming: StreamingPart | None
    device: torch.device


@lru_cache(maxsize=64)
def trace_step(settings: StepSettings) -> StepTrace:
    """Trace a step.

    Raises:
        OverflowError: if sizes exceed the range of integers.
    """

    def traced(**depths: Any) -> StepTrace:
        try:
            return _trace(replace(settings, config=replace(settings.config, **depths)))
        except (RuntimeError, TypeError) as error:  # torch's "Storage size calculation overflowed", among others
            if "overflow" in str(error).lower() or "too large" in str(error):
                raise OverflowError(str(error)) from error
            raise

    depths = {name: getattr(settings.config, name) for name in ("depth", "bridge_depth", "decoder_depth")}
    cut = {name: min(depth, TRACED_BLOCKS) for name, depth in depths.items()}
    found = base = traced(**cut)
    for name, depth in depths.items():
        if depth > cut[name]:
            fewer = traced(**{**cut, name: cut[name] - SLOPE_BLOCKS})
            rise = base.plus(fewer, -1)
            a_block = StepTrace(*(-(-value // SLOPE_BLOCKS) for value in vars(rise).values()))
            found = found.plus(a_block, depth - cut[name])
    return found


def least_bytes(config: ModelConfig, *, batch: int, hidden: float, decodes: bool) -> int:
    """Return a lower bound of the bytes that a step takes, without tracing.

    Weights, gradients and AdamW's state are four numbers per weight, with at least 12 width² weights per block; and a block
    keeps at least eight numbers of two bytes per token and channel for its backward pass.

    Args:
        config: the architecture.
        batch: clips in a forward pass.
        hidden: share of hidden tokens.
        decodes: whether hidden tokens are reconstructed.
    """
    bridge = config.bridge_depth if config.classifier == "bridge" else 0
    all_tokens = config.geometry.tokens
    seen = math.floor(all_tokens * (1 - hidden))
    stacks = [
        (config.depth, config.width, seen),
        (bridge, config.bridge_width, seen),
        (config.decoder_depth, config.decoder_width, all_tokens if decodes else 0),
    ]
    weights = sum(12 * depth * width**2 for depth, width, _ in stacks)
    kept = sum(8 * depth * width * tokens * 2 for depth, width, tokens in stacks)
    return 16 * weights + batch * (math.prod(config.geometry.clip_shape) + kept)


@lru_cache(maxsize=64)
def trace_patch_init(config: ModelConfig, clip: Geometry, *, clips: int, visible: int) -> int:
    """Return the peak in bytes of making the patch embedding from clips, besides the model."""
    with FakeTensorMode(), _Live() as live, torch.no_grad():
        encoder = build(replace(config, depth=1, decoder_depth=0)).encoder
        before = live.bytes
        frames = torch.empty(clips, *clip.clip_shape, dtype=torch.uint8)
        init_patch_embedding(encoder, frames, torch.empty(visible, dtype=torch.int64))
        clips_bytes = int(frames.untyped_storage().nbytes())
    # the clips are drawn into a list first, and then stacked
    peak_bytes: int = live.peak_bytes - before + clips_bytes
    return peak_bytes


def _trace(settings: StepSettings) -> StepTrace:
    config, device = settings.config, settings.device
    passes = min(2, settings.passes)
    weights = None if settings.objective.class_weights == "none" else [1.0] * config.classes
    flops = FlopCounterMode(display=False)
    with FakeTensorMode(), _Live() as live, device:
        objective = Objective(
            build(config),
            settings.objective,
            class_weights=None if weights is None else torch.tensor(weights),
            teacher=None if settings.teacher is None else build(settings.teacher),
            flow_channels=settings.flow_channels,
            streaming=settings.streaming,
        )
        optimisers = make_optimisers(objective, OptimiserPart(kind=settings.optimiser), depth=config.depth)
        _make_state(objective, optimisers)
        kept_bytes = live.bytes
        batch = _batch(settings)
        autocast = AUTOCAST.get(settings.precision)
        with flops:
            for _ in range(passes):  # gradients persist during the second pass
                with torch.autocast(device.type, autocast, enabled=autocast is not None):
                    total = objective(batch).total
                total.backward()
                del total
        for optimiser in optimisers:
            optimiser.step()
        parameters = sum(parameter.numel() for parameter in objective.model.parameters())
    return StepTrace(parameters, live.peak_bytes, kept_bytes, int(flops.get_total_flops()) // 2 // passes)


def _make_state(objective: Objective, optimisers: list[torch.optim.Optimizer]) -> None:
    """Let the optimisers create their state."""
    for parameter in objective.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.empty_like(parameter)
    for optimiser in optimisers:
        optimiser.step()
        optimiser.zero_grad()


def _batch(settings: StepSettings) -> Batch:
    geometry, batch = settings.clip, settings.batch
    hidden = round(geometry.tokens * settings.hidden)
    flows = geometry.tokens if settings.objective.flow_weight else 0
    skips = settings.streaming is not None and settings.streaming.skipped > 0
    return Batch(
        clips=torch.empty(batch, *geometry.clip_shape, dtype=torch.uint8),
        targets=torch.empty(batch, settings.config.classes),
        flows=torch.empty(batch, flows, settings.flow_channels),
        visible=torch.empty(batch, geometry.tokens - hidden, dtype=torch.int64),
        masked=torch.empty(batch, hidden, dtype=torch.int64),
        skipped=torch.empty(batch, geometry.grid[0], dtype=torch.bool) if skips else None,
        files=(),
    )


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all live storages."""

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
