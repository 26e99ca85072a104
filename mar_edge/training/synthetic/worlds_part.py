"""The part of a recipe that says what a virtual camera looks at."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from mar_edge.errors import RecipeError
from mar_edge.files.yaml_part import Part, Share, refuse
from mar_edge.geometry import Geometry
from mar_edge.training.synthetic.worlds import (
    DRAWN_BYTES,
    PICTURE_BYTES,
    World,
    drawn_worlds,
    picture_files,
    picture_worlds,
    video_bytes,
    video_worlds,
    videos_below,
)


class WorldsPart(Part):
    """What is filmed.

    Attributes:
        pictures, videos: folders to film, in addition to drawn scenes.
        videos_held_out: names of files in `videos` that training must not use.
        weights: shares of drawn scenes, pictures and videos.
        drawn_per_chunk: drawn scenes in one chunk.
    """

    pictures: tuple[Path, ...] = ()
    videos: tuple[Path, ...] = ()
    videos_held_out: tuple[str, ...] = ()
    weights: tuple[Share, Share, Share] = (0.4, 0.35, 0.25)
    drawn_per_chunk: int = Field(default=250, gt=0, le=1_000_000)

    @model_validator(mode="after")
    def _fits_worlds(self) -> WorldsPart:
        if not sum(self.weights):
            refuse(("weights", "are all 0; give the shares of drawn scenes, pictures and videos"))
        return self

    def digest(self, geometry: Geometry, *, unused: set[str], **more: Any) -> str:
        """Return a hash of everything that determines the films.

        Args:
            geometry: of the clips.
            unused: keys that change nothing.
            more: what else decides.
        """
        kept = self.model_dump(mode="json", exclude=unused) | asdict(geometry) | more
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]

    def worlds(self, seed: int) -> tuple[list[list[World]], list[float]]:
        """Return the groups of worlds that are used, and their shares.

        Args:
            seed: of the drawn scenes.

        Raises:
            RecipeError: if a folder has no pictures or videos.
        """
        kept = (self.pictures, self.video_files()) if any(self.weights[1:]) else ((), ())
        groups = [drawn_worlds(self.drawn_per_chunk, seed), *_read(*kept)]
        used = [(group, weight) for group, weight in zip(groups, self.weights, strict=True) if group and weight]
        if not used:
            raise RecipeError(
                "data.weights give nothing to film; give a share to drawn scenes, or folders of pictures or videos"
            )
        return [group for group, _ in used], [weight for _, weight in used]

    def worlds_bytes(self) -> int:
        """Return the memory of the worlds in one process."""
        drawn, pictures, videos = self.weights
        total = self.drawn_per_chunk * DRAWN_BYTES if drawn else 0
        if pictures:
            total += sum(len(picture_files(folder)) for folder in self.pictures) * PICTURE_BYTES
        if videos:
            total += sum(video_bytes(path) for path in self.video_files())
        return total

    def video_files(self) -> tuple[Path, ...]:
        """Return the videos that are filmed, in order."""
        return tuple(
            path for folder in self.videos for path in videos_below(folder) if path.name not in self.videos_held_out
        )


@lru_cache(maxsize=1)  # pictures and videos are read once in each process
def _read(pictures: tuple[Path, ...], videos: tuple[Path, ...]) -> tuple[list[World], list[World]]:
    return list(picture_worlds(pictures)), list(video_worlds(videos))
