"""Reads the checkpoints of others: official MAR, official VideoMAE, Hugging Face VideoMAE.

The names below are those that the published checkpoints use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mar_edge.errors import CheckpointError, GeometryError
from mar_edge.geometry import Geometry
from mar_edge.model.config import ModelConfig, build
from mar_edge.model.foreign_file import State, locate, read_config, read_tensors
from mar_edge.model.mar import MAR

HEAD_WIDTH = 64
"""Width of an attention head in all published models; weights do not tell it."""


@dataclass(frozen=True, kw_only=True)
class Heads:
    """Numbers of attention heads; None takes `width / 64`, or what the checkpoint's config.json says."""

    encoder: int | None = None
    bridge: int | None = None
    decoder: int | None = None


@dataclass
class Imported:
    """A foreign checkpoint as a model of ours.

    Attributes:
        model: with the foreign weights.
        config: its architecture.
        format: what the checkpoint is, in words.
        labels: class names, if the checkpoint has them.
        unused: tensors of the file that this model has no place for, with the reason.
    """

    model: MAR
    config: ModelConfig
    format: str
    labels: list[str] | None
    unused: dict[str, str]


@dataclass
class _Foreign:
    """Tensors of a foreign checkpoint; `take` removes what is used, and what is missing is collected."""

    state: State
    missing: list[str] = field(default_factory=list)
    out: State = field(default_factory=dict)

    def move(self, ours: str, theirs: str, change: Callable[[Tensor], Tensor] = lambda tensor: tensor) -> None:
        tensor = self.state.pop(theirs, None)
        if tensor is None:
            self.missing.append(theirs)
        else:
            self.out[ours] = change(tensor)

    def linear(self, ours: str, theirs: str) -> None:
        self.move(f"{ours}.weight", f"{theirs}.weight")
        self.move(f"{ours}.bias", f"{theirs}.bias")

    def depth(self, prefix: str) -> int:
        found = [int(m[1]) for key in self.state if (m := re.match(re.escape(prefix) + r"\.(\d+)\.", key))]
        return max(found, default=-1) + 1

    def shape(self, key: str) -> tuple[int, ...]:
        if key not in self.state:
            raise CheckpointError(f"the checkpoint lacks {key}; the file is incomplete")
        return tuple(self.state[key].shape)


def import_checkpoint(path: Path, *, geometry: Geometry | None = None, heads: Heads | None = None) -> Imported:
    """Import a foreign checkpoint; which of the three it is, is found out from its tensors.

    Args:
        path: `.safetensors`, `.pth` or `.bin`; or a Hugging Face folder with config.json.
        geometry: frames and size, where the file does not tell; tubelet and patch always come from the file.
        heads: numbers of attention heads where the file does not tell and `width / 64` is wrong.

    Raises:
        CheckpointError: if the file cannot be read, is none of the three, lacks a tensor, or does not fit.
    """
    file = locate(path)
    state = read_tensors(file)
    hf_config: dict[str, Any] | None = None
    foreign = _Foreign(state)
    given, heads = geometry or Geometry(), heads or Heads()
    try:
        if "videomae.embeddings.patch_embeddings.projection.weight" in state:
            hf_config = read_config(file.parent / "config.json")
            form, config = _hugging_face(foreign, hf_config, given, heads)
        elif "cls_head.head.weight" in state and "backbone.patch_embed.proj.weight" in state:
            form, config = _official_mar(foreign, given, heads)
        elif "encoder.patch_embed.proj.weight" in state and "encoder_to_decoder.weight" in state:
            form, config = _official_pretraining(foreign, given, heads)
        elif "patch_embed.proj.weight" in state:
            form, config = _official_classifier(foreign, given, heads)
        else:
            raise CheckpointError(
                f"{file} is no checkpoint of MAR, VideoMAE or Hugging Face VideoMAE; "
                f"its tensors start with {', '.join(sorted(state)[:3])}"
            )
    except GeometryError as error:
        raise CheckpointError(f"{file}: {error}. Give the clip's size with --frames and --size") from error
    except (IndexError, RuntimeError, ValueError, TypeError) as error:  # tensors of unheard-of shapes
        raise CheckpointError(f"{file} has tensors of the wrong shape: {str(error).splitlines()[0]}") from error
    if foreign.missing:
        listed = ", ".join(foreign.missing[:5]) + (
            f" and {len(foreign.missing) - 5} more" if foreign.missing[5:] else ""
        )
        raise CheckpointError(f"{file} looks like {form}, but lacks {listed}; the file is incomplete")
    model = _fill(config, foreign.out, file)
    labels = _labels(hf_config, config.classes)
    unused = {key: _REASONS.get(key, "this model has no place for it") for key in sorted(foreign.state)}
    return Imported(model, config, form, labels, unused)


