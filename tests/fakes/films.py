"""Small real video files of moving squares, written by PyAV."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

RATE_FPS = 10


def moving_square(direction: str, seed: int, frames: int = 12, size_px: int = 48) -> NDArray[np.uint8]:
    """A bright square over a random ground that moves left or right, uint8 (T, H, W, 3)."""
    rng = np.random.default_rng(seed)
    film = np.repeat(rng.integers(20, 90, (1, size_px, size_px, 3)), frames, axis=0).astype(np.uint8)
    top, start = int(rng.integers(4, size_px - 20)), int(rng.integers(0, 8))
    for index in range(frames):
        left = start + 2 * index
        left = left if direction == "right" else size_px - 16 - left
        film[index, top : top + 12, max(0, left) : left + 12] = 230
    return film


def write_film(path: Path, film: NDArray[np.uint8], rate_fps: int = RATE_FPS) -> Path:
    """Write uint8 frames (T, H, W, 3) RGB as a video file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate_fps)
        stream.height, stream.width = film.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 4_000_000
        for frame in film:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_films(folder: Path, videos_a_class: int, first_seed: int = 0) -> Path:
    """Write a CSV list of films of squares going left and right; return its path."""
    rows = ["path,label"]
    for direction in ("left", "right"):
        for index in range(videos_a_class):
            name = f"{direction}_{index}.mp4"
            write_film(folder / name, moving_square(direction, first_seed + index))
            rows.append(f"{name},{direction}")
    listing = folder / "list.csv"
    listing.write_text("\n".join(rows) + "\n")
    return listing
