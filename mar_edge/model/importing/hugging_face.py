"""Hugging Face VideoMAE: classifiers, base models, pre-trained models."""

from __future__ import annotations

import torch

from mar_edge.errors import CheckpointError
from mar_edge.geometry import Geometry
from mar_edge.model.config import ModelConfig
from mar_edge.model.importing.clip_size import agreed
from mar_edge.model.importing.foreign import Foreign, zero_biases
from mar_edge.model.importing.hugging_face_config import FILE, VideoMaeConfig
from mar_edge.model.importing.imported import Asked
from mar_edge.model.importing.official_videomae import NO_HEAD

_EMBEDDING = "videomae.embeddings.patch_embeddings.projection"
OUTER_EPS = 1e-5
"""torch's default, which `fc_norm` and the decoder's last norm always use, regardless of the configuration."""


def take_hugging_face(foreign: Foreign, hf: VideoMaeConfig, asked: Asked) -> tuple[str, ModelConfig]:
    """Import a model by its configuration."""
    classifies = "classifier.weight" in foreign.state
    decodes = "encoder_to_decoder.weight" in foreign.state
    if decodes and not hf.norm_pix_loss:
        decodes = False
        for part in ("decoder", "encoder_to_decoder", "mask_token"):
            foreign.leave(part, "norm_pix_loss is false, and our decoder reconstructs standardised pixels")
    _compare(foreign, hf, decodes)
    width = hf.hidden_size
    config = ModelConfig(
        geometry=_geometry(foreign, hf, asked),
        width=width,
        depth=hf.num_hidden_layers,
        heads=_heads(foreign, "--heads", asked.heads.encoder, hf.num_attention_heads, width),
        classes=foreign.shape("classifier.weight")[0] if classifies else 0,
        classifier=("mean_pool" if hf.use_mean_pooling else "first_token") if classifies else "none",
        decoder_width=hf.decoder_hidden_size if decodes else 384,
        decoder_depth=hf.decoder_num_hidden_layers if decodes else 0,
        decoder_heads=_heads(
            foreign, "--decoder-heads", asked.heads.decoder, hf.decoder_num_attention_heads, hf.decoder_hidden_size
        )
        if decodes
        else 1,
        norm_eps=hf.layer_norm_eps,
        outer_norm_eps=OUTER_EPS,
        final_norm=classifies or not hf.use_mean_pooling,
    )
    _blocks(foreign, "encoder.blocks", "videomae.encoder.layer", config.depth, hf, width)
    foreign.positions("encoder", "videomae.embeddings.position_embeddings")
    _head(foreign, hf, config)
    if decodes:
        _decoder(foreign, hf)
    foreign.check_left("videomae", "decoder", "classifier", "fc_norm")
    kind = "classifier" if classifies else "pre-training checkpoint" if decodes else "encoder without a classifier"
    return f"a Hugging Face VideoMAE {kind}", config


def _head(foreign: Foreign, hf: VideoMaeConfig, config: ModelConfig) -> None:
    """Import the last norm and the linear layer; which norm exists depends on `use_mean_pooling`."""
    if config.classifier == "mean_pool":
        foreign.linear("classifier.norm", "fc_norm")
    elif config.final_norm:
        foreign.linear("encoder.norm", "videomae.layernorm")
    if config.classifier != "none":
        foreign.linear("classifier.head", "classifier")
    unused = f"not used by transformers either, as use_mean_pooling is {str(hf.use_mean_pooling).lower()}"
    foreign.leave("videomae.layernorm", unused)
    foreign.leave("fc_norm", unused if config.classifier != "none" else NO_HEAD)


def _decoder(foreign: Foreign, hf: VideoMaeConfig) -> None:
    foreign.move("decoder.reduce.weight", "encoder_to_decoder.weight")
    foreign.move("decoder.mask_token", "mask_token", torch.flatten)
    depth = hf.decoder_num_hidden_layers
    _blocks(foreign, "decoder.blocks", "decoder.decoder_layers", depth, hf, hf.decoder_hidden_size)
    foreign.positions("decoder", "position_embeddings")
    foreign.linear("decoder.norm", "decoder.norm")
    foreign.linear("decoder.head", "decoder.head")