_REASONS = {
    "cls_head.mask_token": "never used by MAR",
    "mean": "a constant, ImageNet's",
    "std": "a constant, ImageNet's",
}


def _official_mar(foreign: _Foreign, given: Geometry, heads: Heads) -> tuple[str, ModelConfig]:
    geometry = _patch_embedding(foreign, "backbone.patch_embed.proj", given)
    width = foreign.shape("backbone.norm.weight")[0]
    bridge, decoder = foreign.shape("encoder_to_cls_decoder.weight")[0], foreign.shape("encoder_to_decoder.weight")[0]
    config = ModelConfig(
        geometry=geometry,
        width=width,
        depth=foreign.depth("backbone.blocks"),
        heads=_heads(heads.encoder, width, "--heads"),
        classes=foreign.shape("cls_head.head.weight")[0],
        bridge_width=bridge,
        bridge_depth=foreign.depth("cls_head.blocks"),
        bridge_heads=_heads(heads.bridge, bridge, "--bridge-heads"),
        decoder_width=decoder,
        decoder_depth=foreign.depth("decoder.blocks"),
        decoder_heads=_heads(heads.decoder, decoder, "--decoder-heads"),
    )
    _original_blocks(foreign, "encoder.blocks", "backbone.blocks", config.depth)
    foreign.linear("encoder.norm", "backbone.norm")
    foreign.move("classifier.reduce.weight", "encoder_to_cls_decoder.weight")
    for index in range(config.bridge_depth):
        ours, theirs = f"classifier.blocks.{index}", f"cls_head.blocks.{index}"
        foreign.linear(f"{ours}.norm1", f"{theirs}.norm")
        foreign.move(f"{ours}.attn.qkv.weight", f"{theirs}.attn.to_qkv.weight")
        # the key's third of the bias cancels in the softmax
        foreign.move(f"{ours}.attn.v_bias", f"{theirs}.attn.to_qkv.bias")
        if f"{ours}.attn.v_bias" in foreign.out:
            query, _, value = foreign.out[f"{ours}.attn.v_bias"].chunk(3)
            foreign.out |= {f"{ours}.attn.q_bias": query, f"{ours}.attn.v_bias": value}
        foreign.linear(f"{ours}.attn.proj", f"{theirs}.attn.proj")
        foreign.linear(f"{ours}.norm2", f"{theirs}.norm_ffn")
        foreign.linear(f"{ours}.fc1", f"{theirs}.ffn.net.0")
        foreign.linear(f"{ours}.fc2", f"{theirs}.ffn.net.3")
    foreign.linear("classifier.norm", "cls_head.norm")
    foreign.linear("classifier.head", "cls_head.head")
    _original_decoder(foreign, config.decoder_depth)
    foreign.move("decoder.positions", "pos_embed", lambda table: table[0])
    return "an official MAR checkpoint", config


def _official_classifier(foreign: _Foreign, given: Geometry, heads: Heads) -> tuple[str, ModelConfig]:
    width = foreign.shape("patch_embed.proj.weight")[0]
    geometry = _patch_embedding(foreign, "patch_embed.proj", given)
    pooled = "fc_norm.weight" in foreign.state
    config = ModelConfig(
        geometry=geometry,
        width=width,
        depth=foreign.depth("blocks"),
        heads=_heads(heads.encoder, width, "--heads"),
        classes=foreign.shape("head.weight")[0],
        classifier="mean_pool" if pooled else "first_token",
        decoder_depth=0,
        layer_scale="blocks.0.gamma_1" in foreign.state,
    )
    _original_blocks(foreign, "encoder.blocks", "blocks", config.depth, layer_scale=config.layer_scale)
    foreign.linear("classifier.norm" if pooled else "encoder.norm", "fc_norm" if pooled else "norm")
    foreign.linear("classifier.head", "head")
    return "an official VideoMAE classifier", config


