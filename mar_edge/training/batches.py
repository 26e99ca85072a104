"""Batches whose clips and masks depend only on the seed and their place in the training.

So a resumed run sees what an uninterrupted one would have seen, any number of worker processes makes the same clips,
and two processes together see what one process with twice the batch sees.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from ctypes import c_bool
from functools import lru_cache, partial
from multiprocessing.sharedctypes import RawValue
from types import FrameType
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch.utils.data import DataLoader, Dataset

from mar_edge.datasets.workers import cores
from mar_edge.errors import TrainingError
from mar_edge.files.yaml_part import Part, refuse
from mar_edge.geometry import Grid
from mar_edge.masking import (
    MASK_RATIOS,
    PLACES,
    Mask,
    MaskKind,
    cell_running_mask,
    masked_indices,
    training_mask,
    visible_indices,
)
from mar_edge.training.augmentation.mixing import MixPart, mix
from mar_edge.training.clip_source import ClipSource, Sample
from mar_edge.training.objective import Batch
from mar_edge.training.streaming import StreamingPart

PREFETCH = 3
"""Batches that every loader process makes ahead."""

MAX_WORKERS = 8
"""Loader processes that a trainer starts by default."""


def default_workers(trainers: int) -> int:
    """Return how many loader processes each training process on this machine starts; one core is left for it."""
    return max(1, min(MAX_WORKERS, cores() // trainers - 1))


_SOCKET_PATH = 107
"""Longest path of a Unix socket, in bytes (unix(7))."""

_SOCKET_NAME = len("/pymp-xxxxxxxx/listener-xxxxxxxx")
"""What Python's multiprocessing adds to the folder."""


class MaskPart(Part):
    """The mask in training.

    Attributes:
        kind: `cell_running` (MAR), `random`, `tube` (VideoMAE) or `frame`.
        ratio: share of hidden tokens.
        fixed_from: from this step on every clip gets the mask that the model uses at run time.
    """

    kind: MaskKind = "cell_running"
    ratio: float = Field(default=0.5, ge=0, lt=1)
    fixed_from: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _fits(self) -> MaskPart:
        if self.kind == "cell_running" and self.ratio not in MASK_RATIOS:
            refuse(("ratio", f"{self.ratio:g} is not one of {', '.join(map(str, MASK_RATIOS))}"))
        if self.kind != "cell_running" and self.fixed_from is not None:
            refuse(("fixed_from", "needs kind cell_running: a graph supports no other mask"))
        return self

    def test_mask(self, grid: Grid) -> Mask:
        """Return the mask (t, h, w) that the model is validated with: phase 0, or one draw of the other kinds."""
        if self.kind == "cell_running":
            return cell_running_mask(grid, self.ratio)
        return training_mask(grid, self.ratio, np.random.default_rng(0), self.kind)


