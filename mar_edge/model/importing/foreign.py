"""Tensors of a foreign checkpoint on their way into a model of ours."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mar_edge.errors import CheckpointError
from mar_edge.model.importing.layout import State

_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)

_HEADS = {192: 3, 384: 6, 512: 8, 640: 8, 768: 12, 1024: 16, 1280: 16}
"""Attention heads by width in all published models, encoders and decoders alike; ViT-H's are 80 channels wide, not 64."""

_ASIDE = {"head", "heads", "classifier", "loss", "losses", "criterion", "teacher", "ema", "momentum", "queue"}
"""Words in names of what stands beside a model and changes nothing of what it computes, as `aux_head`."""


@dataclass
class Foreign:
    """Tensors of a foreign checkpoint; what is used leaves `state`, and what is missing is collected.

    Attributes:
        state: what is left.
        missing: names of what the format has and the file has not.
        out: tensors by our names.
        unused: names of what is left out for a reason, with the reason.
        notes: sentences for the user.
    """

    state: State
    missing: list[str] = field(default_factory=list)
    out: State = field(default_factory=dict)
    unused: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def take(self, theirs: str) -> Tensor | None:
        """Remove a tensor as float32; None if it is not there.

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
                "import them from before they were quantised"
            )
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{theirs} has a value that is NaN or infinite; take an earlier checkpoint")
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
        """Leave out everything whose name begins so."""
        names = [key for key in self.state if key == theirs or key.startswith(f"{theirs}.")]
        for key in names:
            del self.state[key]
        if names:
            self.unused[theirs if theirs in names else f"{theirs}.*"] = reason

    def has(self, ending: str) -> bool:
        """Say whether a name ends so."""
        return any(key.endswith(ending) for key in self.state)

    def depth(self, prefix: str) -> int:
        """Count numbered parts."""
        found = [int(m[1]) for key in self.state if (m := re.match(re.escape(prefix) + r"\.(\d+)\.", key))]
        return max(found, default=-1) + 1

    def shape(self, key: str) -> tuple[int, ...]:
        """Return the shape of what has to be there.

        Raises:
            CheckpointError: if it is not.
        """
        if key not in self.state:
            raise CheckpointError(f"the checkpoint lacks {key}; the file is incomplete")
        return tuple(self.state[key].shape)

    def heads(self, given: int | None, width: int, option: str) -> int:
        """Return the number of attention heads, which weights do not show.

        Raises:
            CheckpointError: if the width does not divide into so many.
        """
        heads = given or _HEADS.get(width)
        if heads is None:
            heads = max(1, width // 64)
            self.notes.append(
                f"assumed {heads} attention heads for {width} channels, which no published model has; weights do not "
                f"show the number, and with a wrong one the results are wrong. Give it with {option}"
            )
        if heads < 1 or width % heads:
            raise CheckpointError(f"{width} channels do not divide into {heads} heads; give the number with {option}")
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
        """Take a position table (1, tokens, D) if the file has one, learned or not; else ours is the published formula."""
        for key in theirs:
            if key in self.state:
                self.move(f"{ours}.positions", key, lambda table: table.squeeze(0))

    def check_left(self, *taken: str) -> None:
        """Account for every tensor that is left.

        Args:
            *taken: the parts that were taken; nothing may be left in them.

        Raises:
            CheckpointError: if one of them would change what the model computes.
        """
        for key in sorted(self.state):
            first, dot, _ = key.partition(".")
            if not dot or first in taken or not _ASIDE & set(first.split("_")):
                raise CheckpointError(
                    f"it has {key}, which this model has no place for; without it the results would be others, "
                    "so such a model cannot be imported"
                )
            self.leave(first, "beside the model, no part of what it computes")


def split_bias(foreign: Foreign, ours: str, theirs: str) -> None:
    """Move one bias for query, key and value; the key's third cancels in the softmax."""
    bias = foreign.take(theirs)
    if bias is not None:
        foreign.out[f"{ours}.q_bias"], _, foreign.out[f"{ours}.v_bias"] = bias.chunk(3)


def zero_biases(foreign: Foreign, ours: str, width: int) -> None:
    """Fill in the biases of a model that has none in its attention: adding zero changes nothing."""
    foreign.out |= {f"{ours}.q_bias": torch.zeros(width), f"{ours}.v_bias": torch.zeros(width)}
