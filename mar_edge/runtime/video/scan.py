"""Reads all packets of a file without decoding them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream

from mar_edge.runtime.video.clock import Clock
from mar_edge.runtime.video.decoding import last_s, own_s
from mar_edge.runtime.video.opening import OpenVideo
from mar_edge.runtime.video.timing import in_display_order


class Scan(NamedTuple):
    """What the packets state.

    Attributes:
        frames: expected number of frames.
        duration_s: from the first picture to the end of the last, with repaired times.
        sound: whether no time stamp needs repair, so that seeking finds the same frames as reading.
        notice: what was repaired, in one sentence; None if nothing was.
    """

    frames: int
    duration_s: float
    sound: bool
    notice: str | None


def scan(path: Path) -> Scan:
    """Read all packets of a file; again only if the file has changed.

    Raises:
        SourceError: if it cannot be opened.
    """
    if not path.is_file():
        return _scan(path)
    stat = path.stat()
    return _scan_once(path.absolute(), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1024)
def _scan_once(path: Path, _size_bytes: int, _mtime_ns: int) -> Scan:
    return _scan(path)


def _scan(path: Path) -> Scan:
    with OpenVideo(path, threads=1) as video:
        timing = video.timing
        frames = 0
        last_stamp, last_duration_s = -np.inf, timing.step_s

        def counted() -> Iterator[Packet[VideoStream]]:
            nonlocal frames, last_stamp, last_duration_s
            for packet in video.packets():
                if packet.size and not packet.is_discard:
                    frames += 1
                    if packet.pts is not None and packet.pts > last_stamp:
                        last_stamp, last_duration_s = packet.pts, last_s(video, own_s(packet))
                    yield packet

        stamps_s = in_display_order(counted(), from_dts=timing.from_dts).tolist()
        clock = Clock(timing.step_s)
        stamped = ((None, stamp if timing.clocked and stamp == stamp else None) for stamp in stamps_s)
        newest = deque((placed.time_s for placed in clock.run(stamped)), maxlen=1)
        duration_s = (newest[0] if newest else 0.0) + last_duration_s
        notice = clock.notice(path.name) if timing.clocked and not timing.too_fast else None
        return Scan(max(1, frames), duration_s, timing.sound and not clock.repaired, notice)