def _blocks(foreign: Foreign, ours: str, theirs: str, depth: int, hf: VideoMaeConfig, width: int) -> None:
    for index in range(depth):
        a, b = f"{ours}.{index}", f"{theirs}.{index}"
        foreign.linear(f"{a}.norm1", f"{b}.layernorm_before")
        foreign.linear(f"{a}.norm2", f"{b}.layernorm_after")
        attention = f"{b}.attention.attention"
        parts = [foreign.take(f"{attention}.{name}.weight") for name in ("query", "key", "value")]
        whole = [part for part in parts if part is not None]
        if len(whole) == 3:
            foreign.out[f"{a}.attn.qkv.weight"] = torch.cat(whole)
        if hf.qkv_bias:
            for bias, names in (("q_bias", ("q_bias", "query.bias")), ("v_bias", ("v_bias", "value.bias"))):
                keys = [f"{attention}.{name}" for name in names]
                foreign.move(f"{a}.attn.{bias}", next((key for key in keys if key in foreign.state), keys[0]))
        else:
            zero_biases(foreign, f"{a}.attn", width)
        foreign.leave(f"{attention}.key.bias", "a key bias cancels in the softmax")
        foreign.leave(f"{attention}.k_bias", "a key bias cancels in the softmax")
        foreign.linear(f"{a}.attn.proj", f"{b}.attention.output.dense")
        foreign.linear(f"{a}.fc1", f"{b}.intermediate.dense")
        foreign.linear(f"{a}.fc2", f"{b}.output.dense")


def _compare(foreign: Foreign, hf: VideoMaeConfig, decodes: bool) -> None:
    """Check that configuration and weights match, and have a shape that mar-edge supports.

    Raises:
        CheckpointError: naming what differs.
    """
    embedding = foreign.shape(f"{_EMBEDDING}.weight")
    pairs: list[tuple[str, object, object]] = [
        ("hidden_size", hf.hidden_size, embedding[0]),
        ("num_channels", hf.num_channels, embedding[1]),
        ("tubelet_size", hf.tubelet_size, embedding[2]),
        ("patch_size", list(hf.patch_px), list(embedding[3:])),
        ("num_hidden_layers", hf.num_hidden_layers, foreign.depth("videomae.encoder.layer")),
        ("intermediate_size", hf.intermediate_size, _rows(foreign, "videomae.encoder.layer.0")),
    ]
    mlps = [("intermediate_size", hf.intermediate_size, hf.hidden_size)]
    if decodes:
        pairs += [
            ("decoder_hidden_size", hf.decoder_hidden_size, foreign.shape("encoder_to_decoder.weight")[0]),
            ("decoder_num_hidden_layers", hf.decoder_num_hidden_layers, foreign.depth("decoder.decoder_layers")),
            ("decoder_intermediate_size", hf.decoder_intermediate_size, _rows(foreign, "decoder.decoder_layers.0")),
        ]
        mlps.append(("decoder_intermediate_size", hf.decoder_intermediate_size, hf.decoder_hidden_size))
    for key, configured, found in pairs:
        if configured != found:
            raise CheckpointError(
                f"{FILE} has {key} {configured}, but the weights have {found}; they do not belong together"
            )
    for key, hidden, width in mlps:
        if hidden != 4 * width:
            raise CheckpointError(f"{FILE} has {key} {hidden}; mar-edge supports only 4 x {width} = {4 * width}")
    if not hf.qkv_bias and (foreign.has(".q_bias") or foreign.has(".query.bias")):
        raise CheckpointError(
            f"{FILE} has qkv_bias false, but the weights have such biases; they do not belong together"
        )


def _rows(foreign: Foreign, block: str) -> int:
    return foreign.shape(f"{block}.intermediate.dense.weight")[0]


def _geometry(foreign: Foreign, hf: VideoMaeConfig, asked: Asked) -> Geometry:
    agreed("--frames", asked.frames, hf.num_frames, FILE)
    height_px, width_px = hf.size_px
    agreed("--size", asked.size_px, height_px, FILE)
    tubelet, patch = foreign.patch_embedding(_EMBEDDING)
    return Geometry(
        frames=hf.num_frames, height_px=height_px, width_px=width_px, tubelet_frames=tubelet, patch_px=patch
    )


def _heads(foreign: Foreign, option: str, asked: int | None, configured: int, width: int) -> int:
    return foreign.heads(agreed(option, asked, configured, FILE), width, option)
