"""Random weights that behave like trained ones, for what fresh weights would make too easy.

A fresh transformer has even channels, flat attention and tiny logits, and any quantisation passes on it. What trained
ones do is known: layer norm gains spread, a few channels are tens of times larger than the others both in the residual
stream and after the norms (SmoothQuant, arXiv 2211.10438; Massive Activations, arXiv 2402.17762), attention is peaked,
and the classes' logits lie units apart.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mar_edge.model.config import ModelConfig, build
from mar_edge.model.mar import MAR
from mar_edge.model.transformer import Block

GAIN_SPREAD = 0.4
"""Standard deviation of the logarithm of a layer norm's gains."""

OUTLIER = 50.0
"""So many times larger than the others an outlier channel is, after the norms and in the residual stream."""

OUTLIER_CHANNELS = 3
"""Of each layer norm, and of the residual stream."""

SCORE_SPREAD = 2.5
"""Standard deviation of the attention scores before the softmax."""

BRANCH = 0.4
"""Standard deviation of what a branch adds to the residual stream, where most channels are about 1."""

COLOUR = 1.5
"""Standard deviation of what a mean colour of one standard deviation adds to a token's channel."""

LOGIT_SPREAD = 3.0
"""Standard deviation of the logits."""


def realistic(config: ModelConfig, seed: int = 0) -> MAR:
    """Build a model with random weights that behaves like a trained one."""
    generator = torch.Generator().manual_seed(seed)
    model = build(config).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                _fill(module.weight, module.in_features**-0.5, generator)
                if module.bias is not None:
                    _fill(module.bias, 0.1, generator)
            elif isinstance(module, nn.LayerNorm):
                module.weight.copy_((GAIN_SPREAD * torch.randn(module.weight.shape, generator=generator)).exp())
                _fill(module.bias, 0.1, generator)
        _see_colours(model, generator)
        residual: Tensor | None = None
        for module in model.modules():
            if isinstance(module, Block):
                if residual is None or len(residual) != module.fc2.out_features:  # the encoder, then the classifier
                    residual = _outliers(module.fc2.bias, generator)
                    module.fc2.bias.copy_(residual)
                _shape_block(module, generator)
        classifier = model.classifier
        assert classifier is not None
        classifier.head.weight.mul_(LOGIT_SPREAD)  # type: ignore[union-attr, operator]
    return model


def _see_colours(model: MAR, generator: torch.Generator) -> None:
    """Let the embedding see the mean colour of a tubelet most of all: so tokens of a clip agree, and clips differ."""
    weight = model.encoder.embed.weight  # (D, values), values ordered ..., channel
    weight.mul_(0.3)
    colours = COLOUR * torch.randn(len(weight), 3, generator=generator)
    weight.add_(colours.repeat(1, weight.shape[1] // 3) * 3 / weight.shape[1])


def _shape_block(block: Block, generator: torch.Generator) -> None:
    """Make one block's attention peaked, its branches small, and a few channels after its norms large."""
    width = block.attn.proj.in_features
    block.attn.qkv.weight[: 2 * width].mul_(SCORE_SPREAD**0.5)  # queries and keys
    _fill(block.attn.q_bias, 0.3, generator)
    _fill(block.attn.v_bias, 0.1, generator)
    block.attn.proj.weight.mul_(BRANCH)
    block.fc2.weight.mul_(BRANCH / 0.6)  # GELU lets about this much through
    for norm, product in ((block.norm1, block.attn.qkv), (block.norm2, block.fc1)):
        chosen = torch.randperm(width, generator=generator)[:OUTLIER_CHANNELS]
        norm.weight[chosen] = OUTLIER
        norm.bias[chosen] = 0.0
        product.weight[:, chosen] *= 2 / OUTLIER  # such a channel says about twice as much as another one


def _outliers(bias: Tensor, generator: torch.Generator) -> Tensor:
    """Return a bias that makes a few channels of the residual stream large from here on."""
    chosen = torch.randperm(len(bias), generator=generator)[:OUTLIER_CHANNELS]
    signs = torch.tensor([1.0, -1.0]).repeat(OUTLIER_CHANNELS)[:OUTLIER_CHANNELS]
    out = bias.clone()
    out[chosen] = OUTLIER * signs
    return out


def _fill(tensor: Tensor, deviation: float, generator: torch.Generator) -> None:
    tensor.copy_(deviation * torch.randn(tensor.shape, generator=generator))
