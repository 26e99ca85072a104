"""What the virtual camera looks at: drawn scenes, pictures and videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import RecipeError, SourceError
from mar_edge.runtime.sources.demo.scene import draw_scene
from mar_edge.runtime.video.listing import list_videos
from mar_edge.runtime.video.probe import probe
from mar_edge.runtime.video.reader import read_frames

Picture = NDArray[np.uint8]

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
LONG_SIDE_PX = 1024
VIDEO_WIDTH_PX = 640

DRAWN_BYTES = 512 * 512 * 4
"""Memory of a drawn scene with its smaller levels."""

PICTURE_BYTES = LONG_SIDE_PX * LONG_SIDE_PX * 4
"""Maximum memory of a picture with its smaller levels."""


@dataclass(frozen=True)
class World:
    """A plane to film: one picture, or a video that plays while the camera moves.

    Attributes:
        levels: pictures (frames, H, W, 3) uint8, each level half the size of the one before.
        time_s: time stamp of every frame; one zero for a picture.
        name: file or kind, for error messages and reports.
    """

    levels: list[NDArray[np.uint8]]
    time_s: NDArray[np.float64]
    name: str

    @classmethod
    def of(cls, frames: Picture, time_s: Sequence[float], name: str) -> World:
        """Build the levels of frames (N, H, W, 3)."""
        levels = [frames]
        while min(levels[-1].shape[1:3]) >= 64:
            height, width = levels[-1].shape[1:3]
            half = (width // 2, height // 2)
            levels.append(np.stack([cv2.resize(frame, half, interpolation=cv2.INTER_AREA) for frame in levels[-1]]))
        return cls(levels, np.asarray(time_s, dtype=np.float64), name)

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) of the full picture."""
        return self.levels[0].shape[2], self.levels[0].shape[1]

    def at(self, time_s: float, level: int) -> Picture:
        """Return the picture (H, W, 3) at a time; a video plays forwards and backwards in a loop."""
        if len(self.time_s) == 1:
            return np.asarray(self.levels[level][0])
        span_s = float(self.time_s[-1] - self.time_s[0])
        place_s = abs((time_s + span_s) % (2 * span_s) - span_s)
        nearest = int(np.argmin(np.abs(self.time_s - self.time_s[0] - place_s)))
        return np.asarray(self.levels[level][nearest])


def drawn_worlds(count: int, seed: int) -> list[World]:
    """Draw `count` procedural scenes."""
    rng = np.random.default_rng(seed)
    return [World.of(draw_scene(rng)[None], [0.0], "drawn") for _ in range(count)]


def picture_worlds(folders: Sequence[Path]) -> list[World]:
    """Read all pictures below the folders; of several sizes of one picture in a folder, the largest.

    Raises:
        RecipeError: if a folder has no picture.
    """
    worlds = []
    for folder in folders:
        for path in picture_files(folder):
            picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if picture is None or min(picture.shape[:2]) < 200:
                continue
            scale = LONG_SIDE_PX / max(picture.shape[:2])
            small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            worlds.append(World.of(np.asarray(small[..., ::-1], dtype=np.uint8)[None], [0.0], str(path)))
    return worlds


def picture_files(folder: Path) -> list[Path]:
    """Return the pictures below a folder; of several sizes of one picture, the largest.

    Raises:
        RecipeError: if there is none.
    """
    files = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()]
    if not files:
        raise RecipeError(
            f"no pictures in {folder}; the comment at the top of the recipe names the Debian packages that contain them"
        )
    return _one_of_each_size(files)


def video_bytes(path: Path) -> int:
    """Return the memory that a video takes with its smaller levels, by its header."""
    try:
        info = probe(path)
    except SourceError:  # filming reports it
        return 0
    scale = min(1.0, VIDEO_WIDTH_PX / info.width_px)
    return round(info.frames * info.width_px * info.height_px * scale**2 * 4)


def video_worlds(files: Sequence[Path]) -> list[World]:
    """Read short videos completely, at most 640 px wide."""
    worlds = []
    for path in files:
        frames, times = [], []
        for frame, time_s in read_frames(path):
            scale = min(1.0, VIDEO_WIDTH_PX / frame.shape[1])
            frames.append(cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
            times.append(time_s)
        if len(frames) >= 2:
            worlds.append(World.of(np.stack(frames).astype(np.uint8), times, str(path)))
    return worlds


def videos_below(folder: Path) -> tuple[Path, ...]:
    """Return the video files below a folder, sorted.

    Raises:
        RecipeError: if there is none.
    """
    found = list_videos(folder)
    if not found.videos:
        raise RecipeError(f"no videos in {found.remark() or folder}")
    return found.videos


def _one_of_each_size(files: list[Path]) -> list[Path]:
    """Keep the largest file of a folder of wallpapers that are named by size (1920x1080.jpg)."""
    kept: dict[Path, Path] = {}
    out = []
    for path in files:
        if not path.stem.replace("x", "").replace("_", "").isdigit():
            if path.stem != "screenshot":
                out.append(path)
        elif path.parent not in kept or path.stat().st_size > kept[path.parent].stat().st_size:
            kept[path.parent] = path
    return out + list(kept.values())
