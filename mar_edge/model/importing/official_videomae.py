"""Official VideoMAE and formats with its names (VideoMAE V2, mmaction2): classifiers, encoders, pre-trained models."""

from __future__ import annotations

from mar_edge.model.config import ModelConfig
from mar_edge.model.importing.clip_size import Told, clip_geometry, encoder_heads
from mar_edge.model.importing.foreign import Foreign
from mar_edge.model.importing.imported import Asked
from mar_edge.model.importing.vit_blocks import move_blocks, move_decoder

NO_HEAD = "a norm before a missing classifier"


def take_classifier(foreign: Foreign, asked: Asked, beside: Told) -> tuple[str, ModelConfig]:
    """Import a classifier; without its head only an encoder."""
    width = foreign.shape("patch_embed.proj.weight")[0]
    classifies = "head.weight" in foreign.state
    pooled = "fc_norm.weight" in foreign.state
    config = ModelConfig(
        geometry=clip_geometry(asked, beside, foreign.patch_embedding("patch_embed.proj")),
        width=width,
        depth=foreign.depth("blocks"),
        heads=foreign.heads(encoder_heads(asked.heads, beside), width, "--heads"),
        classes=foreign.shape("head.weight")[0] if classifies else 0,
        classifier=("mean_pool" if pooled else "first_token") if classifies else "none",
        decoder_depth=0,
        norm_eps=beside.norm_eps,
        outer_norm_eps=beside.norm_eps,
        layer_scale="blocks.0.gamma_1" in foreign.state,
        final_norm=classifies or "norm.weight" in foreign.state,
    )
    move_blocks(foreign, "encoder.blocks", "blocks", config.depth, layer_scale=config.layer_scale)
    foreign.positions("encoder", "pos_embed")
    if config.final_norm and config.classifier != "mean_pool":
        foreign.linear("encoder.norm", "norm")
    if not classifies:
        foreign.leave("fc_norm", NO_HEAD)
        foreign.check_left("fc_norm", "norm")
        return "an official VideoMAE encoder without a classifier", config
    if pooled:
        foreign.linear("classifier.norm", "fc_norm")
    foreign.linear("classifier.head", "head")
    foreign.check_left("head", "fc_norm", "norm")
    return "an official VideoMAE classifier", config


def take_pretraining(foreign: Foreign, asked: Asked, beside: Told) -> tuple[str, ModelConfig]:
    """Import a pre-trained encoder with its pixel decoder."""
    width, decoder = foreign.shape("encoder.norm.weight")[0], foreign.shape("encoder_to_decoder.weight")[0]
    config = ModelConfig(
        geometry=clip_geometry(asked, beside, foreign.patch_embedding("encoder.patch_embed.proj")),
        width=width,
        depth=foreign.depth("encoder.blocks"),
        heads=foreign.heads(encoder_heads(asked.heads, beside), width, "--heads"),
        classes=0,
        classifier="none",
        decoder_width=decoder,
        decoder_depth=foreign.depth("decoder.blocks"),
        decoder_heads=foreign.heads(asked.heads.decoder, decoder, "--decoder-heads"),
        norm_eps=beside.norm_eps,
        outer_norm_eps=beside.norm_eps,
        layer_scale="encoder.blocks.0.gamma_1" in foreign.state,
    )
    move_blocks(foreign, "encoder.blocks", "encoder.blocks", config.depth, layer_scale=config.layer_scale)
    foreign.positions("encoder", "encoder.pos_embed")
    foreign.linear("encoder.norm", "encoder.norm")
    move_decoder(foreign, config.decoder_depth)
    foreign.positions("decoder", "pos_embed")
    foreign.check_left("encoder", "decoder")
    return "an official VideoMAE pre-training checkpoint", config
