"""Random weights that behave like trained ones, for what fresh weights would make too easy.

A fresh transformer has even channels, flat attention and tiny logits, and any quantisation passes on it. What trained
ones do is known: layer norm gains spread, a few channels are tens of times larger than the others both in the residual
stream and after the norms (SmoothQuant, arXiv 2211.10438; Massive Activations, arXiv 2402.17762), attention is peaked,
and the classes' logits lie units apart. Random weights reach that when every layer is scaled to it while clips run
through, as in layer-sequential unit-variance initialisation (arXiv 1511.06422); left alone, attention becomes so sharp
that the model is chaotic, which trained ones are not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mar_edge.geometry import Geometry
from mar_edge.model.config import ModelConfig, build
from mar_edge.model.mar import MAR, BridgingClassifier
from mar_edge.model.transformer import Attention, Block

GAIN_SPREAD = 0.4
"""Standard deviation of the logarithm of a channel's size after a norm."""

OUTLIER = 50.0
"""So many times larger than the others an outlier channel is, after the norms and in the residual stream."""

OUTLIER_SHARE = 1 / 128
"""Of the channels after each norm, and of those of the residual stream; one at least."""

SCORE_SPREAD = 2.0
"""Standard deviation of a token's attention scores."""

BRANCH = 0.4
"""Size of what a branch adds to the residual stream, where most channels are about 1."""

BIAS = 0.05
"""Standard deviation of biases."""

LOGIT_SPREAD = 3.0
"""Standard deviation of the logits."""

TOKENS = 256
"""So many tokens of a clip do to find the sizes."""


def realistic(config: ModelConfig, seed: int = 0) -> MAR:
    """Build a model with random weights that behaves like a trained one."""
    generator = torch.Generator().manual_seed(seed)
    model = build(config).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                _fill(module.weight, module.in_features**-0.5, generator)
                if module.bias is not None:
                    _fill(module.bias, BIAS, generator)
            elif isinstance(module, Attention):
                _fill(module.q_bias, BIAS, generator)
                _fill(module.v_bias, BIAS, generator)
        _see_colours(model, generator)
        stacks = [model.encoder.blocks]
        if isinstance(model.classifier, BridgingClassifier):
            stacks.append(model.classifier.blocks)
        for blocks in stacks:
            first = blocks[0]
            assert isinstance(first, Block)
            large = _some(first.fc2.out_features, generator)
            first.fc2.bias[large] = OUTLIER * torch.tensor([1.0, -1.0]).repeat(len(large))[: len(large)]
        _scale(model, generator)
    return model


def _see_colours(model: MAR, generator: torch.Generator) -> None:
    """Let the embedding see the mean colour of a tubelet most of all: so tokens of a clip agree, and clips differ."""
    weight = model.encoder.embed.weight  # (D, values), values ordered ..., channel
    colours = torch.randn(len(weight), 3, generator=generator)
    weight.mul_(0.2).add_(colours.repeat(1, weight.shape[1] // 3) * 3 / weight.shape[1])


def _scale(model: MAR, generator: torch.Generator) -> None:
    """Bring every layer to its size while clips run through: an earlier one is done when a later one sees them."""
    hooks = []
    sizes: dict[nn.Module, Tensor] = {}
    outliers: dict[nn.Module, Tensor] = {}
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            sizes[module] = (GAIN_SPREAD * torch.randn(module.weight.shape, generator=generator)).exp()
        if isinstance(module, Block):
            for norm, product in ((module.norm1, module.attn.qkv), (module.norm2, module.fc1)):
                chosen = _some(norm.weight.numel(), generator)
                product.weight[:, chosen] *= 2 / OUTLIER  # such a channel says about twice as much as another one
                outliers[norm] = chosen
            hooks.append(module.attn.proj.register_forward_hook(_linear_to(BRANCH)))
            hooks.append(module.fc2.register_forward_hook(_linear_to(BRANCH)))
            hooks.append(module.attn.register_forward_pre_hook(_attention_to_spread))
    for layer, size in sizes.items():
        size[outliers.get(layer, [])] = OUTLIER
        hooks.append(layer.register_forward_hook(_norm_to(size)))
    hooks.append(model.encoder.embed.register_forward_hook(_linear_to(1.0)))
    head = model.get_submodule("classifier.head")
    hooks.append(head.register_forward_hook(_linear_to(LOGIT_SPREAD)))
    geometry = model.encoder.geometry
    model(_clips(geometry, generator), torch.randperm(geometry.tokens, generator=generator)[:TOKENS].sort().values)
    for hook in hooks:
        hook.remove()


def _clips(geometry: Geometry, generator: torch.Generator) -> Tensor:
    """Return four clips, uint8 (4, T, H, W, 3), each of its own colour with coarse and fine structure."""
    shape = (4, geometry.frames, geometry.height_px, geometry.width_px, 3)
    colour = 40 * torch.randn(4, 1, 1, 1, 3, generator=generator)
    coarse = 30 * torch.randn(4, 1, 4, 4, 3, generator=generator)
    coarse = coarse.repeat_interleave(geometry.height_px // 4, 2).repeat_interleave(geometry.width_px // 4, 3)
    return (120 + colour + coarse + 15 * torch.randn(shape, generator=generator)).clamp(0, 255).to(torch.uint8)


def _norm_to(size: Tensor) -> Callable[..., Tensor]:
    """Give a norm the gains that bring its channels to a size."""

    def hook(norm: nn.LayerNorm, _inputs: Any, output: Tensor) -> Tensor:
        rms = output.square().flatten(0, -2).mean(dim=0).sqrt()  # (D,); gains are 1 and biases 0 so far
        norm.weight.copy_(size / rms.clamp(min=0.05))
        return output * norm.weight

    return hook


def _linear_to(size: float) -> Callable[..., Tensor]:
    """Scale a layer's weights so that what it gives, but for its bias, has a size."""

    def hook(layer: Any, _inputs: Any, output: Tensor) -> Tensor:
        bias = layer.bias if layer.bias is not None else 0.0
        factor = size / (output - bias).square().mean().sqrt()
        layer.weight.mul_(factor)
        return factor * (output - bias) + bias

    return hook


def _attention_to_spread(attention: Any, inputs: tuple[Any, ...]) -> None:
    """Scale queries and keys so that a token's scores have their spread."""
    x = inputs[0]
    width = x.shape[-1]
    query, key = (
        (x @ attention.qkv.weight[start : start + width].T).unflatten(-1, (attention.heads, -1)).transpose(1, 2)
        for start in (0, width)
    )
    scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
    attention.qkv.weight[: 2 * width] *= (SCORE_SPREAD / scores.std(dim=-1).mean()).sqrt()


def _some(width: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(width, generator=generator)[: max(1, round(OUTLIER_SHARE * width))]


def _fill(tensor: Tensor, deviation: float, generator: torch.Generator) -> None:
    tensor.copy_(deviation * torch.randn(tensor.shape, generator=generator))
