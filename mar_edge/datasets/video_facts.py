"""Decodes video files to their ends and reports what they contain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mar_edge.datasets.workers import over_all_cores
from mar_edge.errors import SourceError
from mar_edge.files.checked_file import hash_open
from mar_edge.reporting import Progress
from mar_edge.runtime.video.decoding import read_timed
from mar_edge.runtime.video.opening import OpenVideo
from mar_edge.runtime.video.probe import probe


@dataclass(frozen=True)
class Facts:
    """What a file contains.

    Attributes:
        frames: number of decoded frames.
        announced: number of frames that the header or the packets announce.
        duration_s: from the first frame to the end of the last.
        fps: frames per second, on average.
        steady: whether all frames are about equally far apart.
        width_px, height_px: of the upright picture.
        warnings: of the decoder.
        error: why the file cannot be read; None if it can.
        sha256: of the bytes, if another file has the same size.
    """

    frames: int = 0
    announced: int = 0
    duration_s: float = 0.0
    fps: float = 0.0
    steady: bool = True
    width_px: int = 0
    height_px: int = 0
    warnings: tuple[str, ...] = ()
    error: str | None = None
    sha256: str | None = None


class _Job(NamedTuple):
    path: Path
    hashed: bool


def read_facts(paths: Sequence[Path], progress: Progress) -> list[Facts]:
    """Decode every file once, even if it is listed several times, on all cores.

    Args:
        paths: the files.
        progress: called while they are decoded.
    """
    sizes = {path: path.stat().st_size for path in set(paths) if path.is_file()}
    often = Counter(sizes.values())
    jobs = [_Job(path, often[sizes.get(path, -1)] > 1) for path in dict.fromkeys(paths)]
    facts: dict[Path, Facts] = {}
    for place, result in over_all_cores(_inspect, jobs):
        path = jobs[place].path
        facts[path] = result or Facts(error=f"{path} crashes the decoder")
        progress("reading videos", len(facts), len(jobs))
    return [facts[path] for path in paths]


def _inspect(job: _Job) -> Facts:
    """Decode a file to its end."""
    warnings: list[str] = []
    times_s: list[float] = []
    changed = 0
    try:
        info = probe(job.path)
        with OpenVideo(job.path, threads=1) as video:  # every core decodes another file
            size = None
            for shown in read_timed(video, lambda frame: (frame.width, frame.height), warnings.append):
                times_s.append(shown.time_s)
                duration_s = shown.time_s + shown.duration_s
                size = size or shown.item
                changed += size != shown.item
        sha256 = None
        if job.hashed:
            with job.path.open("rb") as file:
                sha256 = hash_open(file)
    except (SourceError, OSError) as error:
        return Facts(error=str(error))
    if changed:
        warnings.append(f"{job.path.name}: the picture size changes")
    gaps_s = np.diff(times_s)
    return Facts(
        frames=len(times_s),
        announced=info.announced,
        duration_s=round(duration_s, 6),
        fps=round(len(times_s) / duration_s, 4),
        steady=not len(gaps_s) or bool(gaps_s.max() < 1.5 * np.median(gaps_s)),
        width_px=info.width_px,
        height_px=info.height_px,
        warnings=tuple(warnings),
        sha256=sha256,
    )
