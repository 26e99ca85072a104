"""A model that is built in no time, and clips of its size."""

from __future__ import annotations

from pathlib import Path

import torch

from mar_edge.geometry import Geometry
from mar_edge.manifest import Manifest
from mar_edge.model.checkpoint import CheckpointInfo
from mar_edge.model.config import ModelConfig, build
from mar_edge.model.mar import MAR
from mar_edge.runtime.measurement.clip_set import ClipSet, open_clips
from tests.fakes.bundle import manifest

TINY = ModelConfig(
    geometry=Geometry(frames=8, height_px=32, width_px=64, patch_px=8),
    width=32,
    depth=2,
    heads=2,
    classes=5,
    bridge_width=24,
    bridge_heads=2,
    decoder_width=16,
    decoder_depth=1,
    decoder_heads=2,
)


INFO = CheckpointInfo(name="tiny", labels=list("abcde"), rate_fps=10, resize="stretch", mask_ratio=0.5)


def tiny_clips(
    folder: Path | None, count: int = 4, warnings: list[str] | None = None, geometry: Geometry = TINY.geometry
) -> ClipSet:
    """Clips for the tiny graph."""
    made = Manifest.model_validate(manifest(geometry=vars(geometry), labels=list("abcde"), idle_label=None))
    return open_clips(made, folder, count=count, warn=(warnings if warnings is not None else []).append)


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