def _official_pretraining(foreign: _Foreign, given: Geometry, heads: Heads) -> tuple[str, ModelConfig]:
    geometry = _patch_embedding(foreign, "encoder.patch_embed.proj", given)
    width, decoder = foreign.shape("encoder.norm.weight")[0], foreign.shape("encoder_to_decoder.weight")[0]
    config = ModelConfig(
        geometry=geometry,
        width=width,
        depth=foreign.depth("encoder.blocks"),
        heads=_heads(heads.encoder, width, "--heads"),
        classes=0,
        classifier="none",
        decoder_width=decoder,
        decoder_depth=foreign.depth("decoder.blocks"),
        decoder_heads=_heads(heads.decoder, decoder, "--decoder-heads"),
        layer_scale="encoder.blocks.0.gamma_1" in foreign.state,
    )
    _original_blocks(foreign, "encoder.blocks", "encoder.blocks", config.depth, layer_scale=config.layer_scale)
    foreign.linear("encoder.norm", "encoder.norm")
    _original_decoder(foreign, config.decoder_depth)
    return "an official VideoMAE pre-training checkpoint", config


def _hugging_face(foreign: _Foreign, hf: Mapping[str, Any], given: Geometry, heads: Heads) -> tuple[str, ModelConfig]:
    try:
        size = int(hf["image_size"])
        given = Geometry(frames=int(hf["num_frames"]), height_px=size, width_px=size, patch_px=int(hf["patch_size"]))
        eps, pooled = float(hf["layer_norm_eps"]), bool(hf["use_mean_pooling"])
        encoder_heads, decoder_heads = int(hf["num_attention_heads"]), int(hf["decoder_num_attention_heads"])
    except KeyError as error:
        raise CheckpointError(f"config.json is not that of a VideoMAE model: it lacks {error}") from error
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"config.json has a value that cannot be: {error}") from error
    if not 0 < eps < 1:
        raise CheckpointError(f"config.json has layer_norm_eps {eps}, expected a small positive number")
    geometry = _patch_embedding(foreign, "videomae.embeddings.patch_embeddings.projection", given)
    classifies = "classifier.weight" in foreign.state
    decodes = "encoder_to_decoder.weight" in foreign.state
    config = ModelConfig(
        geometry=geometry,
        width=foreign.out["encoder.embed.weight"].shape[0],
        depth=foreign.depth("videomae.encoder.layer"),
        heads=_heads(heads.encoder or encoder_heads, foreign.out["encoder.embed.weight"].shape[0], "--heads"),
        classes=foreign.shape("classifier.weight")[0] if classifies else 0,
        classifier=("mean_pool" if pooled else "first_token") if classifies else "none",
        decoder_width=foreign.shape("encoder_to_decoder.weight")[0] if decodes else 384,
        decoder_depth=foreign.depth("decoder.decoder_layers") if decodes else 0,
        decoder_heads=_heads(
            heads.decoder or decoder_heads, foreign.shape("encoder_to_decoder.weight")[0], "--decoder-heads"
        )
        if decodes
        else 1,
        norm_eps=eps,
        outer_norm_eps=1e-5,
    )
    _hf_blocks(foreign, "encoder.blocks", "videomae.encoder.layer", config.depth)
    if classifies:
        theirs = "fc_norm" if pooled else "videomae.layernorm"
        foreign.linear("classifier.norm" if pooled else "encoder.norm", theirs)
        foreign.linear("classifier.head", "classifier")
    else:
        foreign.linear("encoder.norm", "videomae.layernorm")
    if decodes:
        foreign.move("decoder.reduce.weight", "encoder_to_decoder.weight")
        foreign.move("decoder.mask_token", "mask_token", torch.flatten)
        _hf_blocks(foreign, "decoder.blocks", "decoder.decoder_layers", config.decoder_depth)
        foreign.linear("decoder.norm", "decoder.norm")
        foreign.linear("decoder.head", "decoder.head")
    return f"a Hugging Face VideoMAE {'classifier' if classifies else 'pre-training checkpoint'}", config


