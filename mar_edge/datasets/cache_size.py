"""How large a cache of decoded videos will be, before any is decoded."""

from __future__ import annotations

from pathlib import Path

from mar_edge.datasets.clip_cache import CachedClip
from mar_edge.datasets.clip_reader import Sizing, uncached
from mar_edge.datasets.video_list import VideoList
from mar_edge.errors import SourceError
from mar_edge.runtime.video.probe import probe

PROBED = 32
"""Videos that are sampled evenly from a longer list for the estimate."""


def missing_bytes(videos: VideoList, sizing: Sizing, cache: Path) -> int:
    """Estimate how many bytes will be added to a cache.

    Frames and sizes are read from the headers of some videos; a video that cannot be read counts as zero.

    Args:
        videos: the list.
        sizing: how frames are resized before they are kept.
        cache: the folder; it need not exist.
    """
    left = uncached(videos, sizing, cache)
    probed = [left[place * len(left) // PROBED] for place in range(PROBED)] if len(left) > PROBED else left
    if not probed:
        return 0
    return round(sum(_size_bytes(path, sizing) for path in probed) / len(probed) * len(left))


def _size_bytes(path: Path, sizing: Sizing) -> int:
    try:
        info = probe(path)
    except SourceError:
        return 0
    height_px, width_px = sizing.size(info.height_px, info.width_px)
    return CachedClip(info.frames, height_px, width_px, info.duration_s).size_bytes
