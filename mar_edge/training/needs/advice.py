"""Proposes changes of a recipe that reduce its memory, the least harmful first."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mar_edge.geometry import CELL
from mar_edge.training.recipe import Recipe

MAKE_SMALLER = "Reduce the sizes of model: size_px, frames, width, depth, or the largest of them"
"""Advice if no proposed change fits."""


def changed_trainer(recipe: Recipe, **settings: int) -> Recipe:
    """Return a recipe with other values of its trainer."""
    return recipe.model_copy(update={"trainer": recipe.trainer.model_copy(update=settings)})


def halves(clips: int) -> Iterator[int]:
    """Yield a batch and its repeated halves, as far as it divides."""
    while True:
        yield clips
        smaller = next((clips // part for part in range(2, clips + 1) if clips % part == 0), None)
        if smaller is None:
            return
        clips = smaller


def smaller(recipe: Recipe, fits: Callable[[Recipe], bool]) -> Iterator[tuple[str, Recipe]]:
    """Yield changes that reduce the need, and the changed recipe; the least harmful first.

    Args:
        recipe: the recipe; its steps stay the same if possible.
        fits: returns whether splitting a batch is useful.
    """
    settings = recipe.trainer
    for workers in (1, 0):
        if settings.workers and workers < settings.workers:
            yield f"trainer.workers={workers}", changed_trainer(recipe, workers=workers)
    clips = settings.clips * settings.accumulate
    fewest = min(settings.workers or 0, 1)
    added = f" trainer.workers={fewest}" if fewest != settings.workers else ""
    parts = [
        (f"trainer.batch={batch} trainer.accumulate={clips // batch}{added}",
         changed_trainer(recipe, batch=batch, accumulate=clips // batch, workers=fewest))
        for batch in halves(settings.clips)
    ]  # fmt: skip
    changes, last = parts[-1]
    if fits(last):
        yield from ((f"{same}, the same steps", part) for same, part in parts[1:])
    whole_px = CELL * recipe.model.patch_px
    for share in (0.75, 0.5, 0.25):
        size_px = int(recipe.model.size_px * share) // whole_px * whole_px
        if size_px:
            model = recipe.model.model_copy(update={"size_px": size_px})
            yield f"model.size_px={size_px} {changes}", last.model_copy(update={"model": model})
