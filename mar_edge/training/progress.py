"""Reports the progress of a training: a bar, lines in a file, TensorBoard."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

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


def training_bar(console: Console, *, quiet: bool) -> AbstractContextManager[Progress]:
    """Return a progress bar with a note and the time left; nothing if stderr is not a terminal."""
    return console.bar(
        Field(),
        BarColumn(),
        MofNCompleteColumn(),
        Field("note"),
        TimeRemainingColumn(),
        disable=quiet or not console.is_terminal,
    )


class Pace:
    """Measures the first steps, and reports how long the rest will take.

    Args:
        steps: of the entire training.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._began: tuple[int, float] | None = None
        self._told = False

    def after(self, step: int) -> str | None:
        """Return a sentence once some steps after the first have been measured.

        Args:
            step: steps done so far.
        """
        now_s = time.monotonic()
        if self._began is None:  # the first step also warms up
            self._began = step, now_s
        done = step - self._began[0]
        if self._told or done < MEASURED_STEPS or step >= self._steps:
            return None
        self._told = True
        step_s = (now_s - self._began[1]) / done
        left = timedelta(seconds=round(step_s * (self._steps - step)))
        return f"measured: {seconds(step_s)} per step, about {left} left"


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
