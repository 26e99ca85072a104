"""A streaming model that is built in no time."""

from __future__ import annotations

import torch

from mar_edge.geometry import Geometry
from mar_edge.model.checkpoint import CheckpointInfo
from mar_edge.model.config import ModelConfig, build
from mar_edge.model.mar import MAR

TINY_STREAM = ModelConfig(
    geometry=Geometry(frames=16, height_px=64, width_px=64, patch_px=16),
    width=48,
    depth=2,
    heads=3,
    classes=5,
    bridge_width=64,
    bridge_heads=2,
    decoder_depth=0,
    layer_scale=True,
    input_norm="step",
    positions="grid",
    temporal="causal",
)

STREAM_INFO = CheckpointInfo(name="stream", labels=list("abcde"), rate_fps=10, resize="stretch", mask_ratio=0.5)


def tiny_stream() -> MAR:
    """Return it with random weights, none of them zero or like another."""
    torch.manual_seed(0)
    model = build(TINY_STREAM).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model
