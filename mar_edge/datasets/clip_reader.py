"""Gives frames of listed videos, resized, from the files themselves or from a cache of decoded ones."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mar_edge.counting import counted_of, form
from mar_edge.datasets.clip_cache import SUFFIX, CachedClip, ClipWriter, look_up, map_clip, prepare_folder
from mar_edge.datasets.video_list import Video, VideoList
from mar_edge.datasets.workers import over_all_cores
from mar_edge.errors import DataError, OutputError, SourceError
from mar_edge.reporting import Progress, no_progress
from mar_edge.runtime.clips.preprocess import Resize, preprocess
from mar_edge.runtime.video.folder_walk import why_missing
from mar_edge.runtime.video.probe import probe
from mar_edge.runtime.video.reader import read_shown_frames
from mar_edge.runtime.video.seek import newest_frames, read_frames_at

VERSION = 2
"""Version of the cache's content; another version is decoded again."""

MIN_FRAMES = 2
"""Fewer frames are a picture, not a video."""

MIN_SHARE = 0.5
"""A video with a smaller share of decodable frames is too damaged; one with more is used, with a warning."""

SHOWN = 20
"""Broken videos that one error names; `mar-edge data check` names all."""


@dataclass(frozen=True)
class Broken:
    """A video that cannot be used.

    Attributes:
        video: as listed.
        reason: what is wrong with it, with its path.
    """

    video: Video
    reason: str


@dataclass(frozen=True)
class Sizing:
    """How frames are resized before they are kept.

    Attributes:
        resize: `stretch` makes every frame `height_px` x `width_px`; `center_crop` leaves the cropping to later steps
            and scales the short side to `short_side_px`, keeping the aspect.
        height_px, width_px: the model's size.
        short_side_px: None for the video's own size.
    """

    resize: Resize
    height_px: int
    width_px: int
    short_side_px: int | None

    def size(self, height_px: int, width_px: int) -> tuple[int, int]:
        """Return (height, width) for a video of some size."""
        if self.resize == "stretch":
            return self.height_px, self.width_px
        if self.short_side_px is None:
            return height_px, width_px
        scale = self.short_side_px / min(height_px, width_px)
        return round(height_px * scale), round(width_px * scale)


