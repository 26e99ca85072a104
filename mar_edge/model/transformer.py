"""The pre-norm transformer block that encoder, decoder and bridging classifier share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mar_edge.counting import counted
from mar_edge.geometry import Grid
from mar_edge.model.band import Band


class Attention(nn.Module):
    """Multi-head self-attention with query and value bias.

    A key bias adds the same number to every score of a query and cancels in the softmax, so it is omitted.

    Args:
        width: token width D.
        heads: number of heads; D must be a multiple of it.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not divisible by {counted(heads, 'head')}")
        self.heads = heads
        self.head_width = width // heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, band: Band | None = None) -> Tensor:
        """Map tokens (B, N, D) to (B, N, D); in a causal model along a band of time steps."""
        _, tokens, width = x.shape
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        parts = torch.split(F.linear(x, self.qkv.weight, bias), width, dim=-1)
        query, key, value = (p.reshape(-1, tokens, self.heads, self.head_width).transpose(1, 2) for p in parts)
        allowed = None
        if band is not None:
            query, key, value = band.extend(query, key, value)
            allowed = band.allowed
        mixed = _attend(query, key, value, allowed)  # (B, heads, N, D / heads)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(-1, tokens, width))
        return out


def _attend(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None) -> Tensor:
    if not torch.compiler.is_exporting():
        return F.scaled_dot_product_attention(query, key, value, allowed)
    # the plain pattern that ONNX Runtime and TensorRT fuse; torch's own operator would be exported with shape arithmetic
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    if allowed is not None:
        scores = scores + allowed
    mixed: Tensor = scores.softmax(dim=-1) @ value
    return mixed


class DropPath(nn.Module):
    """Drop a residual branch for entire samples in training (stochastic depth, arXiv 1603.09382)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Zero (B, ...) samples with probability `rate` and scale the others up."""
        if not self.training or self.rate == 0:
            return x
        keep = torch.empty(x.shape[0], *[1] * (x.dim() - 1), device=x.device, dtype=x.dtype).bernoulli_(1 - self.rate)
        out: Tensor = x * keep / (1 - self.rate)
        return out


class Block(nn.Module):
    """x + attention(norm x), then x + mlp(norm x), with exact GELU and a hidden width of 4 D.

    Args:
        width: token width D.
        heads: attention heads.
        norm_eps: epsilon of both layer norms.
        drop_path: probability to skip a branch in training.
        layer_scale: whether the branches carry a learned gain per channel.
    """

    def __init__(
        self, width: int, heads: int, *, norm_eps: float = 1e-6, drop_path: float = 0.0, layer_scale: bool = False
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        self.drop_path = DropPath(drop_path)
        self.gamma_1 = nn.Parameter(torch.full((width,), 0.1)) if layer_scale else None
        self.gamma_2 = nn.Parameter(torch.full((width,), 0.1)) if layer_scale else None

    def forward(self, x: Tensor, band: Band | None = None) -> Tensor:
        """Map tokens (B, N, D) to (B, N, D); in a causal model along a band of time steps."""
        branch = self.attn(self.norm1(x), band)
        x = x + self.drop_path(branch if self.gamma_1 is None else self.gamma_1 * branch)
        branch = self.fc2(F.gelu(self.fc1(self.norm2(x))))
        out: Tensor = x + self.drop_path(branch if self.gamma_2 is None else self.gamma_2 * branch)
        return out


def blocks(
    depth: int, width: int, heads: int, *, norm_eps: float = 1e-6, drop_path: float = 0.0, layer_scale: bool = False
) -> nn.ModuleList:
    """Return `depth` blocks whose drop path grows linearly from 0 to `drop_path`."""
    rates = [drop_path * i / max(1, depth - 1) for i in range(depth)]
    return nn.ModuleList(
        Block(width, heads, norm_eps=norm_eps, drop_path=rate, layer_scale=layer_scale) for rate in rates
    )


def grid_positions(grid: Grid, width: int) -> Tensor:
    """Return a fixed position table (tokens, width) over time step, row and column, float32.

    A third of the channels each; an axis of n places has sines and cosines of 0.5 to n / 2 periods over its length, so
    that the slowest sine is the position itself, from -1 to 1. A token's position is a linear function of it, which the
    flat table does not allow: zoom and roll, whose flow depends on the position, are learned much sooner with it.
    """
    channels = torch.arange(width)
    table = torch.zeros(*grid, width, dtype=torch.float64)
    for axis, places in enumerate(grid):
        own = channels[axis::3]
        periods = 0.5 * max(1.0, places) ** torch.linspace(0, 1, (len(own) + 1) // 2, dtype=torch.float64)
        place = (torch.arange(places, dtype=torch.float64) + 0.5) / places - 0.5
        angle = 2 * torch.pi * place[:, None] * periods  # (places, periods)
        waves = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, : len(own)]
        shape = [1, 1, 1, len(own)]
        shape[axis] = places
        table[..., own] = waves.reshape(shape)
    return table.reshape(-1, width).float()


def sincos_positions(tokens: int, width: int) -> Tensor:
    """Return the fixed position table (tokens, width) over the flat token index, float32, as in MAR and VideoMAE.

    angle(p, j) = p / 10000^(2 floor(j/2) / width); sine at even j, cosine at odd j (Attention Is All You Need, 3.5).
    """
    position = torch.arange(tokens, dtype=torch.float64)[:, None]
    channel = torch.arange(width, dtype=torch.float64)
    angle = position / 10000 ** (2 * torch.div(channel, 2, rounding_mode="floor") / width)
    return torch.where(channel.long() % 2 == 0, angle.sin(), angle.cos()).float()
