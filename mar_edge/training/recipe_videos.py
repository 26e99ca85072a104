"""The videos that a recipe names, for checking them before training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mar_edge.datasets.video_list import VideoList
from mar_edge.errors import RecipeError
from mar_edge.reporting import Progress, no_progress
from mar_edge.training.recipe import COMMANDS, Task, load
from mar_edge.training.recipe_file import read_recipe
from mar_edge.training.videos import VideosPart, read_split


@dataclass(frozen=True)
class RecipeVideos:
    """What a recipe says of its videos.

    Attributes:
        data: its part on them.
        labelled: whether it trains with labels.
        frames: of a training clip.
    """

    data: VideosPart
    labelled: bool
    frames: int

    @property
    def rate_fps(self) -> float | None:
        """Sampling rate in frames per second; None for `uniform` sampling, which takes clips of any length."""
        return self.data.rate_fps if self.data.sampling == "dense" else None

    def lists(self, progress: Progress = no_progress) -> list[tuple[str, VideoList]]:
        """Read the lists; return each with a name.

        Args:
            progress: called while the files of a folder are opened.

        Raises:
            DataError: see `read_split`.
        """
        train, val = read_split(self.data, labelled=self.labelled, progress=progress)
        named = [(str(train.source), train)]
        if val is not None:
            named.append((f"{val.source}, held out" if self.data.hold_out else str(val.source), val))
        return named


def read_recipe_videos(path: Path) -> RecipeVideos:
    """Read what a recipe of `train` or `pretrain` says of its videos.

    Raises:
        RecipeError: if it is not a valid recipe, or draws its clips itself.
    """
    task: Task = "pretrain" if read_recipe(path).values.get("task") == "pretrain" else "classify"
    recipe = load(path, task=task)
    if not isinstance(recipe.data, VideosPart):
        raise RecipeError(
            f"{path}: data.kind '{recipe.data.kind}' draws its clips itself, so there are no lists to check. "
            f"Run: mar-edge {COMMANDS[task]} {path}"
        )
    return RecipeVideos(recipe.data, labelled=task == "classify", frames=recipe.clip.frames)
