"""Reports the progress of a training: a bar on a terminal, a line a minute elsewhere, rows in a file, TensorBoard."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn

from mar_edge.console import Console, Field
from mar_edge.errors import OutputError
from mar_edge.extras import require
from mar_edge.training.needs.speed import seconds

RATE = "clips_per_s"
"""Name of the figure of the speed."""

MEASURED_STEPS = 3
"""Steps after the first that are measured to estimate the remaining time."""

LOG_ROWS = 500
"""Approximate number of rows in the log of a training."""


LINE_S = 60.0
"""Seconds between two lines where there is no terminal to draw a bar on."""

Clock = Callable[[], float]
"""Returns a time in seconds that never goes back."""


class Pace:
    """Measures steps, and tells how long the rest will take.

    Args:
        steps: of the entire training.
        clock: the time.
    """

    def __init__(self, steps: int, clock: Clock = time.monotonic) -> None:
        self._steps, self._clock = steps, clock
        self._began: tuple[int, float] | None = None
        self._told = False

    def after(self, step: int) -> str | None:
        """Return a sentence once some steps after the first have been measured.

        Args:
            step: steps done so far.
        """
        if self._began is None:  # the first step also warms up
            self._began = step, self._clock()
        step_s = self._step_s(step)
        if self._told or step_s is None or step - self._began[0] < MEASURED_STEPS or step >= self._steps:
            return None
        self._told = True
        return f"measured: {seconds(step_s)} per step, about {self.left(step)} left"

    def left(self, step: int) -> timedelta | None:
        """Return how long the rest takes, with as much validation as so far; None before it was measured."""
        step_s = self._step_s(step)
        return None if step_s is None else timedelta(seconds=round(step_s * (self._steps - step)))

    def _step_s(self, step: int) -> float | None:
        if self._began is None or step <= self._began[0]:
            return None
        return (self._clock() - self._began[1]) / (step - self._began[0])


class TrainingView:
    """Shows a training to a person: a bar on a terminal; elsewhere, as in a pipe or a log, a line a minute.

    Args:
        console: where to; nothing but errors is shown by other processes than the first.
        quiet: whether this is another process.
        clock: the time.
    """

    def __init__(self, console: Console, *, quiet: bool, clock: Clock = time.monotonic) -> None:
        self._console, self._quiet, self._clock = console, quiet, clock
        self._lines = not quiet and not console.is_terminal
        self._line_s = clock()
        self._pace: Pace | None = None
        self._steps, self._note = 0, ""

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """Draw the bar, on a terminal."""
        columns = Field(), BarColumn(), MofNCompleteColumn(), Field("note"), TimeRemainingColumn()
        with self._console.bar(*columns, disable=self._quiet or not self._console.is_terminal) as self._bar:
            self._ready = self._bar.add_task("estimating", total=None, note="")
            yield

    def say(self, sentence: str, style: str | None = None) -> None:
        """Print a sentence."""
        if not self._quiet:
            self._console.say(sentence, style)

    def preparing(self, what: str, done: int, total: int) -> None:
        """Show what is done before the first step."""
        self._bar.update(self._ready, description=what, completed=done, total=total)
        if self._due():
            self.say(f"{what}: {done:,} of {total:,}" if total else what)

    def begin(self, step: int, steps: int) -> None:
        """Show a training that begins after a step, of so many."""
        self._bar.update(self._ready, visible=False)
        self._task = self._bar.add_task("training", total=steps, completed=step, note="")
        self._steps = steps
        self._pace = Pace(steps, self._clock)

    def stepped(self, step: int, note: str) -> None:
        """Show a step that was done.

        Args:
            step: its number, from 1.
            note: its figures, and the newest validation.
        """
        assert self._pace is not None
        first = self._pace.left(step) is None
        if measured := self._pace.after(step):
            self.say(measured)
        self._bar.update(self._task, completed=step)
        self.noted(note)
        if self._due(now=first):
            left = self._pace.left(step)
            self.say(f"step {step:,}/{self._steps:,}  {'' if left is None else f'about {left} left  '}{note}")

    def noted(self, note: str) -> None:
        """Show figures of the newest step, which a validation may have changed."""
        self._note = note
        self._bar.update(self._task, note=note)

    def validating(self, done: int, total: int) -> None:
        """Show how many validation clips have been looked at."""
        self._bar.update(self._task, note=f"validating, {done:,} of {total:,}" if done < total else self._note)
        if self._due():
            self.say(f"validating: {done:,} of {total:,}")

    def _due(self, *, now: bool = False) -> bool:
        """Return whether it is time for a line."""
        now_s = self._clock()
        if not self._lines or not (now or now_s - self._line_s >= LINE_S):
            return False
        self._line_s = now_s
        return True


class RunLog:
    """Rows of figures over the steps, stored, and sent to TensorBoard.

    Args:
        folder: for TensorBoard's files; None for a process that does not write.
        steps: of the entire training.
        rows: of an earlier start.

    Raises:
        OutputError: here and in every method, if TensorBoard's files cannot be written.
    """

    def __init__(self, folder: Path | None, steps: int, rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        self._every = max(1, steps // LOG_ROWS)
        self._seen: defaultdict[str, list[float]] = defaultdict(list)
        self._board: Any = None
        self._folder = folder
        if folder is not None:
            require("tensorboard", "train")
            from torch.utils.tensorboard import SummaryWriter

            done = rows[-1]["step"] if rows else 0
            with self._writing():
                self._board = SummaryWriter(str(folder), purge_step=done + 1 if done else None)

    def add(self, step: int, epoch: float, figures: dict[str, float]) -> None:
        """Add the figures of a step; at intervals their means become a row."""
        for name, value in figures.items():
            self._seen[name].append(value)
        if step % self._every == 0:
            self.row(step, epoch, {name: float(np.mean(values)) for name, values in self._seen.items()})
            self._seen.clear()

    def row(self, step: int, epoch: float, figures: dict[str, float]) -> None:
        """Add figures to the row of a step."""
        if not self.rows or self.rows[-1]["step"] != step:
            self.rows.append({"step": step, "epoch": round(epoch, 4)})
        self.rows[-1].update(figures)
        if self._board is not None:
            with self._writing():
                for name, value in figures.items():
                    self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what TensorBoard has not written yet."""
        if self._board is not None:
            with self._writing():
                self._board.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"cannot write {self._folder}: {error.strerror}. Make room, and the same command resumes the training"
            ) from error
