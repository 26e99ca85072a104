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
    for line in result.lines:
        console.say(line)
    _leave(result.interrupted)


def _leave(interrupted: int | None) -> None:
    if interrupted is not None:
        raise typer.Exit(128 + interrupted)
