"""Plans a training before step 1: what it takes, whether this machine has it, and the batch of a forward pass."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import NamedTuple

import torch

from mar_edge.counting import counted
from mar_edge.datasets.cache_size import decoding_bytes
from mar_edge.errors import TrainingError
from mar_edge.model.config import ModelConfig, input_geometry
from mar_edge.model.deployed import nearest_mask
from mar_edge.model.torch_engine import count_macs
from mar_edge.training import room
from mar_edge.training.batches import PREFETCH, default_workers
from mar_edge.training.model_setup import PATCH_CLIPS, check_teacher
from mar_edge.training.needs.advice import MAKE_SMALLER, changed_trainer, halves, smaller
from mar_edge.training.needs.disk import DiskNeed, disk_needs, lacking
from mar_edge.training.needs.memory import NEW_PROCESS_BYTES, MemoryNeed, Processes, memory_need
from mar_edge.training.needs.speed import macs_per_s, seconds
from mar_edge.training.needs.step_trace import StepSettings, StepTrace, least_bytes, trace_patch_init, trace_step
from mar_edge.training.optical_flow import FLOW_CHANNELS
from mar_edge.training.recipe import STEP_CLIPS, Recipe, TrainerPart
from mar_edge.training.room import gigabytes
from mar_edge.training.start import read_architecture
from mar_edge.training.synthetic.camera_moves import CameraMoves
from mar_edge.training.synthetic.gestures.clips import GestureClips
from mar_edge.training.videos import Split, VideosPart

AIR = 0.85
"""Share of the free memory for a batch that is chosen here; a batch set in the recipe may use all of it."""

OVERRULE = "If the estimate is wrong, start with --force"


@dataclass(frozen=True)
class Place:
    """The device and processes of a training.

    Attributes:
        device: of the model, in each training process.
        trainers: training processes, on all machines.
        here: those on this machine.
    """

    device: torch.device
    trainers: int = 1
    here: int = 1


_FLOW_CHANNELS = {
    "videos": FLOW_CHANNELS,
    "camera_moves": CameraMoves.flow_channels,
    "gestures": GestureClips.flow_channels,
}


@dataclass(frozen=True)
class Plan:
    """A planned training.

    Attributes:
        recipe: with the batch, the passes and the loaders that were chosen.
        lines: what it takes, for messages.
        step_s: estimated seconds per step.
    """

    recipe: Recipe
    lines: list[str]
    step_s: float


class _Room(NamedTuple):
    """Free memory in bytes; None if it is unknown or not limited."""

    host: int | None
    device: int | None
    shared: int | None

    def lacks(self, need: MemoryNeed, share: float = 1.0) -> str | None:
        """Report what is insufficient; None if everything fits."""
        pairs = (
            (need.device_bytes, self.device, "GPU memory"),
            (need.host_bytes, self.host, "memory"),
            (need.shared_bytes, self.shared, "shared memory (/dev/shm) for loaders"),
        )
        for needed, free, name in pairs:
            if needed is not None and free is not None and needed > share * free:
                return f"about {gigabytes(needed)} of {name}, and {gigabytes(free)} are free"
        return None


def check_processes(settings: TrainerPart) -> None:
    """Check that the training processes of a recipe fit into memory together, before they are started.

    Raises:
        TrainingError: if they cannot.
    """
    on_gpu = settings.accelerator != "cpu" and torch.cuda.is_available()
    free = room.free_memory_bytes()
    if on_gpu or free is None or settings.devices == "auto":
        return
    needed = settings.devices * NEW_PROCESS_BYTES
    if needed > free:
        raise TrainingError(
            f"{settings.devices} training processes take about {gigabytes(needed)} of memory, and {gigabytes(free)} are "
            "free. Set trainer.devices to fewer"
        )


def plan_training(
    recipe: Recipe, split: Split | None, place: Place, *, earlier: tuple[int, int] | None = None, force: bool = False
) -> Plan:
    """Estimate what a training takes, and choose its batch if the recipe does not set it.

    Args:
        recipe: the recipe.
        split: its videos; None for filmed clips.
        place: the device and processes.
        earlier: batch and passes of an earlier start of this run, which are kept if the recipe does not set them.
        force: plan it even if it does not fit by the estimate.

    Raises:
        TrainingError: if it does not fit; the message states what to change.
        CheckpointError, BundleError: if a teacher cannot be read.
    """
    return _Planner(recipe, split, place).plan(earlier, force)


class _Planner:
    def __init__(self, recipe: Recipe, split: Split | None, place: Place) -> None:
        self._recipe, self._split, self._place = recipe, split, place
        self._room = _Room(room.free_memory_bytes(), room.free_device_bytes(place.device), room.free_shared_bytes())

    def plan(self, earlier: tuple[int, int] | None, force: bool) -> Plan:
        recipe = self._with_workers(self._recipe)
        notes: list[str] = []
        if recipe.trainer.batch is None:
            recipe = self._with_batch(recipe, earlier)
            batch, passes = recipe.trainer.batch, recipe.trainer.accumulate
            notes.append(f"batch: {counted((batch or 1) * passes, 'clip')} per step, {batch} at a time")
        trace, need = self._refuse(recipe, force, notes)
        disk = disk_needs(recipe, self._split, trace)
        too_little = lacking(disk)
        if too_little is not None:
            notes += _object(f"this training takes {too_little}", force)
        config = self._config(recipe)
        clips = recipe.trainer.clips * recipe.trainer.accumulate * self._place.trainers
        step_s = trace.macs * recipe.trainer.accumulate / self._speed(recipe, config)
        lines = [
            f"model: {trace.parameters / 1e6:.3g} M parameters{_work(recipe, config)}",
            self._about_memory(need),
            *_about_disk(disk),
            _about_time(step_s, _steps(recipe, self._split, clips)),
        ]
        return Plan(recipe, [*lines, *notes], step_s)

    def _refuse(self, recipe: Recipe, force: bool, notes: list[str]) -> tuple[StepTrace, MemoryNeed]:
        """Return what a recipe needs, if it fits."""
        if not force:
            self._refuse_at_sight(recipe)
        try:
            trace, need = self._need(recipe)
        except OverflowError as error:
            raise TrainingError(
                "the sizes of model and trainer.batch exceed the memory of any computer; reduce them"
            ) from error
        lacks = self._room.lacks(need)
        if lacks is not None:
            instead = "" if force else f". {self._instead(recipe)}"
            notes += _object(f"this training takes {lacks}{instead}", force)
        return trace, need

    def _refuse_at_sight(self, recipe: Recipe) -> None:
        """Reject what is far too large, before a closer estimate is made."""
        free = self._room.device or self._room.host
        least = self._least(recipe)
        if free is not None and least > free:
            _object(
                f"this training takes at least {gigabytes(least)} of memory, and {gigabytes(free)} are free. "
                f"{self._instead(recipe)}",
                False,
            )

    def _need(self, recipe: Recipe) -> tuple[StepTrace, MemoryNeed]:
        config, place, settings = self._config(recipe), self._place, recipe.trainer
        trace = trace_step(
            StepSettings(
                config=config,
                objective=recipe.objective,
                optimiser=recipe.optimiser.kind,
                precision=settings.precision,
                batch=settings.clips,
                passes=min(2, settings.accumulate),
                hidden=recipe.mask.ratio,
                flow_channels=_FLOW_CHANNELS[recipe.data.kind],
                teacher=self._teacher_of(config),
                clip=recipe.clip,
                streaming=recipe.streaming,
                device=place.device,
            )
        )
        spread = settings.strategy == "fsdp"
        return trace, memory_need(
            trace,
            batch=settings.clips,
            geometry=recipe.clip,
            device=place.device,
            processes=Processes(place.here, settings.workers or 0),
            averaged=recipe.optimiser.ema is not None,
            copies=int(place.trainers > 1 and not spread),
            shards=place.trainers if spread else 1,
            preparing_bytes=self._preparing_bytes(recipe, config),
            decoding_bytes=self._decoding_bytes,
        )

    @cached_property
    def _decoding_bytes(self) -> int:
        return 0 if self._split is None else decoding_bytes(self._split.train)

    @staticmethod
    def _preparing_bytes(recipe: Recipe, config: ModelConfig) -> int:
        """Return the memory that is needed once before the first step."""
        if not recipe.start.patches_from_data:
            return 0
        tokens = input_geometry(config).tokens
        visible = tokens - round(tokens * recipe.mask.ratio)
        return trace_patch_init(config, recipe.clip, clips=PATCH_CLIPS, visible=visible)

    def _fits(self, recipe: Recipe, share: float = 1.0) -> MemoryNeed | None:
        """Return what a recipe needs, if it is available."""
        free = self._room.device or self._room.host
        least = self._least(recipe)
        if free is not None and least > share * free:
            return None
        need = self._need(recipe)[1]
        return need if self._room.lacks(need, share) is None else None

    def _least(self, recipe: Recipe) -> int:
        return least_bytes(
            self._config(recipe),
            batch=recipe.trainer.clips,
            hidden=recipe.mask.ratio,
            decodes=bool(recipe.objective.reconstruction_weight),
        )

    def _with_workers(self, recipe: Recipe) -> Recipe:
        """Return the recipe with a number of loaders whose batches fit into the shared memory."""
        if recipe.trainer.workers is not None:
            return recipe
        workers = default_workers(self._place.here)
        if self._room.shared is not None:
            batch_bytes = recipe.trainer.clips * math.prod(recipe.clip.clip_shape)
            while workers and self._place.here * (workers * PREFETCH + 1) * batch_bytes > self._room.shared:
                workers -= 1
        return changed_trainer(recipe, workers=workers)

    def _with_batch(self, recipe: Recipe, earlier: tuple[int, int] | None) -> Recipe:
        """Return the recipe with the largest batch that fits; the clips of a step stay the same."""
        clips = STEP_CLIPS * recipe.trainer.accumulate
        if earlier is not None and math.prod(earlier) == clips:  # so that a resumed run ends bit for bit the same
            return changed_trainer(recipe, batch=earlier[0], accumulate=earlier[1])
        for batch in halves(STEP_CLIPS):
            chosen = changed_trainer(recipe, batch=batch, accumulate=clips // batch)
            try:
                if self._fits(chosen, AIR) is not None:
                    return chosen
            except OverflowError:
                continue
        return chosen

    def _instead(self, recipe: Recipe) -> str:
        """Report what to change so that a recipe fits."""
        try:
            for changes, changed in smaller(recipe, lambda other: self._fits(other) is not None):
                need = self._fits(changed)
                if need is not None:
                    takes = need.host_bytes if need.device_bytes is None else need.device_bytes
                    return f"Set {changes}, which takes {gigabytes(takes)}"
        except OverflowError:
            pass
        return MAKE_SMALLER

    def _config(self, recipe: Recipe) -> ModelConfig:
        if recipe.task == "pretrain":
            return recipe.model.config(classes=0)
        if not isinstance(recipe.data, VideosPart):
            return recipe.model.config(classes=len(recipe.data.labels))
        assert self._split is not None  # recipes of videos have lists
        return recipe.model.config(classes=len(self._split.train.labels))

    @cached_property
    def _teacher(self) -> ModelConfig | None:
        distil = self._recipe.objective.distil
        if distil is None:
            return None
        config = read_architecture(distil.teacher)
        check_teacher(distil, config, self._config(self._recipe))
        return config

    def _teacher_of(self, config: ModelConfig) -> ModelConfig | None:
        """Return the teacher that another size of clips would need."""
        return None if self._teacher is None else replace(self._teacher, geometry=config.geometry)

    def _speed(self, recipe: Recipe, config: ModelConfig) -> float:
        tokens = recipe.clip.tokens
        return macs_per_s(
            config,
            tokens=max(1, tokens - round(tokens * recipe.mask.ratio)),
            batch=recipe.trainer.clips,
            device=self._place.device,
            precision=recipe.trainer.precision,
        )

    def _about_memory(self, need: MemoryNeed) -> str:
        shares = ", ".join(f"{name} {gigabytes(share)}" for name, share in need.parts.items() if share)
        pairs = [("memory", need.host_bytes, self._room.host)]
        if need.device_bytes is not None:
            pairs.insert(0, ("GPU memory", need.device_bytes, self._room.device))
        told = "; ".join(
            f"{name}: about {gigabytes(needed)}"
            + (f" of {gigabytes(free)} free" if free is not None else ", free unknown")
            for name, needed, free in pairs
        )
        return f"{told} ({shares})"


def _object(sentence: str, force: bool) -> list[str]:
    """Raise an error, or return a warning if `force` is set."""
    if not force:
        raise TrainingError(f"{sentence}. {OVERRULE}")
    return [f"warning: {sentence}; started by --force"]


def _work(recipe: Recipe, config: ModelConfig) -> str:
    if config.classifier == "none":
        return ""
    mask = nearest_mask(recipe.mask.ratio)
    work = "time step" if config.temporal == "causal" else "clip"
    return f", {count_macs(config, mask / 100) / 1e9:.3g} GMACs per {work} at mask {mask} %"


def _steps(recipe: Recipe, split: Split | None, clips: int) -> int:
    """Return the approximate number of steps of a recipe, for this number of clips per step."""
    data, settings = recipe.data, recipe.trainer
    if settings.steps is not None:
        return settings.steps
    if isinstance(data, VideosPart):
        there = len(split.train.videos) if split is not None else 0
        there = data.repeats * (there + (data.figures.clips if data.figures else 0))
    else:
        there = data.clips
    return max(1, math.ceil((settings.epochs or 0) * there / clips))


def _about_disk(needs: list[DiskNeed]) -> list[str]:
    lines = []
    for need in needs:
        free = room.free_disk_bytes(need.folder)
        there = f" of {gigabytes(free[0])} free" if free is not None else ""
        lines.append(f"disk: about {gigabytes(need.needed_bytes)}{there} for {need.key} {need.folder}")
    return lines


def _about_time(step_s: float, steps: int) -> str:
    total_s = step_s * steps
    total = str(timedelta(seconds=round(total_s))) if total_s < 86400 else f"{total_s / 86400:,.1f} days"
    return (
        f"time: about {seconds(step_s)} per step, {counted(steps, 'step')}: {total}, excluding loading and validation"
    )
