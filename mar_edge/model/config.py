"""The architecture of a model, the presets, and how to build one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from torch import nn

from mar_edge.counting import counted
from mar_edge.errors import CheckpointError
from mar_edge.geometry import Geometry
from mar_edge.model.band import TURNED_OF
from mar_edge.model.mar import (
    MAR,
    BridgingClassifier,
    Encoder,
    FirstTokenClassifier,
    InputNorm,
    MeanPoolClassifier,
    PixelDecoder,
    Positions,
)
from mar_edge.model.streaming import StreamingMAR
from mar_edge.model_spec import PERIOD, ModelSpec, Temporal

ClassifierKind = Literal["bridge", "mean_pool", "first_token", "none"]

MAX_WIDTH, MAX_DEPTH, MAX_HEADS, MAX_CLASSES = 16_384, 256, 1024, 1_000_000
"""Largest sizes of an architecture; the largest published ViT (22B parameters) is 6144 wide and 48 deep."""

Width = Annotated[int, Field(gt=0, le=MAX_WIDTH)]
Depth = Annotated[int, Field(gt=0, le=MAX_DEPTH)]
Heads = Annotated[int, Field(gt=0, le=MAX_HEADS)]
OptionalDepth = Annotated[int, Field(ge=0, le=MAX_DEPTH)]
_Epsilon = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Architecture of a model; `from_dict` checks the types and limits of its fields.

    Attributes:
        geometry: clip and tubelet size.
        width, depth, heads: the encoder.
        classes: number of classes; 0 for a pre-training model.
        classifier: `bridge` (MAR), `mean_pool` or `first_token` (dense VideoMAE), `none` (pre-training).
        bridge_width, bridge_depth, bridge_heads: the bridging classifier.
        decoder_width, decoder_depth, decoder_heads: the pixel decoder; depth 0 for none.
        norm_eps: layer norms of the encoder and of the decoder's blocks.
        outer_norm_eps: the norm before a mean-pooling head and the decoder's last norm.
        layer_scale: whether encoder blocks have LayerScale gains.
        final_norm: whether a layer norm follows the encoder's last block; before a mean-pooling head there is none.
        drop_path: drop path of the last encoder block in training.
        input_norm: normalisation of pixels, see `mar.InputNorm`.
        positions: the position tables, see `mar.Positions`.
        temporal: `causal` for a streaming model.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True)

    geometry: Geometry = field(default_factory=Geometry)
    width: Width = 768
    depth: OptionalDepth = 12
    heads: Heads = 12
    classes: Annotated[int, Field(ge=0, le=MAX_CLASSES)] = 400
    classifier: ClassifierKind = "bridge"
    bridge_width: Width = 512
    bridge_depth: Depth = 2
    bridge_heads: Heads = 8
    decoder_width: Width = 384
    decoder_depth: OptionalDepth = 4
    decoder_heads: Heads = 6
    norm_eps: _Epsilon = 1e-6
    outer_norm_eps: _Epsilon = 1e-6
    layer_scale: bool = False
    final_norm: bool = True
    drop_path: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = 0.0
    input_norm: InputNorm = "imagenet"
    positions: Positions = "flat"
    temporal: Temporal = "window"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: object) -> ModelConfig:
        """Read what `to_dict` wrote.

        Raises:
            CheckpointError: on unknown or missing keys, and on values of a wrong type or beyond the limits.
        """
        if not isinstance(values, dict):
            raise CheckpointError(f"the model configuration is a {type(values).__name__}, expected keys and values")
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown or "geometry" not in values:
            raise CheckpointError(
                f"the model configuration has unknown keys {unknown}; it was written by another version of mar-edge"
                if unknown
                else "the model configuration has no geometry"
            )
        try:
            config = _checker().validate_json(
                json.dumps(values)
            )  # where strict allows no conversion but of JSON's own kinds
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise CheckpointError(
                f"the model configuration cannot be used: {where} is {ascii(first['input'])[:60]}: {first['msg']}"
            ) from error
        config._check_heads()
        config._check_temporal()
        return config

    @classmethod
    def of_spec(cls, spec: ModelSpec) -> ModelConfig:
        """Return the architecture of a bundle's model, which has no decoder.

        Raises:
            CheckpointError: as `from_dict`.
        """
        given = {"geometry": vars(spec.geometry), "temporal": spec.temporal, "decoder_depth": 0}
        return cls.from_dict({**spec.architecture, **given})

    def _check_temporal(self) -> None:
        if problem := temporal_problem(self.temporal, self.classifier, self.input_norm):
            raise CheckpointError(f"the model configuration cannot be used: {problem[0]} {problem[1]}")
        if self.temporal == "causal":
            heads = [("heads", self.width // self.heads)]
            if self.classifier == "bridge":
                heads.append(("bridge_heads", self.bridge_width // self.bridge_heads))
            for name, why in band_problems(self.geometry, heads):
                raise CheckpointError(f"the model configuration cannot be used: {name}: {why}")

    def _check_heads(self) -> None:
        used = {"": True, "bridge_": self.classifier == "bridge", "decoder_": self.decoder_depth > 0}
        for part in [part for part, is_used in used.items() if is_used]:
            width, heads = getattr(self, f"{part}width"), getattr(self, f"{part}heads")
            if width % heads:
                raise CheckpointError(
                    f"the model configuration cannot be used: {part}width {width} is not divisible by {part}heads {heads}"
                )


def temporal_problem(temporal: Temporal, classifier: ClassifierKind, norm: InputNorm) -> tuple[str, str] | None:
    """Return the field that does not fit a streaming or a windowed model, and why; None if all fit."""
    if temporal == "causal":
        if classifier not in ("bridge", "none"):
            return "classifier", f"'{classifier}' cannot stream; a causal model has classifier 'bridge'"
        if norm == "clip":
            return "input_norm", "'clip' looks at later frames; a causal model has input_norm 'step' or 'imagenet'"
    elif norm == "step":
        return "input_norm", "'step' is for temporal 'causal'; use 'clip' or 'imagenet'"
    return None


def band_problems(geometry: Geometry, heads: Iterable[tuple[str, int]]) -> Iterator[tuple[str, str]]:
    """Yield the fields because of which a causal model's attention cannot tell the time, and why.

    Args:
        geometry: of the band.
        heads: field and channels of the heads of every part.
    """
    steps, step = geometry.grid[0], geometry.tubelet_frames
    if not 2 <= steps <= PERIOD:
        yield (
            "frames",
            f"{counted(geometry.frames, 'frame')} are {counted(steps, 'time step')}; a causal model sees 2 to {PERIOD}, the "
            f"period of its clock: use {2 * step} to {PERIOD * step} frames",
        )
    for field_name, channels in heads:
        if channels < TURNED_OF:
            yield (
                field_name,
                f"leaves {counted(channels, 'channel')} for each head; a causal model needs {TURNED_OF} or more, because a "
                "part of them holds the time: use fewer heads",
            )


@cache
def _checker() -> TypeAdapter[ModelConfig]:
    return TypeAdapter(ModelConfig)


_SIZES = {
    # name: width, depth, heads, decoder width, decoder depth, decoder heads
    "tiny": (192, 12, 3, 96, 4, 3),
    "small": (384, 12, 6, 192, 4, 3),
    "base": (768, 12, 12, 384, 4, 6),
    "large": (1024, 24, 16, 512, 12, 8),
    "huge": (1280, 32, 16, 640, 8, 8),
}
PRESETS = tuple(_SIZES)


def preset(name: str, **changes: Any) -> ModelConfig:
    """Return the configuration of a preset: tiny, small, base, large or huge.

    Args:
        name: the preset.
        **changes: other values for fields of `ModelConfig`.

    Raises:
        CheckpointError: if the name is unknown.
    """
    if name not in _SIZES:
        raise CheckpointError(f"unknown model size '{name}'; choose from {', '.join(PRESETS)}")
    width, depth, heads, decoder_width, decoder_depth, decoder_heads = _SIZES[name]
    config = ModelConfig(
        width=width,
        depth=depth,
        heads=heads,
        decoder_width=decoder_width,
        decoder_depth=decoder_depth,
        decoder_heads=decoder_heads,
    )
    return replace(config, **changes)


def shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a model by its name, without memory for any of them."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in build(config).state_dict().items()}


def build(config: ModelConfig) -> MAR:
    """Build a model with random weights.

    Linear weights are Xavier-uniform with zero bias, as in ViTs and VideoMAE.
    """
    encoder = Encoder(
        input_geometry(config),
        width=config.width,
        depth=config.depth,
        heads=config.heads,
        norm_eps=config.norm_eps,
        drop_path=config.drop_path,
        layer_scale=config.layer_scale,
        final_norm=config.final_norm and config.classifier != "mean_pool",
        input_norm=config.input_norm,
        positions=config.positions,
    )
    decoder = None
    if config.decoder_depth:
        decoder = PixelDecoder(
            config.geometry,
            config.width,
            width=config.decoder_width,
            depth=config.decoder_depth,
            heads=config.decoder_heads,
            block_norm_eps=config.norm_eps,
            norm_eps=config.outer_norm_eps,
            positions=config.positions,
        )
    classifier = _classifier(config)
    if config.temporal == "causal":
        model: MAR = StreamingMAR(encoder, classifier, decoder, config.geometry)
    else:
        model = MAR(encoder, classifier, decoder)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    if decoder is not None:
        nn.init.normal_(decoder.mask_token, std=0.02)
    return model


def input_geometry(config: ModelConfig) -> Geometry:
    """Return the geometry of what one inference sees: a clip, or a time step."""
    geometry = config.geometry
    return replace(geometry, frames=geometry.tubelet_frames) if config.temporal == "causal" else geometry


def _classifier(config: ModelConfig) -> nn.Module | None:
    if config.classifier == "bridge":
        return BridgingClassifier(
            config.width,
            config.classes,
            width=config.bridge_width,
            depth=config.bridge_depth,
            heads=config.bridge_heads,
        )
    if config.classifier == "mean_pool":
        return MeanPoolClassifier(config.width, config.classes, norm_eps=config.outer_norm_eps)
    if config.classifier == "first_token":
        return FirstTokenClassifier(config.width, config.classes)
    return None
