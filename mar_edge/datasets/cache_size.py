"""How large a cache of decoded videos will be, and what memory decoding takes, before any is decoded."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from mar_edge.datasets.clip_cache import CachedClip
from mar_edge.datasets.clip_reader import Sizing, uncached
from mar_edge.datasets.spread import spread
from mar_edge.datasets.video_list import VideoList
from mar_edge.datasets.workers import cores
from mar_edge.errors import SourceError
from mar_edge.runtime.video.probe import probe

PROBED = 32
"""Videos that are sampled evenly from a longer list for the estimate."""

DECODER_BYTES = 90_000_000
PIXEL_BYTES = 65
"""Memory of a process that decodes: without a picture, and for each pixel of one, of which the decoder keeps several. Measured with
clips of 320x240, 1920x1080 and 3840x2160."""


def missing_bytes(videos: VideoList, sizing: Sizing, cache: Path) -> int:
    """Estimate how many bytes will be added to a cache.

    Frames and sizes are read from the headers of some videos; a video that cannot be read counts as zero.

    Args:
        videos: the list.
        sizing: how frames are resized before they are kept.
        cache: the folder; it need not exist.
    """
    left = uncached(videos, sizing, cache)
    probed = spread(left, PROBED)
    if not probed:
        return 0
    return round(sum(_size_bytes(path, sizing) for path in probed) / len(probed) * len(left))


def decoding_bytes(videos: VideoList) -> int:
    """Estimate the memory in which all cores decode a list, each one video at a time.

    Args:
        videos: the list; of a long one the sizes of some pictures are read.
    """
    paths = list(dict.fromkeys(video.path for video in videos.videos))
    pixels = [0]
    for path in spread(paths, PROBED):
        with suppress(SourceError):
            info = probe(path)
            pixels.append(info.height_px * info.width_px)
    return min(cores(), len(paths)) * (DECODER_BYTES + PIXEL_BYTES * max(pixels))


def _size_bytes(path: Path, sizing: Sizing) -> int:
    try:
        info = probe(path)
    except SourceError:
        return 0
    height_px, width_px = sizing.size(info.height_px, info.width_px)
    return CachedClip(info.frames, height_px, width_px, info.duration_s).size_bytes
