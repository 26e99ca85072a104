"""MAR: an encoder of the visible tubelets, a classifier, and a pixel decoder for training.

Source: MAR, arXiv 2207.11660. Clips are uint8 (B, T, H, W, 3) RGB everywhere; normalisation happens inside.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from mar_edge.geometry import Geometry
from mar_edge.model.band import Band
from mar_edge.model.transformer import blocks, grid_positions, sincos_positions

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

InputNorm = Literal["imagenet", "clip", "step"]
"""`imagenet` subtracts fixed channel means; `clip` takes the square root and standardises each clip by the visible part
of it, so that dark and bright footage become similar; `step` does so for each time step of a streaming model, which does
not know the later ones."""

Positions = Literal["flat", "grid"]
"""`flat` is MAR's and VideoMAE's table over the token index; `grid` one over time step, row and column."""


class Encoder(nn.Module):
    """Vision transformer over visible tubelets.

    Args:
        geometry: size of clips and tubelets; of a single time step for a streaming model, whose position table has no time.
        width: token width D.
        depth: number of blocks.
        heads: attention heads.
        norm_eps: epsilon of the layer norms.
        drop_path: drop path of the last block.
        layer_scale: whether blocks have LayerScale gains.
        final_norm: whether a layer norm follows the last block.
        input_norm: how pixels are normalised.
        positions: the position table.
    """

    pixel_mean: Tensor
    pixel_std: Tensor
    positions: Tensor

    def __init__(
        self,
        geometry: Geometry,
        *,
        width: int,
        depth: int,
        heads: int,
        norm_eps: float = 1e-6,
        drop_path: float = 0.0,
        layer_scale: bool = False,
        final_norm: bool = True,
        input_norm: InputNorm = "imagenet",
        positions: Positions = "flat",
    ) -> None:
        super().__init__()
        self.geometry = geometry
        self.input_norm = input_norm
        self.embed = nn.Linear(geometry.tubelet_values, width)
        self.blocks = blocks(depth, width, heads, norm_eps=norm_eps, drop_path=drop_path, layer_scale=layer_scale)
        self.norm = nn.LayerNorm(width, eps=norm_eps) if final_norm else nn.Identity()
        values = geometry.tubelet_values // 3
        self.register_buffer("pixel_mean", torch.tensor(MEAN).repeat(values) * 255, persistent=False)
        self.register_buffer("pixel_std", torch.tensor(STD).repeat(values) * 255, persistent=False)
        self.register_buffer("positions", position_table(geometry, width, positions), persistent=True)

    def forward(self, tubelets: Tensor, visible: Tensor, band: Band | None = None) -> Tensor:
        """Encode the visible tubelets.

        Args:
            tubelets: all tubelets of the clips, (B, tokens, values), 0 to 255, any dtype; of the time steps, one after the
                other, (B * steps, places, values) for a streaming model.
            visible: token indices, (N,) for one mask or (B, N) for one per sample; (B * steps, N) for a streaming model.
            band: what the attentions of a streaming model share; None for a windowed one.

        Returns:
            Tokens (B, N, D), or (B, steps * N, D).
        """
        seen = pick(tubelets, visible)
        # index_select: a plain Gather, which the exporter folds where the mask is constant
        place = self.positions.index_select(0, visible.flatten()).reshape(*visible.shape, -1)
        x = self.embed(self.normalise(seen)) + place
        if band is not None and band.steps > 1:
            x = x.reshape(-1, band.steps * x.shape[1], x.shape[2])
        for block in self.blocks:
            x = block(x, band)
        out: Tensor = self.norm(x)
        return out

    def normalise(self, seen: Tensor) -> Tensor:
        """Normalise visible tubelets (B, N, values) of 0 to 255 to float32."""
        seen = seen.float()
        if self.input_norm == "imagenet":
            return (seen - self.pixel_mean) / self.pixel_std
        x = (seen / 255).sqrt()
        x = x - _mean(x)
        # a lower bound of the deviation keeps the noise of a black picture small
        return x / (_mean(x.square()).sqrt() + 0.02)


def position_table(geometry: Geometry, width: int, kind: Positions) -> Tensor:
    """Return the position table (tokens, width) of a kind."""
    return grid_positions(geometry.grid, width) if kind == "grid" else sincos_positions(geometry.tokens, width)


def _mean(x: Tensor) -> Tensor:
    # in two stages: ONNX Runtime sums in a plain loop, which loses four digits over 100,000 values
    return x.mean(dim=2, keepdim=True).mean(dim=1, keepdim=True)


class BridgingClassifier(nn.Module):
    """MAR's bridge between low-level features and classes: narrow, two blocks, mean over tokens, norm, linear."""

    def __init__(self, encoder_width: int, classes: int, *, width: int = 512, depth: int = 2, heads: int = 8) -> None:
        super().__init__()
        self.reduce = nn.Linear(encoder_width, width, bias=False)
        self.blocks = blocks(depth, width, heads)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)

    def forward(self, tokens: Tensor, band: Band | None = None) -> Tensor:
        """Map tokens (B, N, D) to logits (B, classes); those of a streaming model to logits of every step.

        Args:
            tokens: (B, N, D), or (B, steps * N, D).
            band: what the attentions of a streaming model share; None for a windowed one.

        Returns:
            (B, classes), or (B, steps, classes) of a band with several steps.
        """
        x = self.reduce(tokens)
        for block in self.blocks:
            x = block(x, band)
        if band is not None and band.steps > 1:
            x = x.reshape(x.shape[0], band.steps, -1, x.shape[2])
        out: Tensor = self.head(self.norm(x.mean(dim=-2)))
        return out


