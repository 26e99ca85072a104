"""Reads single frames of a video file, without decoding all of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from mar_edge.reporting import no_warning
from mar_edge.runtime.video.clock import Clock, Timed
from mar_edge.runtime.video.decoding import NoPictureError, decode, timed
from mar_edge.runtime.video.opening import OpenVideo
from mar_edge.runtime.video.orientation import Display
from mar_edge.runtime.video.scan import scan

SLACK_S = 0.0015
"""A frame that is late by less than this counts as on time: containers round time stamps to a millisecond."""

JUMP_S = 1.0
"""A frame further ahead than this is reached by seeking; a nearer one by decoding."""

_Timed = Timed[VideoFrame]


def read_frames_at(path: Path, times_s: Sequence[float] | NDArray[np.float64]) -> list[NDArray[np.uint8]]:
    """Read what a video shows at some moments: the newest frame at or before each, or the first frame.

    Seeks to the key frame before a moment and decodes from there. The frames are those of `read_frames`, even
    if the file is damaged; past the end it is the last one.

    Args:
        path: a video file.
        times_s: seconds from the first frame, sorted.

    Returns:
        uint8 (H, W, 3) RGB for each time, upright; a frame that is shown at several moments is one array, listed again.

    Raises:
        SourceError: if the file is missing, is not a video, or has no frame that can be decoded.
        ValueError: if the times are not sorted or not finite.
    """
    moments = np.asarray(times_s, dtype=np.float64)
    if not np.isfinite(moments).all() or (np.diff(moments) < 0).any():
        raise ValueError(f"times must be finite and sorted, not {moments.tolist()}")
    with closing(_Film(path)) as film:
        return [film.picture_at(float(moment)) for moment in moments]


def newest_frames(frame_times_s: NDArray[np.float64], times_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return which frames `read_frames_at` takes, given the times of all.

    Args:
        frame_times_s: float64 (N,), sorted.
        times_s: float64 (T,).

    Returns:
        int64 (T,) indices of frames.
    """
    after = np.searchsorted(frame_times_s, times_s + SLACK_S, side="right")
    return np.maximum(after - 1, 0)


class _Film:
    """A file with two neighbouring decoded frames: the one that is shown, and the next."""

    _frames: Iterator[_Timed]
    _clock: Clock
    _shown: _Timed
    _next: _Timed | None

    def __init__(self, path: Path) -> None:
        self._path = path
        self._video = OpenVideo(path, threads=1)  # single frames are usually read in many processes
        try:
            self._picture: NDArray[np.uint8] | None = None
            self._first_stamp_s = 0.0
            self._sought: bool | None = None
            self._rewind()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._video.close()

    def picture_at(self, time_s: float) -> NDArray[np.uint8]:
        """Return what is shown; times must rise."""
        if self._next is not None and time_s - self._next.time_s > JUMP_S and self._may_jump():
            self._jump(time_s)
        while self._next is not None and self._next.time_s <= time_s + SLACK_S:
            self._show(self._next)
            self._next = next(self._frames, None)
        if self._picture is None:
            self._picture = self._display.picture(self._shown.item)
        return self._picture

    def _show(self, frame: _Timed) -> None:
        self._shown = frame
        self._picture = None

    def _may_jump(self) -> bool:
        """Whether every time stamp is valid, so that a picture has the same time wherever reading begins."""
        if self._sought is None:
            timing = self._video.timing
            sound = timing.clocked and not timing.too_fast and not self._clock.repaired
            kind = self._video.container.format.name
            # in an MP4 decoding times rise by design, and errors beyond the beginning show after a seek
            self._sought = sound and (
                kind.startswith("mov") or (kind.startswith("matroska") and scan(self._path).sound)
            )
        return self._sought

    def _rewind(self) -> None:
        """Start with the first frame."""
        self._display = Display(self._video.stream)
        self._clock = Clock(self._video.timing.step_s)
        self._frames = timed(self._video, self._stamped(decode(self._video, no_warning)), self._clock)
        first = next(self._frames, None)
        if first is None:
            raise NoPictureError(self._video)
        self._first_stamp_s = self._video.timing.stamp_s(first.item) or 0.0
        self._show(first)
        self._next = next(self._frames, None)

    def _jump(self, time_s: float) -> None:
        """Continue from the key frame before a moment."""
        before_s = self._shown.time_s
        back_s = 0.0
        while time_s - back_s > before_s:
            frames = self._from_key_frame(time_s - back_s)
            key = next(frames, None)
            if key is not None and key.time_s <= time_s + SLACK_S:
                following = next(frames, None)
                if self._clock.repaired:
                    break
                # a file without key frames in between would be decoded repeatedly
                self._sought = key.time_s > before_s
                self._frames = frames
                self._show(key)
                self._next = following
                return
            back_s = max(JUMP_S, 2 * back_s)
        self._sought = False
        self._video.close()
        self._video = OpenVideo(self._path, threads=1)
        self._rewind()

    def _from_key_frame(self, time_s: float) -> Iterator[_Timed]:
        with suppress(av.error.FFmpegError, OverflowError):
            self._video.seek(time_s + self._first_stamp_s)
            self._clock = Clock(self._video.timing.step_s, first_s=self._first_stamp_s)
            # pictures that are output before the key frame depend on others that were not read
            frames = itertools.dropwhile(lambda frame: not frame.key_frame, decode(self._video, no_warning))
            return timed(self._video, self._stamped(frames), self._clock)
        return iter(())

    def _stamped(self, frames: Iterator[VideoFrame]) -> Iterator[tuple[VideoFrame, float | None]]:
        return ((frame, self._video.timing.stamp_s(frame)) for frame in frames)