def _patch_embedding(foreign: _Foreign, theirs: str, given: Geometry) -> Geometry:
    """Move the strided convolution (D, 3, t, p, p) to our linear layer over (frame, row, column, channel)."""
    shape = foreign.shape(f"{theirs}.weight")
    if len(shape) != 5 or shape[1] != 3 or shape[3] != shape[4]:
        raise CheckpointError(f"{theirs}.weight has shape {shape}, expected (D, 3, frames, patch, patch)")
    foreign.move("encoder.embed.weight", f"{theirs}.weight", lambda w: w.permute(0, 2, 3, 4, 1).flatten(1))
    foreign.move("encoder.embed.bias", f"{theirs}.bias")
    return replace(given, tubelet_frames=shape[2], patch_px=shape[3])


def _original_blocks(foreign: _Foreign, ours: str, theirs: str, depth: int, *, layer_scale: bool = False) -> None:
    for index in range(depth):
        a, b = f"{ours}.{index}", f"{theirs}.{index}"
        for name in ("norm1", "norm2", "attn.proj"):
            foreign.linear(f"{a}.{name}", f"{b}.{name}")
        for name in ("attn.qkv.weight", "attn.q_bias", "attn.v_bias", *(("gamma_1", "gamma_2") if layer_scale else ())):
            foreign.move(f"{a}.{name}", f"{b}.{name}")
        for name in ("fc1", "fc2"):
            foreign.linear(f"{a}.{name}", f"{b}.mlp.{name}")


def _original_decoder(foreign: _Foreign, depth: int) -> None:
    foreign.move("decoder.reduce.weight", "encoder_to_decoder.weight")
    foreign.move("decoder.mask_token", "mask_token", torch.flatten)
    _original_blocks(foreign, "decoder.blocks", "decoder.blocks", depth)
    foreign.linear("decoder.norm", "decoder.norm")
    foreign.linear("decoder.head", "decoder.head")


def _hf_blocks(foreign: _Foreign, ours: str, theirs: str, depth: int) -> None:
    for index in range(depth):
        a, b = f"{ours}.{index}", f"{theirs}.{index}"
        foreign.linear(f"{a}.norm1", f"{b}.layernorm_before")
        foreign.linear(f"{a}.norm2", f"{b}.layernorm_after")
        parts = [foreign.state.pop(f"{b}.attention.attention.{n}.weight", None) for n in ("query", "key", "value")]
        whole = [part for part in parts if part is not None]
        if len(whole) == 3:
            foreign.out[f"{a}.attn.qkv.weight"] = torch.cat(whole)
        else:
            foreign.missing.append(f"{b}.attention.attention.{{query,key,value}}.weight")
        for ours_bias, names in (("q_bias", ("q_bias", "query.bias")), ("v_bias", ("v_bias", "value.bias"))):
            keys = [f"{b}.attention.attention.{name}" for name in names]
            foreign.move(f"{a}.attn.{ours_bias}", next((key for key in keys if key in foreign.state), keys[0]))
        foreign.linear(f"{a}.attn.proj", f"{b}.attention.output.dense")
        foreign.linear(f"{a}.fc1", f"{b}.intermediate.dense")
        foreign.linear(f"{a}.fc2", f"{b}.output.dense")


def _fill(config: ModelConfig, state: State, file: Path) -> MAR:
    model = build(config)
    wanted = model.state_dict()
    for key, tensor in wanted.items():
        if key.endswith("positions"):
            state.setdefault(key, tensor)
    for key, tensor in state.items():
        if key == "decoder.positions" and tensor.shape != wanted[key].shape:
            raise CheckpointError(
                f"{file} was made for {tensor.shape[0]} tokens, and this clip has {wanted[key].shape[0]}; "
                "give its size with --frames and --size"
            )
        if key not in wanted or tensor.shape != wanted[key].shape:
            expected = tuple(wanted[key].shape) if key in wanted else "nothing"
            raise CheckpointError(f"{file}: {key} has shape {tuple(tensor.shape)}, but the model needs {expected}")
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{file} does not fill the model: {str(error).splitlines()[-1].strip()}") from error
    return model.eval()


def _heads(given: int | None, width: int, option: str) -> int:
    heads = max(1, width // HEAD_WIDTH) if given is None else given
    if heads < 1 or width % heads:
        raise CheckpointError(f"{width} channels do not divide into {heads} heads; give the number with {option}")
    return heads


def _labels(hf: Mapping[str, Any] | None, classes: int) -> list[str] | None:
    names = (hf or {}).get("id2label")
    if not isinstance(names, dict) or len(names) != classes:
        return None
    try:
        return [str(names[str(index)]) for index in range(classes)]
    except KeyError:
        return None
