"""`mar-edge init`: the first recipe for somebody's own clips."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mar_edge.cli.data.options import GroupOption
from mar_edge.cli.views.progress_bar import progress_bar
from mar_edge.errors import OptionError
from mar_edge.printable import typed

if TYPE_CHECKING:
    from mar_edge.console import Console
    from mar_edge.reporting import Progress
    from mar_edge.training.first_recipe.first_recipe import FirstRecipe, InitOptions

MINUTES = 10.0
FEWEST_MINUTES, MOST_MINUTES = 0.5, 100_000

MinutesOption = Annotated[
    float | None,
    typer.Option(
        "--minutes", metavar="N", help="Minutes for training and INT8 export together, on this device. Default: 10."
    ),
]
ValOption = Annotated[
    float | None,
    typer.Option(
        "--val",
        metavar="PERCENT",
        help="Of clips that are not split yet. Default: 20, or 25 if there can be no test list.",
    ),
]
TestOption = Annotated[
    float | None,
    typer.Option(
        "--test",
        metavar="PERCENT",
        help="Of clips that are not split yet. Default: 20, or 0 if there are too few groups.",
    ),
]
MirrorOption = Annotated[
    Literal["keep", "swap", "no"] | None,
    typer.Option(
        "--mirror",
        help="In a mirrored clip, classes keep their names, or swap left and right; or clips are not mirrored. "
        "Default: a question, if class names say left or right.",
    ),
]
IdleOption = Annotated[
    str | None,
    typer.Option(
        "--idle", metavar="LABEL|none", help="The class for everything that is no event. Default: as class names say."
    ),
]
UnjudgedOption = Annotated[
    bool,
    typer.Option("--unjudged", help="Train even if no clips can be kept apart to judge the model by."),
]
DataArgument = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="Folder of class folders; CSV (path,label) or list; or a folder with train, val and test as lists or folders.",
    ),
]
OutOption = Annotated[Path, typer.Option("-o", "--out", metavar="RECIPE.yaml", help="The recipe to write.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace an existing recipe and its lists.")]


def init(
    data: DataArgument,
    out: OutOption,
    minutes: MinutesOption = None,
    group: GroupOption = None,
    val: ValOption = None,
    test: TestOption = None,
    mirror: MirrorOption = None,
    idle: IdleOption = None,
    unjudged: UnjudgedOption = False,
    force: ForceOption = False,
) -> None:
    """Write a commented recipe that fits your clips, this device and some minutes; split clips that are not split yet."""
    from mar_edge.console import Console

    if out.suffix.lower() not in (".yaml", ".yml"):
        raise typer.BadParameter(f"'{out}' is no name of a recipe, for instance my_recipe.yaml", param_hint="--out")
    options = init_options(minutes, group, val, test, mirror, idle, unjudged=unjudged, force=force)
    console = Console()
    command = ["mar-edge", "init", str(data), "-o", str(out), *options.words()]
    made = make_first_recipe(data, out, Path("runs", out.stem), options, command, console)
    say_first_recipe(made, console)
    console.say(f"Run: mar-edge train {typed(made.path)}")


def init_options(
    minutes: float | None,
    group: str | None,
    val: float | None,
    test: float | None,
    mirror: Literal["keep", "swap", "no"] | None,
    idle: str | None,
    *,
    unjudged: bool,
    force: bool | None,
) -> InitOptions:
    """Return the options of a first recipe; `force` is None in a command that replaces none.

    Raises:
        OptionError: if the minutes are too few or too many.
    """
    from mar_edge.extras import require

    for package, extra in (("torch", "train"), ("lightning_fabric", "train"), ("onnx", "export")):
        require(package, extra)
    from mar_edge.training.first_recipe.first_recipe import InitOptions
    from mar_edge.training.first_recipe.parts import SplitOptions

    if minutes is not None and not FEWEST_MINUTES <= minutes <= MOST_MINUTES:
        raise OptionError(f"--minutes {minutes:g}: expected {FEWEST_MINUTES} to {MOST_MINUTES:,} minutes, such as 10")
    shares = [None if share is None else share / 100 for share in (val, test)]
    split = SplitOptions(group=group, val=shares[0], test=shares[1], unjudged=unjudged)
    return InitOptions(
        minutes=MINUTES if minutes is None else minutes, split=split, mirror=mirror, idle=idle, force=force
    )


def make_first_recipe(
    data: Path, path: Path, out: Path, options: InitOptions, command: Sequence[str], console: Console
) -> FirstRecipe:
    """Make the recipe; questions are asked if a person sits at a terminal."""
    from mar_edge.training.first_recipe.first_recipe import make_recipe, nobody

    person = sys.stdin is not None and sys.stdin.isatty() and console.is_terminal
    with ExitStack() as bars:
        asked = _Asking(console, bars)
        return make_recipe(
            data, path, out, options, command=command, ask=asked.ask if person else nobody, progress=asked.progress
        )


def say_first_recipe(made: FirstRecipe, console: Console, *, needs: bool = True) -> None:
    """Print what was decided, what to doubt, and what the training takes unless it says so itself."""
    for line in made.said:
        console.say(line)
    for doubt in made.doubts:
        console.say(f"warning: {doubt}", style="yellow")
    for line in made.needs if needs else ():
        console.say(line)
    console.say(f"written: {made.path}", style="green")


class _Asking:
    """A progress bar that makes way for questions.

    Args:
        console: of a terminal.
        bars: closes the bar.
    """

    def __init__(self, console: Console, bars: ExitStack) -> None:
        self._console, self._bars = console, bars
        self._bar: Progress | None = None

    def progress(self, task: str, done: int, total: int) -> None:
        """Show the current step."""
        if self._bar is None:
            self._bar = self._bars.enter_context(progress_bar(self._console))
        self._bar(task, done, total)

    def ask(self, question: str, answers: Sequence[str], default: str) -> str:
        """Ask until one of the answers is given; its first letters are enough, and nothing stands for the default."""
        self._bars.close()
        self._bar = None
        while True:
            self._console.say(f"{question} [{'/'.join(answers)}, default {default}]")
            try:
                given = input().strip().lower() or default
            except EOFError:  # the person has left
                return default
            found = [one for one in answers if one.startswith(given)]
            if len(found) == 1:
                return found[0]
            self._console.say(f"'{given}' is not one of {', '.join(answers)}")
