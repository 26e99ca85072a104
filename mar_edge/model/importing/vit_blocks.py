"""The blocks that official MAR and VideoMAE share: encoder, decoder, and the places of their biases."""

from __future__ import annotations

import torch

from mar_edge.model.importing.foreign import Foreign, split_bias, zero_biases


def move_blocks(foreign: Foreign, ours: str, theirs: str, depth: int, *, layer_scale: bool = False) -> None:
    """Import blocks with VideoMAE's names."""
    whole = foreign.has("attn.qkv.bias")  # one bias for query, key and value, as in timm
    separate = foreign.has("attn.q_bias") or foreign.has("attn.v_bias")
    for index in range(depth):
        a, b = f"{ours}.{index}", f"{theirs}.{index}"
        for name in ("norm1", "norm2", "attn.proj"):
            foreign.linear(f"{a}.{name}", f"{b}.{name}")
        for name in ("attn.qkv.weight", *(("gamma_1", "gamma_2") if layer_scale else ())):
            foreign.move(f"{a}.{name}", f"{b}.{name}")
        if whole and not separate:
            split_bias(foreign, f"{a}.attn", f"{b}.attn.qkv.bias")
        elif separate:
            foreign.move(f"{a}.attn.q_bias", f"{b}.attn.q_bias")
            foreign.move(f"{a}.attn.v_bias", f"{b}.attn.v_bias")
        elif f"{a}.attn.qkv.weight" in foreign.out:
            zero_biases(foreign, f"{a}.attn", foreign.out[f"{a}.attn.qkv.weight"].shape[1])
        for name in ("fc1", "fc2"):
            foreign.linear(f"{a}.{name}", f"{b}.mlp.{name}")


def move_decoder(foreign: Foreign, depth: int) -> None:
    """Import the pixel decoder of MAR and VideoMAE."""
    foreign.move("decoder.reduce.weight", "encoder_to_decoder.weight")
    foreign.move("decoder.mask_token", "mask_token", torch.flatten)
    move_blocks(foreign, "decoder.blocks", "decoder.blocks", depth)
    foreign.linear("decoder.norm", "decoder.norm")
    foreign.linear("decoder.head", "decoder.head")
