"""The arguments and the result of an import."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mar_edge.model.config import ModelConfig
from mar_edge.model.mar import MAR


@dataclass(frozen=True, kw_only=True)
class Heads:
    """Numbers of attention heads; None uses the checkpoint's value, otherwise that of published models of the same width."""

    encoder: int | None = None
    bridge: int | None = None
    decoder: int | None = None


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The user's settings for a checkpoint; None uses the checkpoint's value.

    Attributes:
        frames: frames in a clip.
        size_px: side of a clip.
        heads: numbers of attention heads.
    """

    frames: int | None = None
    size_px: int | None = None
    heads: Heads = field(default_factory=Heads)


@dataclass
class Imported:
    """A foreign checkpoint as a mar-edge model.

    Attributes:
        model: with the foreign weights.
        config: its architecture.
        format: what the checkpoint is, in words.
        labels: class names, if the checkpoint has them.
        unused: tensors of the file that were not imported, by name or as `prefix*`, with the reason.
        notes: sentences about what was assumed or left out.
        resize: how its own preprocessing resizes a picture.
    """

    model: MAR
    config: ModelConfig
    format: str
    labels: list[str] | None = None
    unused: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    resize: Literal["center_crop", "stretch"] = "center_crop"
