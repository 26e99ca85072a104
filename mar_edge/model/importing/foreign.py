"""Converts the tensors of a foreign checkpoint to those of mar-edge."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mar_edge.counting import counted
from mar_edge.errors import CheckpointError
from mar_edge.model.importing.layout import State

_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)

_HEADS = {192: 3, 384: 6, 512: 8, 640: 8, 768: 12, 1024: 16, 1280: 16}
"""Attention heads by width in all published models, encoders and decoders alike; ViT-H's are 80 channels wide, not 64."""

_ASIDE = {"head", "heads", "classifier", "loss", "losses", "criterion", "teacher", "ema", "momentum", "queue"}
"""Words in names of extra tensors that do not change what a model computes, such as `aux_head`."""


@dataclass
class Foreign:
    """Tensors of a foreign checkpoint; used ones are removed from `state`, and missing ones are collected.

    Attributes:
        state: remaining tensors.
        missing: names of tensors that the format requires and the file lacks.
        out: tensors by our names.
        unused: names of tensors that are left out, with the reason.
        notes: sentences for the user.
    """

    state: State
    missing: list[str] = field(default_factory=list)
    out: State = field(default_factory=dict)
    unused: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def take(self, theirs: str) -> Tensor | None:
        """Remove a tensor as float32; None if it does not exist.

        Raises:
            CheckpointError: if it is quantised, or has a value that is NaN or infinite.
        """
        tensor = self.state.pop(theirs, None)
        if tensor is None:
            self.missing.append(theirs)
            return None
        if tensor.dtype not in _DTYPES or tensor.layout != torch.strided or tensor.is_meta:
            raise CheckpointError(
                f"{theirs} is {str(tensor.dtype).removeprefix('torch.')}, expected floating-point weights; "
                "import the weights from before quantisation"
            )
        if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            raise CheckpointError(
                f"{theirs} has shape {tuple(tensor.shape)}, and the file fewer values; save a contiguous copy of it"
            )
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{theirs} has a value that is NaN or infinite; use an earlier checkpoint")
        return tensor.float()

    def move(self, ours: str, theirs: str, change: Callable[[Tensor], Tensor] = lambda tensor: tensor) -> None:
        """Take a tensor under our name."""
        tensor = self.take(theirs)
        if tensor is not None:
            self.out[ours] = change(tensor)

    def linear(self, ours: str, theirs: str) -> None:
        """Take weight and bias."""
        self.move(f"{ours}.weight", f"{theirs}.weight")
        self.move(f"{ours}.bias", f"{theirs}.bias")

    def leave(self, theirs: str, reason: str) -> None:
        """Leave out all tensors whose names begin with a prefix."""
        names = [key for key in self.state if key == theirs or key.startswith(f"{theirs}.")]
        for key in names:
            del self.state[key]
        if names:
            self.unused[theirs if theirs in names else f"{theirs}.*"] = reason

    def has(self, ending: str) -> bool:
        """Return whether a name ends with a suffix."""
        return any(key.endswith(ending) for key in self.state)

    def depth(self, prefix: str) -> int:
        """Count numbered parts.

        Raises:
            CheckpointError: if a number is missing.
        """
        found = {m[1] for key in self.state if (m := re.match(re.escape(prefix) + r"\.(\d{1,9})\.", key))}
        missing = next((number for number in range(len(found)) if str(number) not in found), None)
        if missing is not None:
            raise CheckpointError(f"the checkpoint lacks {prefix}.{missing}; the file is incomplete")
        return len(found)

    def shape(self, key: str) -> tuple[int, ...]:
        """Return the shape of a required tensor.

        Raises:
            CheckpointError: if it does not exist.
        """
        if key not in self.state:
            raise CheckpointError(f"the checkpoint lacks {key}; the file is incomplete")
        return tuple(self.state[key].shape)

    def heads(self, given: int | None, width: int, option: str) -> int:
        """Return the number of attention heads, which the weights do not show.

        Raises:
            CheckpointError: if the width is not divisible by it.
        """
        heads = given or _HEADS.get(width)
        if heads is None:
            heads = max(1, width // 64)
            self.notes.append(
                f"assumed {counted(heads, 'attention head')} for {width} channels, which no published model has; weights do not "
                f"show the number, and a wrong number gives wrong results. Set it with {option}"
            )
        if heads < 1 or width % heads:
            raise CheckpointError(
                f"{counted(width, 'channel', 'is', 'are')} not divisible by {counted(heads, 'head')}; set the number with {option}"
            )
        return heads

    def patch_embedding(self, theirs: str) -> tuple[int, int]:
        """Move the strided convolution (D, 3, t, p, p) to our linear layer over (frame, row, column, channel).

        Returns:
            Frames and pixels of a tubelet.

        Raises:
            CheckpointError: if it is another kind of embedding.
        """
        shape = self.shape(f"{theirs}.weight")
        if len(shape) != 5 or shape[1] != 3 or shape[3] != shape[4]:
            raise CheckpointError(f"{theirs}.weight has shape {shape}, expected (D, 3, frames, patch, patch)")
        self.move("encoder.embed.weight", f"{theirs}.weight", lambda w: w.permute(0, 2, 3, 4, 1).flatten(1))
        self.move("encoder.embed.bias", f"{theirs}.bias")
        return shape[2], shape[3]

    def positions(self, ours: str, *theirs: str) -> None:
        """Take a position table (1, tokens, D) if the file has one, learned or not; otherwise ours is the published formula."""
        for key in theirs:
            if key in self.state:
                self.move(f"{ours}.positions", key, lambda table: table.squeeze(0))

    def check_left(self, *taken: str) -> None:
        """Account for every remaining tensor.

        Args:
            *taken: the parts that were imported; no tensor of them may remain.

        Raises:
            CheckpointError: if one of them would change what the model computes.
        """
        for key in sorted(self.state):
            first, dot, _ = key.partition(".")
            if not dot or first in taken or not _ASIDE & set(first.split("_")):
                raise CheckpointError(
                    f"it has {key}, which this model does not have; without it the results would differ, "
                    "so such a model cannot be imported"
                )
            self.leave(first, "not part of what the model computes")


def split_bias(foreign: Foreign, ours: str, theirs: str) -> None:
    """Move one bias for query, key and value; the key's third cancels in the softmax."""
    bias = foreign.take(theirs)
    if bias is not None:
        foreign.out[f"{ours}.q_bias"], _, foreign.out[f"{ours}.v_bias"] = bias.chunk(3)


def zero_biases(foreign: Foreign, ours: str, width: int) -> None:
    """Add zero biases to a model without biases in its attention: this changes nothing."""
    foreign.out |= {f"{ours}.q_bias": torch.zeros(width), f"{ours}.v_bias": torch.zeros(width)}
