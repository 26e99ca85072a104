"""Trains a recipe from its lists of videos to the report."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import cast

import torch
from lightning_fabric import Fabric

from mar_edge.console import Console
from mar_edge.errors import MarEdgeError
from mar_edge.reporting import Progress
from mar_edge.training.baselines.baseline import BASELINES, Baseline, read_baselines
from mar_edge.training.baselines.baselines import run_baselines
from mar_edge.training.fabric import make_fabric
from mar_edge.training.interrupts import Interrupts
from mar_edge.training.loop import Trainer
from mar_edge.training.needs.places import check_places
from mar_edge.training.needs.plan import Place, Plan, check_processes, plan_training
from mar_edge.training.needs.shortage import shortage_named
from mar_edge.training.progress import Clock, TrainingView
from mar_edge.training.recipe import Recipe
from mar_edge.training.result import TrainingResult
from mar_edge.training.state.newest import earlier_passes
from mar_edge.training.training_data import open_data, read_lists
from mar_edge.training.videos import Split


def train(recipe: Recipe, console: Console, *, force: bool = False, clock: Clock = time.monotonic) -> TrainingResult:
    """Train a recipe; resume where an earlier run in the same folder stopped.

    Its needs are estimated, reported, and compared with this machine's resources, before any video is decoded.

    Args:
        recipe: what to train.
        console: for messages.
        force: start even if memory or disk are insufficient by the estimate.
        clock: the time that the progress goes by.

    Raises:
        DataError: if the data cannot be used.
        RecipeError: if the recipe does not fit the data, or writes into it.
        OutputError: if checkpoints cannot be written, or would replace the weights to start from.
        CheckpointError: if the folder holds another run, or weights to start from do not fit.
        TrainingError: if the training does not fit this machine, the devices are unavailable, or the loss is NaN or infinite.
    """
    if recipe.trainer.threads:
        torch.set_num_threads(recipe.trainer.threads)
    check_places(recipe)
    check_processes(recipe.trainer)
    fabric = make_fabric(recipe.trainer)
    view = TrainingView(console, quiet=not fabric.is_global_zero, clock=clock)
    with view.drawn(), shortage_named(), ExitStack() as ending:
        split = read_lists(recipe, view.preparing)
        plan = _plan(recipe, split, fabric, force=force)
        for line in plan.lines:
            view.say(line, "yellow" if line.startswith("warning") else None)
        with fabric.rank_zero_first():  # the first process fills the cache, the others use it
            data = open_data(plan.recipe, split, view.preparing)
        trainer = Trainer(plan.recipe, data, fabric)
        ending.callback(trainer.close)
        if recipe.baselines and split is not None and fabric.is_global_zero:
            for baseline in _baselines(recipe, split, view.preparing, goes_on=trainer.step > 0):
                view.say(baseline.said)
        for note in [*data.notes, *data.leaks, *trainer.warnings]:
            view.say(f"warning: {note}", "yellow")
        for note in trainer.notes:
            view.say(note)
        view.begin(trainer.step, trainer.steps)
        with Interrupts() as interrupts:
            return trainer.run(interrupts, view)


def _baselines(recipe: Recipe, split: Split, progress: Progress, *, goes_on: bool) -> list[Baseline]:
    """Run the baselines, or read those of an earlier start if none of its models was moved away."""
    folder = recipe.trainer.out
    known = read_baselines(folder / BASELINES) if goes_on else []
    there = all(one.checkpoint is None or one.checkpoint.exists() for one in known)
    return known if known and there else run_baselines(recipe, split, folder, progress)


def _plan(recipe: Recipe, split: Split | None, fabric: Fabric, *, force: bool) -> Plan:
    """Let the first process plan for all, because they must use the same batch."""
    outcome: Plan | MarEdgeError | None = None
    if fabric.is_global_zero:
        try:
            outcome = plan_training(
                recipe,
                split,
                Place(
                    fabric.device, trainers=fabric.world_size, here=max(1, fabric.world_size // recipe.trainer.nodes)
                ),
                earlier=earlier_passes(recipe.trainer.out),
                force=force,
            )
        except MarEdgeError as error:
            outcome = error
    outcome = cast("Plan | MarEdgeError", fabric.broadcast(outcome))
    if isinstance(outcome, MarEdgeError):
        raise outcome
    return outcome