class ClipReader:
    """Frames of listed videos at any times.

    It keeps no open files, so it may be pickled, forked, and shared by threads.

    Attributes:
        videos: those that can be read; indices are places in it.
        digest: hash of the list, the files' sizes and the resizing, which determine what `read` returns.
        warnings: problems of videos that are used nevertheless.
    """

    def __init__(self, videos: VideoList, sizing: Sizing, facts: Sequence[_Facts]) -> None:
        identity = [videos.digest, asdict(sizing), [fact.size_bytes for fact in facts]]
        self.videos = videos
        self.digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
        self.warnings = tuple(warning for fact in facts for warning in fact.warnings)
        self._facts = tuple(facts)

    def __len__(self) -> int:
        """Number of videos."""
        return len(self._facts)

    def duration_s(self, index: int) -> float:
        """Return the time from a video's first frame to the end of its last, in seconds."""
        return self._facts[index].duration_s

    def frames(self, index: int) -> int:
        """Return how many frames a video has; without a cache, as its header states."""
        return self._facts[index].frames

    def size(self, index: int) -> tuple[int, int]:
        """Return (height, width) of the frames that `read` returns."""
        return self._facts[index].height_px, self._facts[index].width_px

    def read(self, index: int, times_s: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Return what a video shows at some times: the newest frame at or before each, past the end the last one.

        Args:
            index: place in `videos`.
            times_s: float64 (T,) seconds from the first frame, sorted.

        Returns:
            uint8 (T, h, w, 3) RGB, owned by the caller.

        Raises:
            DataError: if the file, or its frames in the cache, were removed or damaged since the reader was opened.
        """
        facts = self._facts[index]
        if facts.cached is not None:
            mapped = map_clip(Path(facts.cached))
            if mapped is None:
                raise DataError(
                    f"{facts.cached} was removed or damaged since the start; start again to decode its video again"
                )
            frames, frame_times_s = mapped
            return frames[newest_frames(frame_times_s, times_s)]
        video = self.videos.videos[index]
        try:
            pictures = read_frames_at(video.path, times_s)
        except SourceError as error:
            raise DataError(self.videos.say(video, str(error))) from error
        clip = np.empty((len(pictures), facts.height_px, facts.width_px, 3), np.uint8)
        for place, picture in enumerate(pictures):
            again = place and picture is pictures[place - 1]
            clip[place] = clip[place - 1] if again else _resized(picture, facts.height_px, facts.width_px)
        return clip


def open_clips(
    videos: VideoList,
    *,
    resize: Resize,
    height_px: int,
    width_px: int,
    short_side_px: int | None,
    cache: Path | None,
    skip_broken: bool = False,
    progress: Progress = no_progress,
) -> tuple[ClipReader, list[Broken]]:
    """Prepare reading clips.

    Without a cache every file is opened and its first picture decoded. With one, every video that is not yet in it is
    decoded once. Both run on all cores. Work finished before a kill or a full disk is kept and not
    repeated; several processes may fill one cache at once, but then do the same work twice.

    Args:
        videos: the list.
        resize: the model's rule, see `Sizing`.
        height_px: the model's height.
        width_px: the model's width.
        short_side_px: short side of the frames, unless `resize` is `stretch`; None for that of the video.
        cache: folder of decoded videos; None decodes at every `read`.
        skip_broken: leave broken videos out instead of rejecting the list.
        progress: called with the videos that are decoded.

    Returns:
        The reader, and the videos that it leaves out.

    Raises:
        DataError: if a video is missing, empty, too short, too damaged or not a video, naming each; with `skip_broken`
            only if none is left, or none of a class.
        OutputError: if the cache cannot be written.
    """
    sizing = Sizing(resize, height_px, width_px, short_side_px)
    found = _prepare_all(videos, sizing, cache, progress)
    pairs = list(zip(videos.videos, found, strict=True))
    broken = [Broken(video, fact) for video, fact in pairs if isinstance(fact, str)]
    if broken and not (skip_broken and len(broken) < len(pairs)):
        raise DataError(
            f"{_complaint(videos, broken)}. Repair or remove them, or leave them out with data.skip_broken=true"
        )
    kept = videos.keep([video for video, fact in pairs if not isinstance(fact, str)])
    videos.check_kept(kept, [(one.video, one.reason) for one in broken])
    return ClipReader(kept, sizing, [fact for fact in found if not isinstance(fact, str)]), broken


def uncached(videos: VideoList, sizing: Sizing, cache: Path) -> list[Path]:
    """Return the videos of a list, each once, that are not yet in a cache."""
    jobs = dict.fromkeys(_job(video, sizing, cache) for video in videos.videos)
    return [job.path for job in jobs if isinstance(job, _Job) and _from_cache(job) is None]


class _Facts(NamedTuple):
    """What is known about a usable video: its length, the size of its frames, where they are cached."""

    frames: int
    duration_s: float
    height_px: int
    width_px: int
    size_bytes: int
    cached: str | None
    warnings: tuple[str, ...]


class _Job(NamedTuple):
    path: Path
    size_bytes: int
    sizing: Sizing
    cached: str | None


def _prepare_all(videos: VideoList, sizing: Sizing, cache: Path | None, progress: Progress) -> list[_Facts | str]:
    """Return the facts of every video, or its problem."""
    found: list[_Facts | str | None] = [None] * len(videos.videos)
    jobs: dict[_Job, list[int]] = {}  # a file may be listed twice
    if cache is not None:
        _make(cache)
    for index, video in enumerate(videos.videos):
        job = _job(video, sizing, cache)
        fact = job if isinstance(job, str) else _from_cache(job)
        if fact is None and not isinstance(job, str):
            jobs.setdefault(job, []).append(index)
        found[index] = fact
    done = len(found) - sum(map(len, jobs.values()))
    progress("decoding videos", done, len(found))
    listed = list(jobs)
    try:
        for place, fact in over_all_cores(_prepare, listed):
            for index in jobs[listed[place]]:
                found[index] = fact or f"{listed[place].path} crashes the decoder"
                done += 1
            progress("decoding videos", done, len(found))
    except OutputError as error:
        raise OutputError(f"{error}; {_room(found, cache)}") from error
    return [fact for fact in found if fact is not None]


def _job(video: Video, sizing: Sizing, cache: Path | None) -> _Job | str:
    """Return the job for a video, or why there is none."""
    try:
        stat = video.path.stat()
    except OSError as error:
        return why_missing(video.path) if error.errno == errno.ENOENT else f"{video.path}: {error.strerror}"
    if cache is None:
        return _Job(video.path, stat.st_size, sizing, None)
    identity = [os.path.abspath(video.path), stat.st_size, stat.st_mtime_ns, asdict(sizing), VERSION]
    key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]
    return _Job(video.path, stat.st_size, sizing, str(cache.absolute() / f"{key}{SUFFIX}"))


def _from_cache(job: _Job) -> _Facts | None:
    clip = None if job.cached is None else look_up(Path(job.cached))
    if clip is None:
        return None
    return _Facts(clip.frames, clip.duration_s, clip.height_px, clip.width_px, job.size_bytes, job.cached, ())


def _prepare(job: _Job) -> _Facts | str:
    """Probe a video, and decode it into the cache if there is one."""
    warnings: list[str] = []
    try:
        info = probe(job.path)
        height_px, width_px = job.sizing.size(info.height_px, info.width_px)
        frames, duration_s = info.frames, info.duration_s
        if job.cached is None:
            warnings += info.warnings
            reason = judge(job.path, frames, info.announced)
        else:
            with ClipWriter(Path(job.cached)) as writer:
                for frame in read_shown_frames(job.path, warnings.append, threads=1):
                    writer.add(_resized(frame.picture, height_px, width_px), frame.time_s)
                    duration_s = frame.time_s + frame.duration_s
                frames = writer.frames
                reason = judge(job.path, frames, info.announced)
                if reason is None:
                    writer.finish(duration_s)
    except SourceError as error:
        return str(error)
    if reason is not None:
        return reason
    if frames < info.announced and len(warnings) == len(info.warnings):
        warnings.append(f"{job.path.name}: only {frames} of the {info.announced} announced frames exist")
    return _Facts(frames, duration_s, height_px, width_px, job.size_bytes, job.cached, tuple(warnings))


def judge(path: Path, frames: int, announced: int, min_frames: int = MIN_FRAMES) -> str | None:
    """Return why a video with this number of readable frames cannot be used; None if it can."""
    if frames < MIN_SHARE * announced:
        return f"{path} is too damaged: {counted_of(frames, announced, 'frame')} can be read"
    if frames < min_frames:
        return f"{path} is too short: {frames} frame{'s' * (frames != 1)}, but {min_frames} are needed"
    return None


def _resized(picture: NDArray[np.uint8], height_px: int, width_px: int) -> NDArray[np.uint8]:
    return preprocess(picture, height_px=height_px, width_px=width_px, resize="stretch", color="rgb")


def _make(cache: Path) -> None:
    try:
        prepare_folder(cache)
    except OSError as error:
        raise OutputError(
            f"cannot create the cache {cache}: {error.strerror}. Set data.cache to a writable folder, or data.cache=null"
        ) from error


def _room(found: Sequence[_Facts | str | None], cache: Path | None) -> str:
    """Return what is needed to continue."""
    kept = [fact for fact in found if isinstance(fact, _Facts)]
    text = f"{counted_of(len(kept), len(found), 'video', 'is', 'are')} in the cache and {form(len(kept), 'stays', 'stay')} there"
    if kept:
        sizes = [CachedClip(f.frames, f.height_px, f.width_px, f.duration_s).size_bytes for f in kept]
        text += f", all of them need about {sum(sizes) / len(kept) * len(found) / 1e9:.3g} GB"
    return f"{text}. Make room in {cache}, set data.cache to another folder, or choose a smaller data.cache_px"


def _complaint(videos: VideoList, broken: Sequence[Broken]) -> str:
    told = "; ".join(videos.say(one.video, one.reason) for one in broken[:SHOWN])
    more = f"; and {len(broken) - SHOWN} more" if len(broken) > SHOWN else ""
    return f"{counted_of(len(broken), len(videos.videos), 'video')} of {videos.source} cannot be used: {told}{more}"
