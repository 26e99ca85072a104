"""Films of real pictures that carry a number in black and white blocks, which survives compression and a smaller size.

The number says which life of a server sent a picture, and which picture of its film it is.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.runtime.video.reader import read_frames

FRAMES = 450
FPS = 15

_COLUMNS, _ROWS = 4, 6
_FRAME_BITS = 16
_BLACK, _WHITE = 16, 235

_ENCODERS = {
    "h264": ["-c:v", "libx264", "-f", "h264"],
    "h265": ["-c:v", "libx265", "-x265-params", "log-level=none", "-f", "hevc"],
}


def number(picture: NDArray[np.uint8], life: int, frame: int) -> None:
    """Write a number into the left half of a picture, uint8 (H, W, 3), in place."""
    height, width = picture.shape[0], picture.shape[1] // 2
    for bit in range(_COLUMNS * _ROWS):
        row, column = divmod(bit, _COLUMNS)
        block = picture[
            row * height // _ROWS : (row + 1) * height // _ROWS,
            column * width // _COLUMNS : (column + 1) * width // _COLUMNS,
        ]
        block[:] = _WHITE if (life << _FRAME_BITS | frame) >> bit & 1 else _BLACK


def read_number(picture: NDArray[np.uint8]) -> tuple[int, int]:
    """Return (life, frame) of a picture, which may have been made smaller, down to 32 x 32."""
    height, width = picture.shape[0], picture.shape[1] // 2
    found = 0
    for bit in range(_COLUMNS * _ROWS):
        row, column = divmod(bit, _COLUMNS)
        middle = picture[(2 * row + 1) * height // (2 * _ROWS), (2 * column + 1) * width // (2 * _COLUMNS)]
        found |= int(int(middle.mean()) > (_BLACK + _WHITE) // 2) << bit
    return found >> _FRAME_BITS, found & (1 << _FRAME_BITS) - 1


def numbered_film(
    clip: Path,
    target: Path,
    *,
    life: int,
    codec: str = "h264",
    size_px: tuple[int, int] = (320, 240),
    frames: int = FRAMES,
    gop: int = FPS,
) -> Path:
    """Encode a real clip, over and over, with numbers, as `RtspServer(file=...)` serves it.

    Args:
        clip: the real one.
        target: the film, without a container.
        life: below 256.
        codec: `h264` or `h265`.
        size_px: (width, height).
        frames: in the film, below 65536; `FPS` a second.
        gop: frames from one key frame to the next.
    """
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "{}x{}".format(*size_px), "-r", str(FPS), "-i", "-"]
    encode = [*_ENCODERS[codec], "-preset", "ultrafast", "-bf", "0", "-g", str(gop), "-pix_fmt", "yuv420p"]
    line = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-y", *raw, *encode, str(target)]
    with subprocess.Popen(line, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for index, picture in zip(range(frames), _repeated(clip, size_px), strict=False):
            number(picture, life, index)
            process.stdin.write(picture.tobytes())
    if process.returncode:
        raise RuntimeError(f"ffmpeg failed on {target}")
    return target


def _repeated(clip: Path, size_px: tuple[int, int]) -> Iterator[NDArray[np.uint8]]:
    pictures = [cv2.resize(picture, size_px, interpolation=cv2.INTER_AREA) for picture, _ in read_frames(clip)]
    while True:
        for picture in pictures:
            yield np.asarray(picture, np.uint8).copy()
