"""Reads what a video file contains without decoding all of it, and whether a file is a video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mar_edge.errors import SourceError
from mar_edge.reporting import no_warning
from mar_edge.runtime.video.clock import MIN_RISE_S
from mar_edge.runtime.video.decoding import NoPictureError, decode
from mar_edge.runtime.video.opening import OpenVideo
from mar_edge.runtime.video.orientation import Display
from mar_edge.runtime.video.scan import scan


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a file contains.

    Attributes:
        duration_s: from the first frame to the end of the last, by the time stamps, not the header.
        frames: expected number of frames, by the samples; damage is found only in decoding.
        announced: frames that the header announces; more than `frames` if the file is truncated.
        fps: frames per second, on average.
        width_px, height_px: of the upright picture with square pixels.
        warnings: sentences on time stamps that are missing, implausible or were repaired.
    """

    duration_s: float
    frames: int
    announced: int
    fps: float
    width_px: int
    height_px: int
    warnings: tuple[str, ...] = ()

    @property
    def cut(self) -> bool:
        """Whether the file ends before the frames that its header announces."""
        return self.frames < self.announced


def why_not_video(path: Path) -> str | None:
    """Return in one sentence why a file is not a video; None if at least one picture can be decoded.

    Only the beginning of the file is read. Still images, text, playlists, and music with a cover are not videos; an
    animated GIF is one.
    """
    try:
        with OpenVideo(path, threads=1) as video:
            if next(decode(video, no_warning), None) is None:
                raise NoPictureError(video)
    except SourceError as error:
        return str(error)
    return None


def probe(path: Path) -> VideoInfo:
    """Return what a file contains, from its first frame and its index, or from its packets if the two disagree.

    Raises:
        SourceError: if the file is missing, is not a video, or its first pictures cannot be decoded.
    """
    with OpenVideo(path, threads=1) as video:
        frame = next(decode(video, no_warning), None)
        if frame is None:
            raise NoPictureError(video)
        width_px, height_px = Display(video.stream).size(frame)
        warnings = video.timing.notices(path.name)
        index = _index_of(video)
    if index is not None and index.sound:
        frames, duration_s = index.frames, index.duration_s
    else:
        found = scan(path)
        frames, duration_s = found.frames, found.duration_s
        warnings += [found.notice] if found.notice else []
    return VideoInfo(
        duration_s=duration_s,
        frames=frames,
        announced=index.frames if index else frames,
        fps=frames / duration_s,
        width_px=width_px,
        height_px=height_px,
        warnings=tuple(warnings),
    )


class Index(NamedTuple):
    """What the index of an MP4 or MOV states.

    Attributes:
        frames: listed frames that no edit list removes.
        duration_s: of the header.
        sound: whether all of them are in the file, their times rise, and the header agrees with them.
    """

    frames: int
    duration_s: float
    sound: bool


def _index_of(video: OpenVideo) -> Index | None:
    """Return the index of an MP4 or MOV; None for other formats, and if the index is fragmented."""
    stream = video.stream
    entries = getattr(stream, "index_entries", ())  # one for every frame
    if not video.container.format.name.startswith("mov") or not stream.frames or len(entries) != stream.frames:
        return None
    stamps = [entry.timestamp for entry in entries if not entry.is_discard]
    if not stamps or stream.time_base is None:
        return None
    end = max(entry.pos + entry.size for entry in entries)
    step_s = video.timing.step_s
    duration_s = float((stream.duration or 0) * stream.time_base)
    span_s = float((stamps[-1] - stamps[0]) * stream.time_base) + step_s
    agrees = abs(duration_s - span_s) <= max(2 * step_s, 0.001 * span_s)
    rises = bool((np.diff(stamps) * float(stream.time_base) > MIN_RISE_S).all())
    return Index(len(stamps), duration_s, end <= video.container.size and agrees and rises and video.timing.sound)
