"""`mar-edge train` and `mar-edge pretrain`: a recipe, or for `train` one that is made for somebody's clips."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mar_edge.cli.data.options import GroupOption
from mar_edge.cli.init import (
    IdleOption,
    MinutesOption,
    MirrorOption,
    TestOption,
    UnjudgedOption,
    ValOption,
    init_options,
    make_first_recipe,
    say_first_recipe,
)
from mar_edge.counting import counted, form
from mar_edge.errors import OptionError
from mar_edge.printable import typed

if TYPE_CHECKING:
    from mar_edge.training.first_recipe.first_recipe import InitOptions
    from mar_edge.training.recipe import Task

RECIPE, LISTS = "recipe.yaml", "recipe_lists"
"""Names of the recipe and of the folder of its lists, in the folder of a training with `--data`."""

RecipeArgument = Annotated[
    Path, typer.Argument(metavar="RECIPE.yaml", help="The training recipe, for instance training/arid.yaml.")
]
RecipeOrNoneArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[RECIPE.yaml]",
        help="The training recipe, for instance training/arid.yaml; or give --data without one.",
    ),
]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[key=value ...]", help="Values that override the recipe, such as trainer.max_minutes=5."),
]
ForceOption = Annotated[
    bool,
    typer.Option("--force", help="Start even if memory or disk are insufficient according to the estimate."),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DATA",
        help="Make a recipe for these clips first, as mar-edge init does, and train it: folder of class folders, CSV "
        "(path,label) or list, or a folder with train, val and test as lists or folders.",
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "-o", "--out", metavar="FOLDER", help="With --data: folder of the training. Default: runs/NAME of DATA."
    ),
]


def train(
    recipe: RecipeOrNoneArgument = None,
    overrides: OverridesArgument = None,
    data: DataOption = None,
    out: OutOption = None,
    minutes: MinutesOption = None,
    group: GroupOption = None,
    val: ValOption = None,
    test: TestOption = None,
    mirror: MirrorOption = None,
    idle: IdleOption = None,
    unjudged: UnjudgedOption = False,
    force: ForceOption = False,
) -> None:
    """Train a model on labelled clips, by a recipe or by one made for --data; when started again, it resumes."""
    if data is None:
        asked = {
            "--out": out, "--minutes": minutes, "--group": group, "--val": val, "--test": test, "--mirror": mirror,
            "--idle": idle, "--unjudged": unjudged or None,
        }  # fmt: skip
        if named := next((name for name, value in asked.items() if value is not None), None):
            raise typer.BadParameter("is for --data; a recipe says it itself", param_hint=named)
        if recipe is None:
            raise typer.BadParameter(
                "give a recipe, or --data and a folder of your clips, as in: mar-edge train --data clips/",
                param_hint="RECIPE.yaml",
            )
        _start(recipe, overrides, "classify", force=force)
        return
    if recipe is not None and "=" not in str(recipe):
        raise typer.BadParameter(f"give either a recipe ({recipe}) or --data ({data}), not both", param_hint="--data")
    changes = (
        [] if recipe is None else [str(recipe), *(overrides or [])]
    )  # without a recipe, the first one takes its place
    options = init_options(minutes, group, val, test, mirror, idle, unjudged=unjudged, force=None)
    folder = out or Path("runs", _named(data))
    made = _recipe_for(data, folder, options)
    _start(made, changes, "classify", force=force)


def _named(data: Path) -> str:
    """Return the name of a folder of clips, which may be `.`, or of a list without its ending."""
    path = Path(os.path.abspath(data))
    return (path.stem if path.is_file() else path.name) or "clips"


def _recipe_for(data: Path, folder: Path, options: InitOptions) -> Path:
    """Return the recipe of a run on somebody's clips: that of an earlier start, or a new one.

    Raises:
        OptionError: if the earlier start was asked for something else.
    """
    from mar_edge.console import Console
    from mar_edge.datasets.class_numbers import some
    from mar_edge.training.first_recipe.recipe_text import command_line, read_made_by
    from mar_edge.training.first_recipe.unlisted import unlisted_clips

    path = folder / RECIPE
    words = ["mar-edge", "train", "--data", str(data), "-o", str(folder), *options.words()]
    console = Console()
    if not path.exists():
        say_first_recipe(make_first_recipe(data, path, folder, options, words, console), console, needs=False)
        return path
    before = read_made_by(path)
    if before != command_line(words):
        made = "by hand" if before is None else f"by: {before}"
        raise OptionError(
            f"{path} was made {made}, and this is: {command_line(words)}. Train that recipe with: mar-edge train {typed(path)}, or "
            "choose another folder with -o"
        )
    console.say(f"goes on with {path}, the recipe of an earlier start")
    if newer := unlisted_clips(data, sorted((folder / LISTS).glob("*.csv"))):
        told = f"{counted(len(newer), 'clip')} of {data} {form(len(newer), 'is', 'are')} newer than that recipe and {form(len(newer), 'does', 'do')} not train: "
        console.say(
            f"warning: {told}{some(newer)}. To train with all clips choose another folder with -o", style="yellow"
        )
    return path


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
