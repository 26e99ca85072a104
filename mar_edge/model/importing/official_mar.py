"""Official MAR: encoder, bridging classifier and pixel decoder."""

from __future__ import annotations

from mar_edge.model.config import ModelConfig
from mar_edge.model.importing.clip_size import Told, clip_geometry, encoder_heads
from mar_edge.model.importing.foreign import Foreign, split_bias
from mar_edge.model.importing.imported import Asked
from mar_edge.model.importing.vit_blocks import move_blocks, move_decoder

FORMAT = "an official MAR checkpoint"


def take_mar(foreign: Foreign, asked: Asked, beside: Told) -> tuple[str, ModelConfig]:
    """Import a complete MAR model."""
    width = foreign.shape("backbone.norm.weight")[0]
    bridge, decoder = foreign.shape("encoder_to_cls_decoder.weight")[0], foreign.shape("encoder_to_decoder.weight")[0]
    config = ModelConfig(
        geometry=clip_geometry(asked, beside, foreign.patch_embedding("backbone.patch_embed.proj")),
        width=width,
        depth=foreign.depth("backbone.blocks"),
        heads=foreign.heads(encoder_heads(asked.heads, beside), width, "--heads"),
        classes=foreign.shape("cls_head.head.weight")[0],
        bridge_width=bridge,
        bridge_depth=foreign.depth("cls_head.blocks"),
        bridge_heads=foreign.heads(asked.heads.bridge, bridge, "--bridge-heads"),
        decoder_width=decoder,
        decoder_depth=foreign.depth("decoder.blocks"),
        decoder_heads=foreign.heads(asked.heads.decoder, decoder, "--decoder-heads"),
        layer_scale="backbone.blocks.0.gamma_1" in foreign.state,
    )
    move_blocks(foreign, "encoder.blocks", "backbone.blocks", config.depth, layer_scale=config.layer_scale)
    foreign.positions("encoder", "backbone.pos_embed")
    foreign.linear("encoder.norm", "backbone.norm")
    _take_bridge(foreign, config.bridge_depth)
    move_decoder(foreign, config.decoder_depth)
    foreign.move("decoder.positions", "pos_embed", lambda table: table[0])
    foreign.leave("cls_head.mask_token", "never used by MAR")
    foreign.leave("mean", "a constant, ImageNet's")
    foreign.leave("std", "a constant, ImageNet's")
    foreign.check_left("cls_head", "head")
    return FORMAT, config


def _take_bridge(foreign: Foreign, depth: int) -> None:
    foreign.move("classifier.reduce.weight", "encoder_to_cls_decoder.weight")
    for index in range(depth):
        ours, theirs = f"classifier.blocks.{index}", f"cls_head.blocks.{index}"
        foreign.linear(f"{ours}.norm1", f"{theirs}.norm")
        foreign.move(f"{ours}.attn.qkv.weight", f"{theirs}.attn.to_qkv.weight")
        split_bias(foreign, f"{ours}.attn", f"{theirs}.attn.to_qkv.bias")
        foreign.linear(f"{ours}.attn.proj", f"{theirs}.attn.proj")
        foreign.linear(f"{ours}.norm2", f"{theirs}.norm_ffn")
        foreign.linear(f"{ours}.fc1", f"{theirs}.ffn.net.0")
        foreign.linear(f"{ours}.fc2", f"{theirs}.ffn.net.3")
    foreign.linear("classifier.norm", "cls_head.norm")
    foreign.linear("classifier.head", "cls_head.head")
