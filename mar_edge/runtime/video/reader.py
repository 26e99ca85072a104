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

RESTART_S = 1.0
"""A jump backwards by more is a stream that starts again, as in recordings that were joined."""

_TURNS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}


def read_frames(
    path: Path, warn: Warn | None = None, *, threads: int | None = None
) -> Iterator[tuple[NDArray[np.uint8], float]]:
    """Decode a file frame by frame.

    Time stamps are those of the stream, counted from its first frame, so a variable frame rate comes out right. Where
    they start again, time goes on a second later. Damaged places are skipped with a warning.

    Args:
        path: a video file.
        warn: called with one sentence for whatever could not be decoded.
        threads: of the decoder; None for all cores.

    Yields:
        uint8 (H, W, 3) RGB, turned as the file's rotation flag says, and its time in seconds.

    Raises:
        SourceError: if the file is missing, is no video, or holds no frame that can be decoded.
    """
    say = warn or (lambda _message: None)
    container = open_video(path)
    decoded = 0
    with container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads or 0
        for frame, time_s in with_times(decode(container, stream, path, say), stream, path, say):
            decoded += 1
            yield upright(frame), time_s
    if not decoded:
        raise SourceError(f"{path} holds no picture that can be decoded; it is damaged or not a video")


def with_times(
    frames: Iterator[VideoFrame], stream: VideoStream, path: Path, say: Warn, *, first_s: float | None = None
) -> Iterator[tuple[VideoFrame, float]]:
    """Give decoded frames their time from the video's first frame, rising strictly.

    Args:
        frames: of the stream.
        stream: what they come from.
        path: for warnings.
        say: told about time stamps that go backwards.
        first_s: time stamp of the video's first frame; None if `frames` starts with it.
    """
    decoded = backwards = 0
    offset_s = None if first_s is None else -first_s
    last_s = -1.0
    for frame in frames:
        raw_s = stamp_s(frame, stream, decoded)
        decoded += 1
        if frame.is_corrupt:
            say(f"{path.name}: damaged picture at {raw_s:.2f} s")
        if offset_s is None:
            offset_s = -raw_s
        elif raw_s + offset_s < last_s - RESTART_S:
            say(f"{path.name}: time stamps start again after {last_s:.2f} s")
            offset_s = last_s + RESTART_S - raw_s
        time_s = raw_s + offset_s
        if time_s <= last_s:
            backwards += 1
            continue
        last_s = time_s
        yield frame, time_s
    if backwards:
        say(f"{path.name}: {backwards} frames skipped, their time stamps go backwards")


def tells_damage(message: str, path: Path) -> bool:
    """Tell whether a warning about a file says that some of it could not be decoded."""
    said = message.removeprefix(str(path)).removeprefix(path.name)  # a name may say anything
    return "damaged" in said


def open_video(path: Path) -> InputContainer:
    """Open a file that has a video stream.

    Raises:
        SourceError: saying why it cannot be read.
    """
    try:
        if path.is_dir():
            raise SourceError(f"{path} is a directory; name a video file in it")
        if not path.exists():
            raise SourceError(f"no such file: {path}")
        if path.is_file() and path.stat().st_size == 0:
            raise SourceError(f"{path} is empty (0 bytes)")
        # the protocol is named, or a colon in a file's name would be taken for one
        container = av.open(f"file:{path}", metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise SourceError(f"{str(path)[:200]} is not a video that can be read: {_reason(error)}") from error
    if not container.streams.video:
        kinds = ", ".join(stream.type for stream in container.streams) or "nothing"
        container.close()
        raise SourceError(f"{path} has no video stream, only {kinds}")
    # PyAV's types promise a decoder, but damaged files may name none that exists
    if getattr(container.streams.video[0], "codec_context", None) is None:
        container.close()
        raise SourceError(f"{path} cannot be decoded: the codec of its video is unknown")
    return container


def decode(container: InputContainer, stream: VideoStream, path: Path, say: Warn) -> Iterator[VideoFrame]:
    """Decode packet by packet, so that one damaged packet costs no more than itself."""
    packets = container.demux(stream)
    damaged = 0
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            break
        # PyAV looks a packet's stream up by its number, which a damaged file may get wrong
        except (av.error.FFmpegError, IndexError) as error:
            say(f"{path.name}: damaged, reading stopped early: {_reason(error)}")
            break
        try:
            yield from packet.decode()
        except av.error.EOFError:
            break
        except av.error.DecoderNotFoundError as error:
            raise SourceError(f"{path} cannot be decoded: {_reason(error)}") from error
        except av.error.FFmpegError as error:
            damaged += 1
            if damaged == 1:
                say(f"{path.name}: damaged data skipped: {_reason(error)}")
    if damaged > 1:
        say(f"{path.name}: {damaged} damaged packets skipped in all")


def stamp_s(frame: VideoFrame, stream: VideoStream, index: int) -> float:
    """Return a frame's own time stamp in seconds; without one, that of the frame with this index at the stream's rate."""
    # PyAV's types promise a time, but raw streams have none
    time_s: float | None = frame.time
    return index / float(stream.average_rate or 30) if time_s is None else float(time_s)


def upright(frame: VideoFrame) -> NDArray[np.uint8]:
    """Return a decoded frame as uint8 (H, W, 3) RGB, turned as its rotation flag says."""
    picture = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
    turn = _TURNS.get(round(frame.rotation) % 360)
    return picture if turn is None else np.asarray(cv2.rotate(picture, turn), dtype=np.uint8)


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
