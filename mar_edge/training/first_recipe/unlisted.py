"""Finds clips that came after a split, such as those recorded since: no list names them, so nothing would use them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mar_edge.datasets.splits import read_clips
from mar_edge.datasets.video_list import read_video_list
from mar_edge.errors import DataError


def unlisted_clips(data: Path, lists: Sequence[Path]) -> list[str]:
    """Return the names of clips that are in none of the lists; none without lists, or if something cannot be read now.

    Args:
        data: all clips.
        lists: of their split.
    """
    if not lists:
        return []
    try:
        listed = {os.path.realpath(video.path) for one in lists for video in read_video_list(one).videos}
        found = read_clips(data).videos
    except DataError:  # a folder of lists need not hold the clips themselves
        return []
    return [video.name for video in found if os.path.realpath(video.path) not in listed]
