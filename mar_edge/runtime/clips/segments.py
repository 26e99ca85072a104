"""At which times the frames of a clip are taken from a video, for models trained on uniform segments.

The video is cut into as many segments of equal length as the clip has frames, and gives one frame of each (temporal
segment networks, Wang et al., ECCV 2016, arXiv 1608.00859; MAR and VideoMAE train on Something-Something this way).
Dense clips, whose frames lie a fixed time apart, are made by the sampler.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mar_edge.counting import counted
from mar_edge.errors import OptionError

Sampling = Literal["dense", "uniform"]
"""`dense` takes frames a fixed time apart; `uniform` spreads them over the entire video, one per segment."""


def segment_times(duration_s: float, frames: int, place: ArrayLike = 0.5) -> NDArray[np.float64]:
    """Return one time in each of `frames` equal segments of a video.

    Args:
        duration_s: length of the video in seconds, from the start of its first frame to the end of its last.
        frames: how many segments.
        place: where in its segment each time lies, 0 for its beginning, 0.5 for its middle, below 1; one number, or
            one for each segment.

    Returns:
        float64 (frames,), rising, in seconds from the first frame.
    """
    index = np.arange(frames, dtype=np.float64)
    return np.asarray((index + np.asarray(place)) * (duration_s / frames), np.float64)


def segment_views(clips: int) -> list[float]:
    """Return the places within the segments at which the clips of a multi-view evaluation are taken.

    One clip takes the middles of the segments. Several start at their beginnings and lie evenly apart: two take the
    beginnings and the middles, as VideoMAE and MAR test on Something-Something.

    Raises:
        OptionError: if `clips` is less than 1.
    """
    if clips < 1:
        raise OptionError(f"{counted(clips, 'clip')} per video cannot be taken; use 1 or more")
    return [0.5] if clips == 1 else [index / clips for index in range(clips)]
