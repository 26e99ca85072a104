"""200 damaged videos: each is read, or refused with an error of mar-edge, and what is wrong with it is told."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.fakes.damage import KINDS
from tests.fakes.ffmpeg import ffmpeg

FILES = 200


@pytest.fixture(scope="module")
def small(real_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A second of real clips in several formats, small; and two real files as they are."""
    folder = tmp_path_factory.mktemp("small")
    fall, milk = real_clips / "daily" / "s1_fall_13.mp4", real_clips / "asl" / "milk.mkv"
    shrink = ("-t", 1, "-an", "-vf", "scale=160:120")
    ffmpeg("-i", fall, *shrink, "-c:v", "libx264", folder / "fall.mp4")
    ffmpeg("-i", fall, *shrink, "-c:v", "libx264", "-bf", 0, folder / "fall.ts")
    ffmpeg("-i", milk, *shrink, "-c:v", "libx265", "-x265-params", "log-level=error", folder / "milk.mkv")
    ffmpeg("-i", milk, *shrink, "-c:v", "mpeg4", folder / "milk.avi")
    ffmpeg("-i", milk, *shrink, "-c:v", "libvpx", folder / "milk.webm")
    ffmpeg("-i", milk, *shrink, "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", folder / "milk.mov")
    ffmpeg("-i", fall, *shrink, "-c:v", "libx264", "-movflags", "frag_keyframe+empty_moov", folder / "fragments.mp4")
    return [*sorted(folder.iterdir()), real_clips / "edge" / "video_90.mov"]


def test_damaged_files_are_read_or_refused_and_told(small: list[Path], tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "tests.fakes.damage", str(FILES), str(tmp_path), *map(str, small)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    first, *lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (lines[-1:], done.stderr[-2000:])
    assert done.stderr == ""
    assert len(lines) == FILES
    assert all(first["whole"].values())
    told: Counter[str] = Counter()
    for line in lines:
        assert line["seconds"] < 10, line
        assert line["frames"] or line["error"], line
        if line["error"]:
            assert line["code"] in ("unreadable", "codec"), line
        is_told = bool(line["error"] or line["warnings"])
        told[line["kind"]] += is_told
        # nothing in a transport stream tells where it should end; a decoder may leave out a picture without an error
        lost = first["whole"][line["file"]] - line["frames"]
        assert is_told or line["file"].endswith(".ts") or lost <= (2 if line["kind"] == "bit flips" else 0), line
    # where nothing is missing nobody can know: a flipped bit may only give another picture, or lie in unused bytes
    assert all(told[kind] > FILES / len(KINDS) / 2 for kind in KINDS), told
