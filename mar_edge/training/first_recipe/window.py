"""Chooses the frames and the sampling rate of a window for clips of some lengths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from mar_edge.counting import counted, counted_of
from mar_edge.datasets.clip_lengths import lengths
from mar_edge.datasets.spread import spread
from mar_edge.datasets.video_list import Video, VideoList
from mar_edge.errors import DataError, SourceError
from mar_edge.printable import typed
from mar_edge.reporting import Progress
from mar_edge.runtime.clips.preprocess import Resize
from mar_edge.runtime.video.probe import VideoInfo, probe

FRAMES = (16, 8, 4)
"""Frames of a window, tried in this order: shorter windows see less of an action."""

PROBED = 400
"""Clips that are opened at most, spread evenly over the list."""

LONG = 4.0
"""Clips of so many windows and more have probably not been cut to the action."""


@dataclass(frozen=True)
class Window:
    """What the model sees at once.

    Attributes:
        frames: of a window.
        rate_fps: frames per second.
        said: why, for a comment.
        doubts: sentences for the user.
    """

    frames: int
    rate_fps: float
    said: str
    doubts: tuple[str, ...]


def probe_clips(videos: VideoList, progress: Progress) -> list[VideoInfo]:
    """Read lengths, rates and sizes from the files.

    Args:
        videos: the list.
        progress: called with the files that were read.

    Raises:
        DataError: naming the first file that cannot be read.
    """
    chosen = spread(videos.videos, PROBED)
    found: list[VideoInfo] = []
    broken: list[tuple[Video, str]] = []
    for done, video in enumerate(chosen):
        progress("reading lengths", done, len(chosen))
        try:
            found.append(probe(video.path))
        except SourceError as error:
            broken.append((video, str(error)))
    if broken:
        raise DataError(
            f"{counted_of(len(broken), len(chosen), 'clip')} cannot be read: {videos.say(*broken[0])}. Repair or remove what is "
            f"broken; all of it is named by: mar-edge data check {typed(videos.source)}"
        )
    return found


def choose_window(infos: list[VideoInfo]) -> Window:
    """Choose frames and rate.

    Args:
        infos: of the training clips.

    Raises:
        DataError: if the clips are shorter than any window.
    """
    durations_s, source_fps = [info.duration_s for info in infos], [info.fps for info in infos]
    for frames in FRAMES:
        found = lengths(durations_s, frames=frames, source_fps=source_fps)
        if found.suggested_fps is not None:
            chosen = next(row for row in found.rows if row.rate_fps == found.suggested_fps)
            window_s, middle_s = chosen.window_s, median(durations_s)
            short = counted_of(chosen.short, len(infos), "clip", "is", "are")
            said = f"{frames} frames cover {window_s:.2f} s; clips are {_span(durations_s)} long, and {short} shorter than that"
            return Window(frames, chosen.rate_fps, said, tuple(_doubts(frames, chosen.rate_fps, window_s, middle_s)))
    fewest, count = FRAMES[-1], int(median(info.frames for info in infos))
    raise DataError(
        f"half of the clips have {counted(count, 'frame')} or fewer ({median(durations_s):.2f} s), and the shortest window has {fewest}, so no "
        "sampling rate makes a window of them. Record clips of 2 to 3 s, such as: mar-edge record --camera 0 --label NAME -o FOLDER"
    )


def _doubts(frames: int, rate_fps: float, window_s: float, middle_s: float) -> Iterator[str]:
    if frames < FRAMES[0]:
        yield (
            f"clips are {middle_s:.2f} s long, too short for the usual {FRAMES[0]} frames at any rate up to their own. {frames} frames at "
            f"{rate_fps:g} frames/s fit; the model then sees {window_s:.2f} s at a time, live too, and whatever takes longer stays hidden "
            "from it. Clips of 2 to 3 s are better"
        )
    if middle_s >= LONG * window_s:
        yield (
            f"clips are {middle_s:.1f} s long and a window is {window_s:.2f} s: if the action fills only a part of its clip, many windows show none of it. "
            "Cut clips to the action"
        )


def choose_resize(infos: list[VideoInfo]) -> tuple[Resize, str]:
    """Return how pictures become square, and why."""
    shapes = Counter(round(info.width_px / info.height_px, 1) for info in infos)
    if len(shapes) == 1:
        return "stretch", "all pictures have the same shape, so nothing at their sides is cut off"
    return (
        "center_crop",
        f"pictures have {counted(len(shapes), 'shape')}, and stretched they would show people of different widths",
    )


def _span(durations_s: list[float]) -> str:
    low, high = min(durations_s), max(durations_s)
    return (
        f"{low:.2f} s"
        if high - low < 0.01
        else f"{low:.1f} to {high:.1f} s (half of them up to {median(durations_s):.1f} s)"
    )
