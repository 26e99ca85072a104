"""Selects the times of a clip's frames in a video: dense, or one per segment.

Times are seconds from a video's first frame, sorted, and stand for the frame shown then: the newest at or before.
`duration_s` is the end of the last frame, so n frames at a constant rate last n / rate. Randomness comes from the
caller's generator; every random function draws the same number of values for any duration, so that a changed video
does not change the values of the following ones.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mar_edge.runtime.clips.segments import segment_times, segment_views

EDGE_S = 1e-6
"""A time this close to the end counts as past it: durations are sums of rounded numbers."""

Times = NDArray[np.float64]
"""float64 (T,)."""


def dense_times(duration_s: float, frames: int, rate_fps: float, rng: np.random.Generator | None = None) -> Times:
    """Take neighbouring frames at a rate, as for Kinetics: 16 frames at 7.5 per second are "16 x 4" of a 30 fps video.

    Args:
        duration_s: length of the video.
        frames: T.
        rate_fps: frames per second to take.
        rng: draws the start, anywhere that the clip fits; None for the middle.

    Returns:
        float64 (T,); past the end of a shorter video, the last time before the end is repeated.

    Raises:
        ValueError: if the duration, frames or rate is not positive.
    """
    _check(duration_s, frames, rate_fps)
    place = 0.5 if rng is None else rng.random()
    start_s = place * max(0.0, duration_s - frames / rate_fps)
    return _within(start_s + np.arange(frames) / rate_fps, duration_s)


def dense_views(duration_s: float, frames: int, rate_fps: float, clips: int) -> list[Times]:
    """Take dense clips for multi-view evaluation, evenly spread from the start to the end.

    The same places as `runtime.Model.classify(views=)`: the video is sampled from its first frame on, and the clips
    start at samples spread evenly over those where a full clip fits, the first at the first frame. For a shorter
    video all clips are the same, with the last sampled frame repeated.

    Args:
        duration_s: length of the video.
        frames: T.
        rate_fps: frames per second to take.
        clips: how many.

    Raises:
        ValueError: if a number is not positive.
    """
    _check(duration_s, frames, rate_fps)
    _check_count("clips", clips)
    starts = np.linspace(0, max(0, sampled_frames(duration_s, rate_fps) - frames), clips).round()
    return [_within((start + np.arange(frames)) / rate_fps, duration_s) for start in starts]


def sampled_frames(duration_s: float, rate_fps: float) -> int:
    """Return how many frames are taken before a video ends, at a rate from its first frame on."""
    return max(1, math.ceil((duration_s - EDGE_S) * rate_fps))


def uniform_times(duration_s: float, frames: int, rng: np.random.Generator | None = None) -> Times:
    """Take one frame of each of T equal segments, as for Something-Something (TSN, Wang et al., arXiv:1608.00859).

    Args:
        duration_s: length of the video.
        frames: T.
        rng: draws the moment within each segment; None for its middle.

    Raises:
        ValueError: if the duration or frames is not positive.
    """
    _check(duration_s, frames)
    place = np.full(frames, 0.5) if rng is None else rng.random(frames)
    return _within(segment_times(duration_s, frames, place), duration_s)


def uniform_views(duration_s: float, frames: int, clips: int) -> list[Times]:
    """Take clips over the complete video for multi-view evaluation.

    Each of the T segments is divided into as many equal parts as there are clips, and clip c takes the frame at the
    start of its part. Two clips, as in the paper for Something-Something, are the starts and the middles of the
    segments. One clip takes the middles.

    Args:
        duration_s: length of the video.
        frames: T.
        clips: how many.

    Raises:
        ValueError: if a number is not positive.
    """
    _check(duration_s, frames)
    _check_count("clips", clips)
    return [segment_times(duration_s, frames, place) for place in segment_views(clips)]


def _within(times_s: Times, duration_s: float) -> Times:
    """Repeat the last time before the end, as the runtime repeats the last sampled frame of a short video."""
    inside = max(1, int(np.searchsorted(times_s, duration_s - EDGE_S)))
    return times_s[np.minimum(np.arange(len(times_s)), inside - 1)]


def _check(duration_s: float, frames: int, rate_fps: float = 1.0) -> None:
    for name, value in (("duration_s", duration_s), ("rate_fps", rate_fps)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} is {value}; it must be positive")
    _check_count("frames", frames)


def _check_count(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} is {value}; it must be at least 1")
