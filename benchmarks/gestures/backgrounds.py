"""Which films a model's training used as backgrounds, so that false events in them are counted apart."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from mar_edge.datasets.fingerprint import TRAINING_VIDEOS, Fingerprints
from mar_edge.model_spec import ModelSpec

Used = Callable[[Path], bool]
"""Whether training used a film."""


def used_in_training(
    spec: ModelSpec, folders: Sequence[Path] | None = None, held_out: Collection[str] | None = None
) -> tuple[Used | None, str]:
    """Find out which films training used.

    Args:
        spec: the model; its provenance holds its recipe, and fingerprints of its videos if it was trained on a list.
        folders: files, and folders of films that training used, as somebody says; None for those of the provenance.
        held_out: names of files in the folders that it left out; None for those of the recipe, if the folders are its own.

    Returns:
        Whether a film was used, None if that is not known; and a sentence on where that is from.
    """
    known = Fingerprints.from_text(spec.provenance.get(TRAINING_VIDEOS))
    if folders is None and len(known):
        return (lambda film: bool(known.count([film]))), "by the fingerprints in the bundle's provenance"
    data = _recipe_data(spec)
    if folders is None:
        if "videos" not in data:
            return None, "the bundle does not say which films its training used; name them with --background"
        named, source = [Path(folder) for folder in data["videos"]], "by the recipe in the bundle's provenance"
        left_out = set(data.get("videos_held_out", ())) | set(held_out or ())
    else:
        named, source, left_out = list(folders), "as given with --background and --held-out", set(held_out or ())
    ends = [_end(folder) for folder in named]

    def used(film: Path) -> bool:
        return film.name not in left_out and any(_contains(film.parts, end) for end in ends)

    listed = ", ".join("/".join(end) for end in ends) or "none"
    kept = f", without {len(left_out)} that were held out ({', '.join(sorted(left_out))})" if left_out else ""
    return used, f"{source}: {listed}{kept}"


def _recipe_data(spec: ModelSpec) -> dict[str, Any]:
    recipe = spec.provenance.get("recipe")
    data = recipe.get("data") if isinstance(recipe, dict) else None
    return data if isinstance(data, dict) else {}


def _end(folder: Path) -> tuple[str, ...]:
    """Return the last two names of a folder, as `clips/asl`: it may have lain elsewhere on the machine that trained."""
    return tuple(part for part in folder.parts if part not in ("..", ".", "/"))[-2:]


def _contains(parts: Sequence[str], end: tuple[str, ...]) -> bool:
    return any(tuple(parts[place : place + len(end)]) == end for place in range(len(parts) - len(end) + 1))
