"""The ffmpeg program: makes awkward files, and says what a player would show."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

PAN = "testsrc2=size=96x64:rate=30"
"""Every frame of it differs from every other."""


def ffmpeg(*arguments: object) -> bytes:
    """Run it; return what it writes to stdout."""
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("the ffmpeg program is not installed")
    line = [program, "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)]
    return subprocess.run(line, check=True, capture_output=True).stdout


def pan(path: Path, *options: object, seconds: float = 3) -> Path:
    """Write `seconds` of a moving test picture with options of ffmpeg's output."""
    ffmpeg("-f", "lavfi", "-i", f"{PAN}:duration={seconds}", *options, path)
    return path


def shown_by_ffmpeg(path: Path, width: int, height: int) -> NDArray[np.uint8]:
    """Decode a file as ffmpeg shows it, every frame once: uint8 (N, H, W, 3) RGB."""
    raw = ffmpeg("-i", path, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)
