"""Estimates the total memory of a training: the traced step, and everything besides."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from mar_edge.geometry import Geometry
from mar_edge.training.batches import PREFETCH
from mar_edge.training.needs.step_trace import StepTrace

MB = 1_000_000

ALLOCATOR = 1.05
"""Bytes of a process per live byte of the traced step: heaps have gaps, kernels have workspaces."""

PROCESS_BYTES = 250 * MB
"""Additional bytes of a process: threads, kernels, TensorBoard, plots."""

NEW_PROCESS_BYTES = 400 * MB
"""Bytes of a training process before its model is built."""

LOADER_BYTES = 100 * MB
"""Private bytes of a loader process; most of its memory is shared with its parent."""

MAKING = 3
"""Memory, in batches, while a batch is made: the clips, the stack of them, temporary arrays of augmentation."""

GPU_CONTEXT_BYTES = 600 * MB
"""Bytes of CUDA and its libraries on a GPU. Not measured: no GPU was available."""


@dataclass(frozen=True)
class MemoryNeed:
    """Memory that a training takes, in bytes.

    Attributes:
        host_bytes: of the machine, all processes together, in addition to what they use already.
        device_bytes: of each GPU; None for a CPU.
        shared_bytes: of shared memory, for batches from loader processes.
        parts: its parts by name, for messages.
    """

    host_bytes: int
    device_bytes: int | None
    shared_bytes: int
    parts: dict[str, int]


@dataclass(frozen=True)
class Processes:
    """The processes on this machine.

    Attributes:
        trainers: training processes.
        loaders: processes that make batches, for each trainer.
    """

    trainers: int
    loaders: int


def memory_need(
    trace: StepTrace,
    *,
    batch: int,
    geometry: Geometry,
    device: torch.device,
    processes: Processes,
    averaged: bool,
    copies: int,
    shards: int,
    preparing_bytes: int,
    decoding_bytes: int = 0,
) -> MemoryNeed:
    """Return the memory that a training takes.

    Args:
        trace: of a step.
        batch: clips in a forward pass.
        geometry: of a clip.
        device: where the model is.
        processes: the processes on this machine.
        averaged: whether there is a running average of the weights.
        copies: copies of all gradients that the strategy keeps (1 for DDP's buckets).
        shards: processes that share weights, gradients and optimiser.
        preparing_bytes: bytes needed once before the first step.
        decoding_bytes: bytes of the processes that decode videos before the first step, and have ended by then.
    """
    weights_bytes = 4 * trace.parameters
    average_bytes = weights_bytes * averaged
    kept_bytes = (trace.kept_bytes + average_bytes) // shards
    moving_bytes = trace.peak_bytes - trace.kept_bytes + weights_bytes * copies
    # the weights are collected and written to a file; the heap does not reuse for it what a step has freed
    saving_bytes = 2 * weights_bytes
    made_bytes = max(int(ALLOCATOR * (kept_bytes + moving_bytes)), preparing_bytes)
    clips_bytes = batch * math.prod(geometry.clip_shape)
    shared_bytes = (processes.loaders * PREFETCH + 1) * clips_bytes if processes.loaders else 0
    loading_bytes = processes.loaders * (LOADER_BYTES + MAKING * clips_bytes) + shared_bytes
    if not processes.loaders:
        loading_bytes = MAKING * clips_bytes
    on_gpu = device.type == "cuda"
    each_bytes = PROCESS_BYTES + loading_bytes + saving_bytes + (0 if on_gpu else made_bytes)
    return MemoryNeed(
        host_bytes=max(processes.trainers * each_bytes, decoding_bytes),
        device_bytes=made_bytes + GPU_CONTEXT_BYTES if on_gpu else None,
        shared_bytes=processes.trainers * shared_bytes,
        parts={
            "weights and optimiser": kept_bytes,
            "gradients and activations": moving_bytes,
            "loaders": processes.trainers * loading_bytes,
            # named where it is the most
            "before that decoding": decoding_bytes if decoding_bytes > processes.trainers * each_bytes else 0,
        },
    )
