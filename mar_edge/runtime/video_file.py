"""Reads video files through PyAV: upright RGB frames with the stream's own time stamps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from mar_edge.errors import SourceError

Warn = Callable[[str], None]

# a decoder's own errors; anything else is a bug of ours and must be seen
DecodeErrors = (av.error.InvalidDataError, av.error.EOFError, av.error.ExternalError, av.error.BugError)

_TURNS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}


def read_frames(path: Path, warn: Warn | None = None) -> Iterator[tuple[NDArray[np.uint8], float]]:
    """Decode a file frame by frame.

    Time stamps are those of the stream, counted from its first frame, so a variable frame rate comes out right.
    Damaged places are skipped with a warning.

    Args:
        path: a video file.
        warn: called with one sentence for whatever could not be decoded.

    Yields:
        uint8 (H, W, 3) RGB, turned as the file's rotation flag says, and its time in seconds.

    Raises:
        SourceError: if the file is missing, is no video, or holds no frame that can be decoded.
    """
    say = warn or (lambda _message: None)
    container = _open(path)
    decoded = 0
    start_s: float | None = None
    last_s = -1.0
    with container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for frame in _decode(container, stream, path, say):
            if frame.is_corrupt:
                say(f"{path.name}: damaged picture at {_time(frame, stream, decoded):.2f} s")
            time_s = _time(frame, stream, decoded)
            start_s = time_s if start_s is None else start_s
            decoded += 1
            if time_s - start_s <= last_s:
                say(f"{path.name}: frame {decoded} skipped, its time stamp {time_s:.3f} s goes backwards")
                continue
            last_s = time_s - start_s
            yield _upright(frame), last_s
    if not decoded:
        raise SourceError(f"{path} holds no picture that can be decoded; it is damaged or not a video")


def _open(path: Path) -> InputContainer:
    if path.is_dir():
        raise SourceError(f"{path} is a directory; name a video file in it")
    if not path.exists():
        raise SourceError(f"no such file: {path}")
    if path.stat().st_size == 0:
        raise SourceError(f"{path} is empty (0 bytes)")
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise SourceError(f"{path} is not a video that can be read: {_reason(error)}") from error
    if not container.streams.video:
        kinds = ", ".join(stream.type for stream in container.streams) or "nothing"
        container.close()
        raise SourceError(f"{path} has no video stream, only {kinds}")
    return container


def _decode(container: InputContainer, stream: VideoStream, path: Path, say: Warn) -> Iterator[VideoFrame]:
    """Decode packet by packet, so that one damaged packet costs no more than itself."""
    packets = container.demux(stream)
    damaged = 0
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            break
        except (*DecodeErrors, OSError) as error:
            say(f"{path.name}: reading stopped early: {_reason(error)}")
            break
        try:
            yield from packet.decode()
        except av.error.EOFError:
            break
        except DecodeErrors as error:
            damaged += 1
            if damaged == 1:
                say(f"{path.name}: damaged data skipped: {_reason(error)}")
    if damaged > 1:
        say(f"{path.name}: {damaged} damaged packets skipped in all")


def _time(frame: VideoFrame, stream: VideoStream, index: int) -> float:
    # PyAV's types promise a time, but raw streams have none
    time_s: float | None = frame.time
    return index / float(stream.average_rate or 30) if time_s is None else float(time_s)


def _upright(frame: VideoFrame) -> NDArray[np.uint8]:
    picture = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
    turn = _TURNS.get(round(frame.rotation) % 360)
    return picture if turn is None else np.asarray(cv2.rotate(picture, turn), dtype=np.uint8)


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).splitlines()[0]