class MeanPoolClassifier(nn.Module):
    """VideoMAE's classifier: mean over tokens, norm, linear."""

    def __init__(self, encoder_width: int, classes: int, *, norm_eps: float = 1e-6) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(encoder_width, eps=norm_eps)
        self.head = nn.Linear(encoder_width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, N, D) to logits (B, classes)."""
        out: Tensor = self.head(self.norm(tokens.mean(dim=1)))
        return out


class FirstTokenClassifier(nn.Module):
    """VideoMAE's classifier without pooling: linear on the first token."""

    def __init__(self, encoder_width: int, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(encoder_width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, N, D) to logits (B, classes)."""
        out: Tensor = self.head(tokens[:, 0])
        return out


class PixelDecoder(nn.Module):
    """Reconstructs the hidden tubelets in training; never exported."""

    positions: Tensor

    def __init__(
        self,
        geometry: Geometry,
        encoder_width: int,
        *,
        width: int,
        depth: int,
        heads: int,
        block_norm_eps: float = 1e-6,
        norm_eps: float = 1e-6,
        positions: Positions = "flat",
    ) -> None:
        super().__init__()
        self.reduce = nn.Linear(encoder_width, width, bias=False)
        self.mask_token = nn.Parameter(torch.zeros(width))
        self.blocks = blocks(depth, width, heads, norm_eps=block_norm_eps)
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.head = nn.Linear(width, geometry.tubelet_values)
        self.register_buffer("positions", position_table(geometry, width, positions), persistent=True)

    def forward(self, tokens: Tensor, visible: Tensor, masked: Tensor) -> Tensor:
        """Predict the pixels of the hidden tubelets.

        Args:
            tokens: encoder output (B, N, D).
            visible: its token indices (B, N).
            masked: token indices to reconstruct (B, M).

        Returns:
            Standardised pixels (B, M, values), ordered frame, row, column, channel.
        """
        seen = self.reduce(tokens) + self.positions[visible]
        hidden = self.mask_token + self.positions[masked]
        x = torch.cat([seen, hidden], dim=1)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.head(self.norm(x[:, seen.shape[1] :]))
        return out


class JointOutput(NamedTuple):
    """The outputs for one training step.

    Attributes:
        logits: (B, classes), of a streaming model (B, steps, classes); None for a model without classifier.
        pixels: predicted standardised pixels of the hidden tubelets (B, M, values); None without decoder.
        target: the target of `pixels`.
        tokens: encoder output (B, N, D).
    """

    logits: Tensor | None
    pixels: Tensor | None
    target: Tensor | None
    tokens: Tensor


class MAR(nn.Module):
    """Masked action recognition.

    Args:
        encoder: the encoder.
        classifier: maps encoder tokens to logits; None for a pre-training model.
        decoder: the pixel decoder; None in a model for inference only.
    """

    def __init__(self, encoder: Encoder, classifier: nn.Module | None, decoder: PixelDecoder | None) -> None:
        super().__init__()
        self.encoder = encoder
        self.classifier = classifier
        self.decoder = decoder

    def forward(self, frames: Tensor, visible: Tensor) -> Tensor:
        """Classify clips.

        Args:
            frames: uint8 (B, T, H, W, 3) RGB.
            visible: token indices, (N,) or (B, N).

        Returns:
            Logits (B, classes), float32.
        """
        if self.classifier is None:
            raise ValueError("this model has no classifier: it was pre-trained only")
        out: Tensor = self.classifier(self.encoder(patchify(frames, self.encoder.geometry), visible))
        return out

    def joint(self, frames: Tensor, visible: Tensor, masked: Tensor) -> JointOutput:
        """Classify and reconstruct (the paper's joint objective, section 3.3).

        Args:
            frames: uint8 (B, T, H, W, 3) RGB.
            visible: visible token indices (B, N).
            masked: hidden token indices (B, M).
        """
        tubelets = patchify(frames, self.encoder.geometry)
        tokens = self.encoder(tubelets, visible)
        logits = None if self.classifier is None else self.classifier(tokens)
        if self.decoder is None or masked.shape[1] == 0:
            return JointOutput(logits, None, None, tokens)
        pixels = self.decoder(tokens, visible, masked)
        return JointOutput(logits, pixels, pixel_target(pick(tubelets, masked).float()), tokens)


def patchify(frames: Tensor, geometry: Geometry) -> Tensor:
    """Split clips into tubelets.

    Args:
        frames: (B, T, H, W, 3), any dtype.
        geometry: their geometry; of a single time step, to split clips of any length into those.

    Returns:
        (B, tokens, values) of the same dtype, values ordered frame, row, column, channel. In an exported graph float32,
        because TensorRT does not rearrange uint8.
    """
    t, h, w = geometry.grid
    tubelet, patch = geometry.tubelet_frames, geometry.patch_px
    # a patch row and its channels stay together: seven axes, which every engine can transpose
    frames = frames.float() if torch.compiler.is_exporting() else frames
    x = frames.reshape(-1, t, tubelet, h, patch, w, patch * 3)
    return x.permute(0, 1, 3, 5, 2, 4, 6).reshape(-1, t * h * w, geometry.tubelet_values)


def pick(tokens: Tensor, indices: Tensor) -> Tensor:
    """Select tokens (B, N, D) by indices (N,) or (B, N) from (B, tokens, D)."""
    if indices.dim() == 1:
        return tokens.index_select(1, indices)
    if torch.compiler.is_exporting():
        # torch's gather needs an index for every value of a token, from Expand, whose output may have any size
        shape = (*indices.shape, tokens.shape[-1])
        return torch.onnx.ops.symbolic(
            "GatherND", (tokens, indices[..., None]), {"batch_dims": 1}, dtype=tokens.dtype, shape=shape
        )
    return tokens.gather(1, indices[..., None].expand(-1, -1, tokens.shape[-1]))


def pixel_target(tubelets: Tensor) -> Tensor:
    """Standardise each channel of each tubelet: (x - mean) / (sqrt(unbiased variance) + 1e-6) on the [0, 1] scale.

    Args:
        tubelets: (B, M, values), 0 to 255.

    Returns:
        The same shape.
    """
    x = tubelets.reshape(*tubelets.shape[:2], -1, 3) / 255  # (B, M, frames * rows * columns, 3)
    x = (x - x.mean(dim=-2, keepdim=True)) / (x.var(dim=-2, keepdim=True).sqrt() + 1e-6)
    return x.reshape(tubelets.shape)
