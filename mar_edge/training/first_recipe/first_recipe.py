"""Makes the first recipe for somebody's own clips, and says what it takes and what to doubt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from mar_edge.counting import counted
from mar_edge.errors import OptionError, OutputError, RecipeError, TrainingError
from mar_edge.files.atomic_file import write_output
from mar_edge.files.ownership import FileKind, check_not_input, check_replaceable
from mar_edge.files.yaml_text import parse_yaml
from mar_edge.printable import typed
from mar_edge.reporting import Progress, no_progress
from mar_edge.runtime.video.probe import VideoInfo
from mar_edge.training.first_recipe.advice import few_clips, why_weighted
from mar_edge.training.first_recipe.budget import EXPORT_BYTES, MEASURED_PX, SIZES_PX, Budget, Clips, plan_budget
from mar_edge.training.first_recipe.class_names import (
    Ask,
    Mirror,
    can_be_drawn,
    choose_idle,
    choose_mirroring,
)
from mar_edge.training.first_recipe.costs import measure
from mar_edge.training.first_recipe.parts import Parts, SplitOptions, find_parts
from mar_edge.training.first_recipe.recipe_text import Choices, command_line, write_text
from mar_edge.training.first_recipe.start_model import nearest_builtin
from mar_edge.training.first_recipe.window import choose_resize, choose_window, probe_clips
from mar_edge.training.judgement.next_commands import named_after
from mar_edge.training.needs.places import check_places, is_in
from mar_edge.training.needs.plan import Place, Plan, plan_training
from mar_edge.training.recipe import Recipe
from mar_edge.training.room import gigabytes
from mar_edge.training.videos import Split

RECIPE = FileKind("recipe", lambda file: False)
"""A recipe may have been edited since, so it is never replaced without being asked to."""


def nobody(_question: str, _answers: Sequence[str], _default: str) -> str | None:
    """Answer no question."""
    return None


@dataclass(frozen=True)
class InitOptions:
    """What a person asked for.

    Attributes:
        minutes: for training and export, together.
        split: how clips are split that are not yet.
        mirror: whether clips are mirrored; None to decide here.
        idle: the class that is no event, or `none`; None to decide here.
        force: replace an existing recipe, and its lists; None if the command cannot.
    """

    minutes: float = 10.0
    split: SplitOptions = field(default_factory=SplitOptions)
    mirror: Mirror | None = None
    idle: str | None = None
    force: bool | None = False

    @property
    def instead(self) -> str:
        """What to do if a file is in the way."""
        return "Choose another name with -o" + ("" if self.force is None else ", or replace it with --force")

    def words(self) -> list[str]:
        """Return the options as they are typed, without those that only say what may be replaced."""
        split = self.split
        typed = {
            "--minutes": f"{self.minutes:g}",
            "--group": split.group,
            "--val": None if split.val is None else f"{100 * split.val:g}",
            "--test": None if split.test is None else f"{100 * split.test:g}",
            "--mirror": self.mirror,
            "--idle": self.idle,
        }
        words = [word for name, value in typed.items() if value is not None for word in (name, value)]
        return [*words, "--unjudged"] if split.unjudged else words


@dataclass(frozen=True)
class FirstRecipe:
    """A recipe that was written.

    Attributes:
        path: of the file.
        said: sentences on what was decided.
        doubts: sentences on what to doubt.
        needs: lines on what the training takes: memory, disk, time.
    """

    path: Path
    said: tuple[str, ...]
    doubts: tuple[str, ...]
    needs: tuple[str, ...]


def make_recipe(
    data: Path,
    path: Path,
    out: Path,
    options: InitOptions,
    *,
    command: Sequence[str],
    ask: Ask = nobody,
    progress: Progress = no_progress,
) -> FirstRecipe:
    """Write a recipe that fits somebody's clips, this device, and the minutes.

    Args:
        data: the clips, see `find_parts`; lists of a new split are written beside the recipe.
        path: of the recipe.
        out: folder of the training.
        options: what was asked for.
        command: the command that makes it, for the recipe.
        ask: for what only a person knows.
        progress: called with the current step, the amount done, and the total.

    Raises:
        DataError: with advice, if the clips cannot be used, or nothing can be judged with them.
        OptionError: if the options ask for what is not possible.
        OutputError: if the recipe or its lists exist, or cannot be written.
    """
    for place in (path, out):
        if data.is_dir() and is_in(place, data):
            raise OptionError(
                f"{place} lies in the folder {data}, where what is written there would be taken for clips. Choose another place with -o"
            )
    check_not_input(path, [data])
    _check_new(path, options)
    lists = path.with_name(f"{path.stem}_lists")
    parts = find_parts(
        data, options.split, lists, force=bool(options.force), instead=options.instead, progress=progress
    )
    made = _Maker(data, path, out, options, command, parts, ask, progress)
    text, said, doubts, plan = made.make()
    _check_new(path, options)  # another command may have written it in the meantime
    write_output(path, text.encode("utf-8", "surrogateescape"), kind=RECIPE, force=bool(options.force))
    # the time is planned better here, from more than the model's work
    needs = [line for line in plan.lines if not line.startswith("time: ")] if plan else []
    needs.append(f"memory of the export to INT8, afterwards: about {gigabytes(EXPORT_BYTES)}")
    return FirstRecipe(path, (*parts.said, *said), (*parts.doubts, *doubts), tuple(needs))


def _check_new(path: Path, options: InitOptions) -> None:
    """Check that no recipe is there, which somebody may have edited.

    Raises:
        OutputError: if one is.
    """
    if path.is_file() and path.stat().st_size and not options.force:
        raise OutputError(
            f"{path} exists, and may have been edited. Train it with: mar-edge train {typed(path)}. {options.instead}"
        )
    check_replaceable(path, RECIPE, force=bool(options.force), advice=options.instead)


def _device() -> torch.device:
    """Return the device that a recipe with `trainer.accelerator: auto` takes."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class _Maker:
    """Decides one thing after the other; the arguments are those of `make_recipe`."""

    data: Path
    path: Path
    out: Path
    options: InitOptions
    command: Sequence[str]
    parts: Parts
    ask: Ask
    progress: Progress

    def make(self) -> tuple[str, list[str], list[str], Plan | None]:
        """Return the recipe's text, what was decided, what to doubt, and what it takes; None for the last if that is not there."""
        choices, infos = self._choose()
        train, val = self.parts.train, self.parts.val
        self.progress("measuring this device", 0, 0)
        costs = measure(_parsed(write_text(choices)), train, _device())
        judging = 0 if val is None else len(val.videos)
        mean_s = sum(info.duration_s for info in infos) / len(infos)
        clips = Clips(len(train.videos), judging, mean_s * (len(train.videos) + judging))
        choices = replace(choices, precision=costs.precision)
        for largest_px in SIZES_PX:
            budget = plan_budget(
                costs, clips, self.options.minutes, _device(), draws=choices.reverse_swaps, largest_px=largest_px
            )
            fitted = replace(choices, budget=budget)
            text = write_text(fitted)
            recipe = _parsed(text)
            check_places(recipe)
            plan, doubts = None, self._doubts(fitted, costs.busy)
            try:
                plan = plan_training(recipe, Split(train, val), Place(_device()))
            except TrainingError as error:
                if budget.size_px > min(SIZES_PX):
                    continue  # smaller pictures take less memory
                doubts.append(str(error))  # the training refuses it, unless it fits by then
            return text, self._said(fitted), doubts, plan
        raise AssertionError("the smallest size fits or is refused")

    def _choose(self) -> tuple[Choices, list[VideoInfo]]:
        """Decide all but size and steps; return the files' lengths and sizes, too."""
        train, labels = self.parts.train, self.parts.train.labels
        infos = probe_clips(train, self.progress)
        window = choose_window(infos)
        resize, resize_said = choose_resize(infos)
        start = nearest_builtin(labels, window.frames / window.rate_fps)
        mirroring = choose_mirroring(labels, self.options.mirror, self.ask)
        idle, idle_said = choose_idle(labels, self.options.idle, self.ask)
        draws = can_be_drawn(labels) and window.frames >= 8
        first = Budget(MEASURED_PX, 1, int(draws), 1.0, {}, "", None)
        choices = Choices(
            path=self.path,
            made_by=command_line(self.command),
            name=named_after(self.out),
            description=_described(labels),
            train=train.source,
            val=None if self.parts.val is None else self.parts.val.source,
            test=None if self.parts.test is None else self.parts.test.source,
            out=self.out,
            cache=(Path("runs") if self.out.parent == Path() else self.out.parent) / "cache",
            start=start,
            window=window,
            resize=resize,
            resize_said=resize_said,
            budget=first,
            minutes=self.options.minutes,
            mirroring=mirroring,
            idle_label=idle,
            idle_said=idle_said,
            weighted=why_weighted(list(train.counts().values())),
            reverse_swaps=draws,
            precision="bf16",
        )
        return choices, infos

    def _said(self, choices: Choices) -> list[str]:
        window, budget = choices.window, choices.budget
        said = [
            f"Window: {window.said}, at {window.rate_fps:g} frames/s.",
            f"Start: {choices.start.name}, {choices.start.said}.",
            f"Mirroring: {choices.mirroring.said}.",
            (f"Idle class: '{choices.idle_label}'" if choices.idle_label else "No idle class")
            + f"; {choices.idle_said}.",
            f"Size and steps: {budget.size_px} px, {counted(budget.steps, 'step')} of about {budget.step_s:.2g} s: {budget.limit}.",
            f"Time: about {_minutes(sum(budget.spent_s.values()))} of {self.options.minutes:g} minutes: "
            + ", ".join(f"{name} {_minutes(seconds)}" for name, seconds in budget.spent_s.items())
            + ".",
        ]
        return [*said, f"Classes are weighted: {choices.weighted}."] if choices.weighted else said

    def _doubts(self, choices: Choices, busy: float) -> list[str]:
        doubts = [*choices.window.doubts, *few_clips(self.parts.train)]
        if choices.mirroring.open:
            doubts.append(choices.mirroring.open)
        if choices.budget.minutes_needed is not None:
            doubts.append(
                f"{self.options.minutes:g} minutes leave only {counted(choices.budget.steps, 'step')} here. The baselines and probes are "
                f"then the better models; for fine-tuning give --minutes {choices.budget.minutes_needed}"
            )
        if busy >= 1.3:
            doubts.append(
                f"other programs keep this machine busy: everything takes {busy:.1f} times as long, and is planned so"
            )
        return doubts


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _described(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:8]) + (f" and {len(labels) - 8} more" if len(labels) > 8 else "")
    return f"Recognises {shown}"


def _parsed(text: str) -> Recipe:
    """Return the recipe of a text that was made here."""
    try:
        return Recipe.model_validate(parse_yaml(text)[1])
    except ValueError as error:
        raise RecipeError(f"the first recipe is not valid, which is a mistake of mar-edge: {error}") from error
