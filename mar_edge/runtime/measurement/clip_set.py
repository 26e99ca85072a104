"""Clips of videos, made by the runtime: graphs are calibrated, compared and timed on them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import SourceError
from mar_edge.model_spec import ModelSpec
from mar_edge.reporting import Progress, Warn, no_progress, no_warning
from mar_edge.runtime.clips.sampler import EARLY
from mar_edge.runtime.clips.whole_clip import WholeClip
from mar_edge.runtime.clips.windows import Window
from mar_edge.runtime.sources.demo.demo import DemoSource
from mar_edge.runtime.sources.source import Reading
from mar_edge.runtime.video.listing import list_videos
from mar_edge.runtime.video.probe import probe
from mar_edge.runtime.video.reader import read_frames, tells_damage

MOST_STEPS = 128
"""Most time steps of a whole video; a longer one is cut off there."""


class Clip(NamedTuple):
    """One window of a video, or a whole video, see `ClipSet.whole`.

    Attributes:
        frames: uint8 (T, H, W, 3) RGB.
        source: its origin, for messages.
        target: its video's class; None without labels.
    """

    frames: NDArray[np.uint8]
    source: str
    target: int | None


@dataclass(frozen=True)
class ClipSet:
    """Windows spread evenly over every one of some videos, or over seeds of the demo camera.

    Iterating decodes one video after another, in order; nothing is kept.

    Attributes:
        spec: of the model whose geometry, rate and resize rule make the clips.
        files: the videos; empty for the demo camera.
        windows: of each video; one number, that of the seeds, for the demo camera.
        source: what they are, for messages, such as `8 videos of daily`.
        targets: class of each video; None without labels.
        warn: called with one sentence for each thing to know about a video.
        strict: whether a damaged video is rejected.
    """

    spec: ModelSpec
    files: tuple[Path, ...]
    windows: tuple[int, ...]
    source: str
    targets: tuple[int, ...] | None = None
    warn: Warn = no_warning
    strict: bool = False

    def __len__(self) -> int:
        return sum(self.windows)

    @property
    def whole(self) -> bool:
        """Whether each clip is a whole video, as `classify` runs through it, instead of a window.

        So it is with the labels of a streaming model of brief actions: the action may be in any part of the video. Their clips
        differ in length.
        """
        return self.targets is not None and self.spec.streaming and self.spec.clip_answer == "peak"

    def __iter__(self) -> Iterator[Clip]:
        """Give the clips.

        Raises:
            SourceError: if a video cannot be read, or is damaged and `strict` is set; the message names it.
        """
        if not self.files:
            for seed in range(len(self)):
                yield Clip(_demo_clip(self.spec, seed), f"demo camera, seed {seed}", None)
            return
        for index, (file, windows) in enumerate(zip(self.files, self.windows, strict=True)):
            target = self.targets[index] if self.targets is not None else None
            for frames in self._record(file, windows):
                yield Clip(frames, str(file), target)

    def stacked(self) -> NDArray[np.uint8]:
        """Return all clips at once, uint8 (N, T, H, W, 3); only where they are windows."""
        return np.stack([clip.frames for clip in self])

    def labels(self) -> NDArray[np.int64] | None:
        """Return the class of every clip (N,); None without labels."""
        return None if self.targets is None else np.repeat(np.asarray(self.targets, np.int64), self.windows)

    def _record(self, file: Path, windows: int) -> list[NDArray[np.uint8]]:
        """Return what a graph is shown of the file."""
        whole = WholeClip(file, self.spec, (windows, 1))
        if self.whole:
            clips = [np.concatenate([step.frames[0] for step in whole.time_steps()][:MOST_STEPS])]
        else:
            clips = [view.frames for view in whole]
        if self.strict:
            if self.spec.sampling == "uniform":  # which seeks, and reads only the frames that it takes
                for _ in read_frames(file, whole.warnings.append):
                    pass
            if damage := next((message for message in whole.warnings if tells_damage(message, file)), None):
                raise SourceError(f"{file} cannot be used ({damage}); leave it out or record it again")
        for message in whole.warnings:
            self.warn(message)
        return clips


def open_clips(
    spec: ModelSpec,
    data: Path | None = None,
    *,
    count: int,
    files: Sequence[Path] = (),
    targets: Sequence[int] | None = None,
    warn: Warn = no_warning,
    strict: bool = False,
    progress: Progress = no_progress,
) -> ClipSet:
    """Choose clips.

    Args:
        spec: of the model that they are for.
        data: a video or a folder of videos; None for the demo camera, unless `files` are given.
        count: clips wanted. Videos are taken evenly from the folder, or more than one window of each; so it may be
            a few more. It is fewer where the videos are too short for so many windows that are not copies of others.
        files: the videos themselves, as from a list.
        targets: class of each of `files`.
        warn: see `ClipSet`.
        strict: see `ClipSet`.
        progress: see `list_videos`.

    Raises:
        SourceError: if there is no video, or one cannot be read.
    """
    if not files and data is None:
        return ClipSet(spec, (), (count,), "demo camera", warn=warn)
    if not files:
        assert data is not None
        files = find_videos(data, warn=warn, progress=progress)
    chosen = np.unique(np.linspace(0, len(files) - 1, min(count, len(files))).round().astype(int))
    taken = tuple(files[index] for index in chosen)
    labels = None if targets is None else tuple(targets[index] for index in chosen)
    found = ClipSet(spec, taken, (1,) * len(taken), _describe(data, len(taken)), labels, warn, strict)
    if found.whole:
        return found
    return replace(found, windows=_share_out(count, [_most_windows(spec, file) for file in taken]))


def find_videos(data: Path, *, warn: Warn = no_warning, progress: Progress = no_progress) -> tuple[Path, ...]:
    """Return the video that a path names, or those of a folder.

    Args:
        data: a video or a folder of videos.
        warn: called with what a folder has that is not read.
        progress: see `list_videos`.

    Raises:
        SourceError: if there is none.
    """
    if not data.exists():
        raise SourceError(f"no such file or folder: {data}")
    if not data.is_dir():
        return (data,)  # opening it reports what else it may be
    listing = list_videos(data, progress=progress)
    remark = listing.remark()
    if not listing.videos:
        seen = f" ({remark})" if remark else ""
        raise SourceError(f"no video in {data}{seen}; give a video file, or a folder with videos")
    if remark is not None:
        warn(remark)
    return listing.videos


def _most_windows(spec: ModelSpec, file: Path) -> int:
    """Return how many windows of a video differ enough to count as separate clips.

    Neighbouring dense windows overlap by half at most; each spread window has frames that no other has.

    Raises:
        SourceError: if the file cannot be read.
    """
    info = probe(file)
    length = spec.geometry.frames
    last_s = info.duration_s - 1 / info.fps
    sampled = math.floor(max(0.0, last_s) * spec.rate_fps + EARLY) + 1  # as the sampler counts
    if spec.sampling == "uniform":
        return max(1, min(sampled, info.frames) // length)
    return 1 + max(0, sampled - length) // max(1, length // 2)


def _share_out(count: int, most: list[int]) -> tuple[int, ...]:
    """Return windows of each video, as even as possible: `count` in total or a few more; all if there are fewer."""
    level = 1
    while level < max(most) and sum(min(level, one) for one in most) < count:
        level += 1
    return tuple(min(level, one) for one in most)


def _describe(data: Path | None, videos: int) -> str:
    """Describe videos for messages."""
    if data and data.is_file():
        return data.name
    return f"{videos} video{'s' if videos > 1 else ''}" + (f" of {data.name}" if data else "")


def _demo_clip(spec: ModelSpec, seed: int) -> NDArray[np.uint8]:
    """Return the first window of the demo camera."""
    window = Window(spec)
    with Reading(DemoSource(realtime=False, fps=max(30.0, spec.rate_fps), loops=None, seed=seed)) as frames:
        while True:
            if window.add(next(frames)).full:
                return window.clip.copy()
