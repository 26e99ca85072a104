"""The places that a training writes to, compared with those that it reads: it must not spoil its own data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mar_edge.errors import RecipeError
from mar_edge.files.ownership import check_not_input
from mar_edge.training.recipe import Recipe
from mar_edge.training.run_folder import BEST, LAST
from mar_edge.training.videos import VideosPart


def check_places(recipe: Recipe) -> None:
    """Check that a training writes neither into a folder of its videos nor over the weights that it starts from.

    Raises:
        RecipeError: if its run or its cache lies in such a folder: the next start would find the files there.
        OutputError: if its checkpoints would replace weights that the recipe names.
    """
    for key, place in (("trainer.out", recipe.trainer.out), ("data.cache", recipe.data.cache)):
        for name, folder in _folders(recipe):
            if place is not None and is_in(place, folder):
                where = "" if recipe.file is None else f"{recipe.file.place(tuple(key.split('.')))}: "
                raise RecipeError(
                    f"{where}{key}: {place} lies in the folder {folder} of {name}, where its files would be taken for data. "
                    f"Set {key} to a folder outside of it"
                )
    distil = recipe.objective.distil
    for name in (LAST, BEST):
        check_not_input(
            recipe.trainer.out / name,
            [recipe.start.weights, None if distil is None else distil.teacher],
            advice="Set trainer.out to another folder",
        )


def _folders(recipe: Recipe) -> Iterator[tuple[str, Path]]:
    data = recipe.data
    if isinstance(data, VideosPart):
        named = [("data.train", data.train), ("data.val", () if data.val is None else (data.val,))]
    else:
        named = [("data.pictures", data.pictures), ("data.videos", data.videos)]
    yield from ((name, folder) for name, folders in named for folder in folders if folder.is_dir())


def is_in(place: Path, folder: Path) -> bool:
    """Return whether a place is a folder or lies in it, through links, too."""
    there = os.path.realpath(folder)
    return os.path.commonpath([there, os.path.realpath(place)]) == there
