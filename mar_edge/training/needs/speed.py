"""Estimates the time of a step, from one transformer block of the recipe's size run on the recipe's device."""

from __future__ import annotations

import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from mar_edge.model.config import ModelConfig
from mar_edge.model.transformer import Block
from mar_edge.training.needs.step_trace import AUTOCAST

PROBE_MACS = 2_000_000_000
"""Minimum forward work of the probe, but at least that of one clip."""

LONG_ENOUGH_S = 0.2
REPEATS = 5


def seconds(value: float) -> str:
    """Format seconds, with two digits or as an integer."""
    return f"{value:.2g} s" if value < 10 else f"{value:,.0f} s"


def macs_per_s(config: ModelConfig, *, tokens: int, batch: int, device: torch.device, precision: str) -> float:
    """Measure the multiply-accumulates per second of a block's forward and backward pass.

    Args:
        config: the encoder's width and heads are used.
        tokens: number of tokens per clip in a block.
        batch: clips in a forward pass; upper limit for the probe.
        device: to measure.
        precision: of the recipe's trainer.
    """
    width, autocast = config.width, AUTOCAST.get(precision)
    a_clip = tokens * width * (12 * width + 2 * tokens)
    clips = max(1, min(batch, PROBE_MACS // a_clip))
    with torch.random.fork_rng(devices=[]), device:
        block = Block(width, config.heads)
        x = torch.zeros(clips, tokens, width, requires_grad=True)

    def once() -> None:
        with torch.autocast(device.type, autocast, enabled=autocast is not None):
            out = block(x).sum()
        out.backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    with FlopCounterMode(display=False) as flops:
        once()  # also warms up
    times_s: list[float] = []
    while len(times_s) < REPEATS and sum(times_s) < LONG_ENOUGH_S:
        began_s = time.perf_counter()
        once()
        times_s.append(time.perf_counter() - began_s)
    return int(flops.get_total_flops()) / 2 / min(times_s)
