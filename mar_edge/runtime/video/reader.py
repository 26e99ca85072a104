"""Reads video files through PyAV: upright RGB frames with times that rise strictly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mar_edge.counting import counted
from mar_edge.reporting import Warn, no_warning
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.video.decoding import read_timed
from mar_edge.runtime.video.opening import OpenVideo
from mar_edge.runtime.video.orientation import Display

HELD_S = 0.5
"""A picture that is shown for longer, and for several times the usual, was held by the recorder: nothing moved."""

MAX_HELD_S = 600.0
"""The rest of a longer one stays a gap: a wrong time stamp could last for hours."""


MAX_FILLED_S = 86_400.0
"""Time of a file that is filled with held pictures, in total: a few bytes can state any duration."""

MIN_FILLED_STEP_S = 1 / 240
"""A held picture is not repeated more often than this, whatever rate the file states."""


class ShownFrame(NamedTuple):
    """A picture and when the file shows it.

    Attributes:
        picture: uint8 (H, W, 3) RGB.
        time_s: from the first picture, rising strictly.
        duration_s: how long it is shown. A picture that is held in a recording of variable rate is shown until the
            next; where pictures were lost, or another recording begins, only for the usual time, so that a gap lies
            between its end and the next picture.
    """

    picture: NDArray[np.uint8]
    time_s: float
    duration_s: float


def read_frames(
    path: Path, warn: Warn = no_warning, *, threads: int | None = None
) -> Iterator[tuple[NDArray[np.uint8], float]]:
    """Decode a file frame by frame, see `read_shown_frames`.

    Yields:
        uint8 (H, W, 3) RGB, as a player shows it, and its time in seconds.

    Raises:
        SourceError: if the file is missing, is not a video, or has no frame that can be decoded.
    """
    for frame in read_shown_frames(path, warn, threads=threads):
        yield frame.picture, frame.time_s


def read_shown_frames(path: Path, warn: Warn = no_warning, *, threads: int | None = None) -> Iterator[ShownFrame]:
    """Decode a file frame by frame, with the time for which each is shown.

    Every picture that can be decoded is yielded, in display order. Time stamps are those of the stream, counted
    from its first frame, so a variable frame rate is correct. Where they are missing, do not rise or restart,
    they are repaired and one warning reports how. Damaged places are skipped with a warning.

    Args:
        path: a video file.
        warn: called with one sentence for whatever is damaged, repaired or implausible.
        threads: of the decoder; None for all cores.

    Raises:
        SourceError: if the file is missing, is not a video, or has no frame that can be decoded.
    """
    with OpenVideo(path, threads=threads) as video:
        for shown in read_timed(video, Display(video.stream).picture, warn):
            yield ShownFrame(shown.item, shown.time_s, shown.duration_s)


def read_steady_frames(path: Path, warn: Warn = no_warning, *, threads: int | None = None) -> Iterator[Frame]:
    """Decode a file frame by frame, and repeat a picture that is held for as long as the file shows it.

    A picture is converted when it is asked for, which may be after the file was closed; repeats of one share its array.

    Recorders of variable rate omit pictures while nothing moves. They are filled in at the file's usual rate, so
    that such a time counts as still; one warning at the end reports for how long. Where pictures were lost or another
    recording begins, the gap stays. A file that is slow throughout holds no pictures: it only has few of them.

    Raises:
        SourceError: if the file is missing, is not a video, or has no frame that can be decoded.
    """
    with OpenVideo(path, threads=threads) as video:
        yield from steady_frames(video, warn)


def steady_frames(video: OpenVideo, warn: Warn) -> Iterator[Frame]:
    """Decode what was just opened as `read_steady_frames` does.

    Raises:
        SourceError: if no picture can be decoded.
    """
    usual_s = video.timing.step_s
    step_s = max(usual_s, MIN_FILLED_STEP_S)
    left_s = MAX_FILLED_S
    held = repeats = 0
    for shown in read_timed(video, Display(video.stream).decoded, warn):
        frame = Frame(picture=shown.item.convert, size_px=shown.item.size_px, time_s=shown.time_s)
        yield frame
        if shown.duration_s > max(HELD_S, 3 * usual_s):
            held_s = min(shown.duration_s, MAX_HELD_S, left_s)
            left_s -= held_s
            held += 1
            for place in range(1, round(held_s / step_s)):
                repeats += 1
                yield _repeat(frame, shown.time_s + place * step_s)
    if held:
        warn(
            f"{video.path.name}: {repeats * step_s:.1f} s were filled in as still: the file holds {counted(held, 'picture')} "
            "for longer than usual"
        )


def _repeat(frame: Frame, time_s: float) -> Frame:
    return Frame(picture=lambda: frame.picture, size_px=frame.size_px, time_s=time_s, held=True)


def tells_damage(message: str, path: Path) -> bool:
    """Return whether a warning about a file reports that some of it could not be decoded."""
    said = message.removeprefix(str(path)).removeprefix(path.name)  # a name may contain any words
    return "damaged" in said
