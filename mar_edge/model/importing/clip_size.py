"""Frames and size of a clip: from the user, from the checkpoint, or as in published models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mar_edge.errors import CheckpointError
from mar_edge.files.json_text import parse_json
from mar_edge.files.regular_file import read_limited
from mar_edge.geometry import Geometry
from mar_edge.model.importing.imported import Asked, Heads

FRAMES, SIZE_PX = 16, 224
"""Values of the published models."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """The settings stored with the weights of an official checkpoint; None for missing ones.

    Attributes:
        source: where they are stored.
        frames, size_px: of a clip.
        heads: of the encoder.
        norm_eps: of the layer norms.
    """

    source: str = "the checkpoint"
    frames: int | None = None
    size_px: int | None = None
    heads: int | None = None
    norm_eps: float = 1e-6


def told(settings: Mapping[str, Any], folder: Path) -> Told:
    """Read the command line that VideoMAE's scripts store, or the config.json of VideoMAE V2 on Hugging Face.

    Raises:
        CheckpointError: if it names a part that mar-edge computes differently.
    """
    try:
        values = parse_json(read_limited(folder / "config.json"))["model_config"]
    except (OSError, ValueError, KeyError, TypeError):
        values = None
    if not isinstance(values, dict):
        frames, segments = _whole(settings, "num_frames"), _whole(settings, "num_segments") or 1
        return Told(source="its 'args'", frames=frames and frames * segments, size_px=_whole(settings, "input_size"))
    for key, ours in (("cos_attn", False), ("qk_scale", None), ("in_chans", 3)):
        if values.get(key, ours) != ours:
            raise CheckpointError(f"config.json has {key} {values[key]!r}; mar-edge supports only {ours!r}")
    eps = values.get("layer_norm_eps", 1e-6)
    if not isinstance(eps, float) or not 0 < eps < 1:
        raise CheckpointError(f"config.json has layer_norm_eps {eps!r}, expected a small positive number")
    return Told(
        source="config.json",
        frames=_whole(values, "all_frames") or _whole(values, "num_frames"),
        size_px=_whole(values, "img_size"),
        heads=_whole(values, "num_heads"),
        norm_eps=eps,
    )


def clip_geometry(asked: Asked, beside: Told, tubelet: tuple[int, int]) -> Geometry:
    """Return the geometry of an official checkpoint; the tubelet (frames, pixels) is known from its weights.

    Raises:
        CheckpointError: if the values of user and checkpoint differ.
    """
    frames = agreed("--frames", asked.frames, beside.frames, beside.source) or FRAMES
    size_px = agreed("--size", asked.size_px, beside.size_px, beside.source) or SIZE_PX
    return Geometry(frames=frames, height_px=size_px, width_px=size_px, tubelet_frames=tubelet[0], patch_px=tubelet[1])


def encoder_heads(heads: Heads, beside: Told) -> int | None:
    """Return the heads of the encoder that user and checkpoint agree on."""
    return agreed("--heads", heads.encoder, beside.heads, beside.source)


def agreed(option: str, asked: int | None, found: int | None, source: str) -> int | None:
    """Return a number given by the user, the checkpoint, both or neither.

    Raises:
        CheckpointError: if they differ.
    """
    if asked is not None and found is not None and asked != found:
        raise CheckpointError(f"{option} is {asked}, but {source} states {found}. Leave {option} out")
    return asked if found is None else found


def _whole(values: Mapping[str, Any], key: str) -> int | None:
    value = values.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
