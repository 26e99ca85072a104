"""`mar-edge train`: a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE.yaml", help="What to train, for instance training/egomotion.yaml.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[key=value ...]", help="Values to set otherwise, as trainer.max_minutes=5."),
    ] = None,
) -> None:
    """Train a model; started again, it goes on where it stopped."""
    from rich.console import Console

    from mar_edge.extras import require

    require("torch", "train")
    from mar_edge.training import recipe as recipes
    from mar_edge.training.trainer import train as start

    console = Console(stderr=True, highlight=False)
    result = start(recipes.load(recipe, overrides), console)
    state = "done" if result.finished else "stopped; the same command goes on"
    console.print(
        f"{state} at step {result.step}, top-1 of the last steps {result.accuracy:.3f}: {result.checkpoint}",
        markup=False,
    )
