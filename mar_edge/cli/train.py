"""`mar-edge train` and `mar-edge pretrain`: a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mar_edge.training.recipe import Task

RecipeArgument = Annotated[
    Path, typer.Argument(metavar="RECIPE.yaml", help="The training recipe, for instance training/arid.yaml.")
]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[key=value ...]", help="Values that override the recipe, such as trainer.max_minutes=5."),
]
ForceOption = Annotated[
    bool,
    typer.Option("--force", help="Start even if memory or disk are insufficient according to the estimate."),
]


def train(recipe: RecipeArgument, overrides: OverridesArgument = None, force: ForceOption = False) -> None:
    """Train a model on labelled clips; when started again, it resumes where it stopped."""
    _start(recipe, overrides, "classify", force=force)


def pretrain(recipe: RecipeArgument, overrides: OverridesArgument = None, force: ForceOption = False) -> None:
    """Pre-train a model on clips without labels by reconstruction; when started again, it resumes where it stopped."""
    _start(recipe, overrides, "pretrain", force=force)


def _start(path: Path, overrides: list[str] | None, task: Task, *, force: bool) -> None:
    from mar_edge.console import Console
    from mar_edge.extras import require

    for package in ("torch", "lightning_fabric", "tensorboard", "matplotlib"):
        require(package, "train")
    from mar_edge.training.launch_environment import check_environment

    check_environment()  # Fabric reads it when it is imported
    from mar_edge.training import recipe as recipes
    from mar_edge.training.trainer import train as start

    console = Console()
    result = start(recipes.load(path, overrides, task=task), console, force=force)
    if result.rank:
        _leave(result.interrupted)
        return
    said = [f"step {result.step} of {result.steps}"]
    said[0] += "" if result.finished else "; the same command resumes"
    if result.accuracy is not None:
        said.append(f"top-1 of the last training steps {result.accuracy:.3f}")
    if result.best is not None:
        said.append(f"best validation top-1 {result.best_top1:.3f}: {result.best}")
    if result.verdict is not None:
        said.append(result.verdict)
    said.append(f"newest: {result.checkpoint}")
    if result.report is not None:
        said.append(f"report: {result.report}")
    for line in said:
        console.say(line)
    _leave(result.interrupted)


def _leave(interrupted: int | None) -> None:
    if interrupted is not None:
        raise typer.Exit(128 + interrupted)
