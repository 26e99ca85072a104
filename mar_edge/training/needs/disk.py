"""Estimates the disk space of a training: decoded videos, filmed clips, checkpoints."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from mar_edge.datasets.cache_size import missing_bytes
from mar_edge.training import room
from mar_edge.training.needs.step_trace import StepTrace
from mar_edge.training.recipe import Recipe
from mar_edge.training.room import gigabytes
from mar_edge.training.videos import Split, VideosPart, sizings

MARGIN_BYTES = 50_000_000
"""Bytes for logs, TensorBoard and the report."""


@dataclass(frozen=True)
class DiskNeed:
    """The data written to one folder.

    Attributes:
        key: of the recipe that names the folder.
        folder: the folder.
        needed_bytes: bytes that are not written yet.
        advice: how to reduce it.
    """

    key: str
    folder: Path
    needed_bytes: int
    advice: str


def disk_needs(recipe: Recipe, split: Split | None, trace: StepTrace) -> list[DiskNeed]:
    """Return what a training will write, by folder.

    Args:
        recipe: the recipe.
        split: its videos; None for filmed clips.
        trace: of a step.
    """
    weights_bytes = 4 * trace.parameters
    averages = recipe.optimiser.ema is not None
    # the last two states and the checkpoint stay until the new ones are complete; the weights to use are a copy
    checkpoints = 3 if recipe.task == "pretrain" else 4
    run_bytes = 3 * (trace.kept_bytes + averages * weights_bytes) + checkpoints * weights_bytes + MARGIN_BYTES
    needs = [DiskNeed("trainer.out", recipe.trainer.out, run_bytes, "")]
    data = recipe.data
    if not isinstance(data, VideosPart):
        films_bytes = data.clips * math.prod(recipe.clip.clip_shape)
        return [*needs, DiskNeed("data.cache", data.cache, films_bytes, "fewer data.clips")]
    if data.cache is None or split is None:
        return needs
    videos_bytes = sum(
        missing_bytes(videos, sizing, data.cache) for videos, sizing in sizings(data, split, recipe.clip)
    )
    figures_bytes = data.figures.clips * math.prod(recipe.clip.clip_shape) if data.figures else 0
    advice = "a smaller data.cache_px, data.cache=null to decode at every step"
    return [*needs, DiskNeed("data.cache", data.cache, videos_bytes + figures_bytes, advice)]


def lacking(needs: list[DiskNeed]) -> str | None:
    """Report which disk has too little space; None if all have enough."""
    by_disk: dict[int, list[DiskNeed]] = {}
    free: dict[int, int] = {}
    for need in needs:
        found = room.free_disk_bytes(need.folder)
        if found is not None:
            by_disk.setdefault(found[1], []).append(need)
            free[found[1]] = found[0]
    for disk, there in by_disk.items():
        total_bytes = sum(need.needed_bytes for need in there)
        if total_bytes > free[disk]:
            most = max(there, key=lambda need: need.needed_bytes)
            instead = f"{most.advice}, or " if most.advice else ""
            return (
                f"about {gigabytes(total_bytes)} of disk for {' and '.join(f'{need.key} {need.folder}' for need in there)}, and "
                f"{gigabytes(free[disk])} are free there. Choose {instead}{most.key}= on a larger disk"
            )
    return None
