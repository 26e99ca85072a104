"""Clips of videos: no copies, no damage where that is refused, and labels only where they are known."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mar_edge.bundle import open_bundle
from mar_edge.errors import DataError, SourceError
from mar_edge.evaluation.labelled_clips import open_labelled_clips
from mar_edge.manifest import Manifest
from mar_edge.runtime.measurement.clip_set import ClipSet, open_clips
from tests.fakes.bundle import manifest
from tests.fakes.films import RATE_FPS, moving_square, write_film

GEOMETRY = {"frames": 8, "height_px": 32, "width_px": 32, "patch_px": 8}


def tiny(**changes: Any) -> Manifest:
    """A manifest of clips of 8 frames of 32 px, at the rate of the films."""
    values: dict[str, Any] = {"geometry": GEOMETRY, "labels": ["left", "right"], "idle_label": None}
    return Manifest.model_validate(manifest(**{**values, "rate_fps": float(RATE_FPS), **changes}))


def films(folder: Path, *lengths: int) -> Path:
    """Videos of so many frames."""
    for index, frames in enumerate(lengths):
        write_film(folder / f"{index}.mp4", moving_square("right", index, frames, size_px=128))
    return folder


def distinct(clips: ClipSet) -> int:
    """How many clips differ."""
    return len({clip.frames.tobytes() for clip in clips})


@pytest.mark.parametrize("name", ["edge/video_90.mov", "asl/milk.mkv", "asl/book.mkv"])
def test_no_clip_is_a_copy(name: str, real_clips: Path) -> None:
    clips = open_clips(open_bundle("egomotion").manifest, real_clips / name, count=64)
    assert len(clips) == distinct(clips) < 64
    assert len(clips) == {"video_90.mov": 1, "milk.mkv": 1, "book.mkv": 3}[clips.source]


@pytest.mark.parametrize(("frames", "windows"), [(1, 1), (8, 1), (11, 1), (12, 2), (15, 2), (16, 3), (40, 9)])
def test_neighbours_overlap_by_half_at_most(frames: int, windows: int, tmp_path: Path) -> None:
    clips = open_clips(tiny(), films(tmp_path, frames), count=64)
    assert len(clips) == windows
    frame_sets = [{frame.tobytes() for frame in clip.frames} for clip in clips]
    assert all(len(one & two) <= 4 for one, two in itertools.pairwise(frame_sets))


@pytest.mark.parametrize(("frames", "windows"), [(3, 1), (8, 1), (15, 1), (16, 2), (40, 5)])
def test_spread_windows_share_no_frame(frames: int, windows: int, tmp_path: Path) -> None:
    clips = open_clips(tiny(sampling="uniform"), films(tmp_path, frames), count=64)
    assert len(clips) == windows
    seen = Counter(picture for clip in clips for picture in {frame.tobytes() for frame in clip.frames})
    assert max(seen.values()) == 1


@pytest.mark.parametrize(
    ("count", "windows"), [(2, (1, 1)), (3, (1, 1, 1)), (4, (1, 2, 2)), (7, (1, 3, 3)), (8, (1, 3, 4)), (99, (1, 3, 9))]
)
def test_what_short_videos_lack_the_long_ones_give(count: int, windows: tuple[int, ...], tmp_path: Path) -> None:
    folder = films(tmp_path, 8, 16, 40)
    files = sorted(folder.iterdir())
    targets = [0, 1, 0]
    clips = open_clips(tiny(), count=count, files=files, targets=targets)
    assert clips.windows == windows
    labels = clips.labels()
    assert labels is not None and labels.tolist() == [clip.target for clip in clips]
    assert len(clips) == len(labels) == sum(windows)
    assert np.array_equal(clips.stacked().shape, (sum(windows), 8, 32, 32, 3))


def test_what_clips_are_is_told_in_words(tmp_path: Path) -> None:
    folder = films(tmp_path / "films", 8)
    assert open_clips(tiny(), folder, count=4).source == "1 video of films"
    assert open_clips(tiny(), folder / "0.mp4", count=4).source == "0.mp4"
    assert open_clips(tiny(), films(folder, 8, 8), count=4).source == "2 videos of films"
    demo = open_clips(tiny(), count=3)
    assert (demo.source, len(demo), distinct(demo)) == ("demo camera", 3, 3)
    with pytest.raises(SourceError, match=r"no such file or folder: .*nowhere"):
        open_labelled_clips(tiny(), tmp_path / "nowhere", count=1)


@pytest.mark.parametrize("sampling", ["dense", "uniform"])
def test_damage_is_refused_where_it_would_stay(sampling: str, real_clips: Path) -> None:
    file = real_clips / "edge" / "corrupted.mp4"
    warnings: list[str] = []
    clips = open_labelled_clips(tiny(sampling=sampling), file, count=2, warn=warnings.append)
    assert len(clips.stacked()) == 2
    assert [message for message in warnings if "damaged" in message] or sampling == "uniform"
    with pytest.raises(SourceError, match=r"corrupted\.mp4 cannot be used .*damaged.* leave it out or record it again"):
        open_labelled_clips(tiny(sampling=sampling), file, count=2, strict=True).stacked()


def test_a_name_is_no_damage(tmp_path: Path) -> None:
    files = films(tmp_path / "damaged", 20)
    file = (files / "0.mp4").rename(files / "damaged.mp4")
    warnings: list[str] = []
    slow = tiny(rate_fps=4.0 * RATE_FPS)  # frames are repeated, which is told with the file's name
    assert len(open_clips(slow, file, count=1, warn=warnings.append, strict=True).stacked()) == 1
    assert "damaged.mp4 has fewer" in warnings[0]


def test_folders_that_are_no_labels_are_told(tmp_path: Path) -> None:
    for name in ("foo", "bar"):
        films(tmp_path / "films" / name, 8)
    (tmp_path / "films" / "empty").mkdir()
    warnings: list[str] = []
    clips = open_labelled_clips(tiny(), tmp_path / "films", count=2, warn=warnings.append)
    assert clips.labels() is None
    (message,) = warnings
    assert "the folders bar, foo are not labels of" in message and "their clips count as unlabelled" in message
    films(tmp_path / "labelled" / "left", 8)
    films(tmp_path / "labelled" / "right", 8)
    warnings.clear()
    labels = open_labelled_clips(tiny(), tmp_path / "labelled", count=2, warn=warnings.append).labels()
    assert labels is not None and labels.tolist() == [0, 1]
    (tmp_path / "labelled" / "left" / ".away.mp4").write_bytes(b"")
    open_labelled_clips(tiny(), tmp_path / "labelled", count=2, warn=warnings.append)
    assert warnings == [f"{tmp_path / 'labelled'}: 1 left out: left/.away.mp4 (is hidden)"]
    warnings.clear()
    (tmp_path / "labelled" / "left").rename(tmp_path / "labelled" / "Left")
    (tmp_path / "labelled" / "right").rename(tmp_path / "labelled" / "RIGHT")
    with pytest.raises(DataError, match=r"'Left' .*did you mean 'left'\?.*'RIGHT' .*did you mean 'right'\?"):
        open_labelled_clips(tiny(), tmp_path / "labelled", count=2)
    films(tmp_path / "flat", 8, 8)
    assert open_labelled_clips(tiny(), tmp_path / "flat", count=2, warn=warnings.append).labels() is None
    assert not warnings
    (tmp_path / "flat" / "0.mp4").rename(tmp_path / "flat" / "zero")
    (tmp_path / "flat" / "notes").write_text("two squares")
    assert len(open_labelled_clips(tiny(), tmp_path / "flat" / "zero", count=1)) == 1  # a video, not a list
    assert open_labelled_clips(tiny(), tmp_path / "flat", count=2, warn=warnings.append).files[1].name == "zero"
    assert warnings[0].startswith(f"{tmp_path / 'flat'}: 1 left out: notes (")
    (tmp_path / "flat" / "zero").unlink()
    (tmp_path / "flat" / "1.mp4").unlink()
    with pytest.raises(SourceError, match=r"no video in .*flat \(.*1 left out: notes \("):
        open_labelled_clips(tiny(), tmp_path / "flat", count=2)