class Order:
    """The order of the clips in the training.

    Every epoch is a new permutation, or a draw with replacement by weight. With repeats (Hoffer et al.,
    arXiv 1901.09335) neighbouring pairs of clips are repeated that often in a row, each time with another augmentation.

    Args:
        count: number of clips.
        seed: of the recipe.
        repeats: how often in a row.
        weights: (count,) of each clip; None for every clip once per epoch.
    """

    def __init__(self, count: int, seed: int, *, repeats: int = 1, weights: NDArray[np.float64] | None = None) -> None:
        self._count, self._seed, self._repeats = count, seed, repeats
        self._shares = None if weights is None else weights / weights.sum()
        self._epoch = lru_cache(maxsize=4)(self._draw)

    @property
    def epoch_places(self) -> int:
        """Number of places in an epoch."""
        return self._count * self._repeats

    def __call__(self, place: int) -> int:
        """Return the index of the clip at a place."""
        block, within = divmod(place, 2 * self._repeats)
        epoch, at = divmod(2 * block + within % 2, self._count)
        return int(self._epoch(epoch)[at])

    def _draw(self, epoch: int) -> NDArray[np.int64]:
        rng = np.random.default_rng([self._seed, 0, epoch])
        if self._shares is None:
            return rng.permutation(self._count)
        return rng.choice(self._count, self._count, p=self._shares)

    def __getstate__(self) -> dict[str, Any]:  # the cache is not sent to worker processes
        return {key: value for key, value in vars(self).items() if key != "_epoch"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._epoch = lru_cache(maxsize=4)(self._draw)


class Rank(NamedTuple):
    """The rank of this process and the number of processes; each makes its part of every batch."""

    number: int
    world: int


class Batches(Dataset[Batch]):
    """The batches of a training; item `i` is this process's part of forward pass `i`.

    Args:
        source: of the clips.
        order: of the clips.
        seed: of the recipe.
        grid: tokens of a clip.
        mask: the mask.
        mixing: mixup and cutmix.
        batch: clips in this process's part.
        accumulate: forward passes in an optimiser step.
        rank: which part.
        streaming: for a streaming model; None for a windowed one.
    """

    def __init__(
        self,
        source: ClipSource,
        order: Order,
        *,
        seed: int,
        grid: Grid,
        mask: MaskPart,
        mixing: MixPart,
        batch: int,
        accumulate: int,
        rank: Rank,
        streaming: StreamingPart | None = None,
    ) -> None:
        self._streaming = streaming
        self._source, self._order, self._seed = source, order, seed
        self._grid, self._mask, self._mixing = grid, mask, mixing
        self._batch, self._accumulate, self._rank = batch, accumulate, rank

    def __getitem__(self, index: int) -> Batch:
        """Make this process's part of a forward pass."""
        first = (index * self._rank.world + self._rank.number) * self._batch
        places = range(first, first + self._batch)
        rngs = [np.random.default_rng([self._seed, 1, place]) for place in places]
        samples = [self._source.sample(self._order(place), rng) for place, rng in zip(places, rngs, strict=True)]
        masks = [self._draw_mask(index // self._accumulate, rng) for rng in rngs]
        clips = np.stack([sample.clip for sample in samples])
        targets = np.zeros((self._batch, len(self._source.labels)), np.float32)
        if targets.size:
            targets[np.arange(self._batch), [sample.label for sample in samples]] = 1
            clips, targets = mix(clips, targets, self._mixing, rngs)
        skipped = None
        if self._streaming is not None:
            if self._streaming.skipped:  # a mask for each clip takes memory in every attention
                drawn = np.stack([self._streaming.draw_skipped(self._grid[0], rng) for rng in rngs])
                skipped = torch.from_numpy(drawn)
            targets = self._at_every_step(samples, targets)
        known = all(sample.flow is not None for sample in samples)
        flows = np.stack([sample.flow for sample in samples if sample.flow is not None]) if known else None
        return Batch(
            clips=torch.from_numpy(clips),
            targets=torch.from_numpy(targets),
            flows=torch.zeros(self._batch, 0, 2) if flows is None else torch.from_numpy(flows).flatten(1, 3),
            visible=torch.from_numpy(np.stack([visible_indices(mask) for mask in masks])),
            masked=torch.from_numpy(np.stack([masked_indices(mask) for mask in masks])),
            skipped=skipped,
            files=tuple(sample.file for sample in samples),
        )

    def _at_every_step(self, samples: list[Sample], targets: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the targets (B, steps, classes) of clips whose class changes; otherwise those given (B, classes)."""
        classes = [sample.steps for sample in samples if sample.steps is not None]
        if not targets.size or len(classes) < len(samples):
            return targets
        return np.eye(targets.shape[1], dtype=np.float32)[np.stack(classes)]

    def _draw_mask(self, step: int, rng: np.random.Generator) -> Mask:
        settings = self._mask
        if self._streaming is not None:  # its mask runs with the clock, from any phase
            return cell_running_mask(self._grid, settings.ratio, int(rng.integers(PLACES)))
        if settings.fixed_from is not None and step >= settings.fixed_from:
            return settings.test_mask(self._grid)
        return training_mask(self._grid, settings.ratio, rng, settings.kind)


@contextmanager
def loaded_batches(
    batches: Batches, first: int, last: int, *, workers: int, pin_memory: bool
) -> Iterator[Iterator[Batch]]:
    """Load forward passes `first` to `last - 1`, in order; the loader processes end with the block.

    A terminal, systemd and `timeout` send their signals to loader processes, too, which must survive them until the trainer
    has ended its step: they ignore all but the end of the block and of the trainer.

    Args:
        batches: what to load.
        first: forward pass to start at.
        last: one after the last.
        workers: processes that make batches ahead; 0 makes them in this process, on demand.
        pin_memory: for a GPU.

    Yields:
        The passes.

    Raises:
        TrainingError: if loader processes cannot hand over what they make.
    """
    if workers:
        _check_sockets()
    may_end = RawValue(c_bool, False)
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=range(first, last),
        num_workers=workers,
        prefetch_factor=PREFETCH if workers else None,
        pin_memory=pin_memory,
        worker_init_fn=partial(_start_worker, may_end),
    )
    passes = _one_after_another(iter(loader))
    try:
        yield passes
    finally:
        may_end.value = True  # torch and Python end them with SIGTERM
        passes.close()


def _check_sockets() -> None:
    """Check that the sockets through which loader processes hand over batches can be made.

    They lie in the folder for temporary files, and their paths are limited. Python's own error would be lost in a thread
    of the loader process, and the training would wait forever.

    Raises:
        TrainingError: if the folder's path is too long.
    """
    folder = tempfile.gettempdir()
    if len(os.fsencode(folder)) > _SOCKET_PATH - _SOCKET_NAME:
        raise TrainingError(
            f"the folder for temporary files, {folder}, has too long a path for the sockets of loader processes. "
            "Set TMPDIR to a folder with a short path, such as /tmp, or trainer.workers=0"
        )


def _one_after_another(loader: Iterator[Batch]) -> Generator[Batch, None, None]:
    """Own a loader: with `close` it is freed, which ends its processes."""
    yield from loader


def _start_worker(may_end: c_bool, _index: int) -> None:
    cv2.setNumThreads(0)  # one of several workers
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    parent = os.getppid()

    def end(_number: int, _frame: FrameType | None) -> None:
        if may_end.value or os.getppid() != parent:
            os._exit(0)

    signal.signal(signal.SIGTERM, end)
