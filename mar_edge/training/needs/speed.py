"""Estimates the time of a step, from one transformer block of the recipe's size run on the recipe's device."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from mar_edge.model.config import ModelConfig
from mar_edge.model.transformer import Block
from mar_edge.training.needs.step_trace import AUTOCAST

PROBE_MACS = 2_000_000_000
"""Minimum forward work of the probe, but at least that of one clip."""

LONG_ENOUGH_S = 0.2
REPEATS = 5

SPREAD = 0.9
"""What of several cores is used at the same time."""

FEW_THREADS = 4
"""Up to so many threads, a step of any model is assumed to spread over all of them."""


def seconds(value: float) -> str:
    """Format seconds, with two digits or as an integer."""
    return f"{value:.2g} s" if value < 10 else f"{value:,.0f} s"


def macs_per_s(config: ModelConfig, *, tokens: int, batch: int, device: torch.device, precision: str) -> float:
    """Measure the multiply-accumulates per second of a block's forward and backward pass.

    By the clock, a machine that other programs keep busy would look many times slower than it is most of the time. So on a CPU the
    processor's time of one thread counts, too, and the faster figure is taken.

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
    macs = int(flops.get_total_flops()) / 2
    rate = macs / _least_s(once, time.perf_counter)
    if device.type != "cpu":
        return rate
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = macs / _least_s(once, time.thread_time)
    finally:
        torch.set_num_threads(threads)
    return max(rate, alone * max(1.0, SPREAD * min(threads, FEW_THREADS)))


def _least_s(work: Callable[[], None], clock: Callable[[], float]) -> float:
    """Return the least time of several tries, in seconds."""
    times_s: list[float] = []
    while len(times_s) < REPEATS and sum(times_s) < LONG_ENOUGH_S:
        began_s = clock()
        work()
        times_s.append(max(clock() - began_s, 1e-9))
    return min(times_s)
