"""What a video file holds, and single frames of it, without decoding it all."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from mar_edge.errors import SourceError
from mar_edge.runtime.video.reader import decode, open_video, stamp_s, upright, with_times

SLACK_S = 0.0015
"""A frame that comes later by less than this is on time: containers round time stamps to a millisecond."""

JUMP_S = 1.0
"""A frame further ahead is sought; a nearer one is decoded on to."""

_Timed = tuple[VideoFrame, float]

_SOUGHT = ("mov", "matroska")
"""Container formats whose every time stamp can be trusted after a seek; others are decoded from their start."""


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a file holds.

    Attributes:
        duration_s: from the first frame to the end of the last.
        frames: that can be expected, as the header or the number of packets says; damage shows only in decoding.
        announced: frames that the header announces; more than `frames` where the file is cut.
        fps: frames a second, on average.
        width_px, height_px: of the upright picture.
    """

    duration_s: float
    frames: int
    announced: int
    fps: float
    width_px: int
    height_px: int

    @property
    def cut(self) -> bool:
        """Whether the file ends before the frames that its header announces."""
        return self.frames < self.announced


def probe(path: Path) -> VideoInfo:
    """Tell what a file holds, from its first frame and its header, or its packets where the header cannot be trusted.

    Raises:
        SourceError: if the file is missing, is no video, or its first pictures cannot be decoded.
    """
    with open_video(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        frame = next(decode(container, stream, path, _say_nothing), None)
        if frame is None:
            raise SourceError(f"{path} holds no picture that can be decoded; it is damaged or not a video")
        turned = round(frame.rotation) % 180 == 90
        header = _from_header(container, stream)
    frames, duration_s = (header.frames, header.duration_s) if header and not header.cut else _from_packets(path)
    return VideoInfo(
        duration_s=duration_s,
        frames=frames,
        announced=header.frames if header else frames,
        fps=frames / duration_s,
        width_px=frame.height if turned else frame.width,
        height_px=frame.width if turned else frame.height,
    )


def read_frames_at(path: Path, times_s: Sequence[float] | NDArray[np.float64]) -> list[NDArray[np.uint8]]:
    """Read what a video shows at some moments: the newest frame at or before each, or the first frame.

    Seeks to the key frame before a moment and decodes on from there. The frames are those of `read_frames`, also
    where the file is damaged; past the end it is the last one.

    Args:
        path: a video file.
        times_s: seconds from the first frame, sorted.

    Returns:
        uint8 (H, W, 3) RGB for each time, upright; a frame that is shown at several moments is one array, listed again.

    Raises:
        SourceError: if the file is missing, is no video, or holds no frame that can be decoded.
        ValueError: if the times are not sorted or not finite.
    """
    moments = np.asarray(times_s, dtype=np.float64)
    if not np.isfinite(moments).all() or (np.diff(moments) < 0).any():
        raise ValueError(f"times must be finite and sorted, not {moments.tolist()}")
    with _Film(path) as film:
        return [film.picture_at(float(moment)) for moment in moments]


def newest_frames(frame_times_s: NDArray[np.float64], times_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return which frames `read_frames_at` takes, given the times of all.

    Args:
        frame_times_s: float64 (N,), sorted.
        times_s: float64 (T,).

    Returns:
        int64 (T,) indices of frames.
    """
    after = np.searchsorted(frame_times_s, times_s + SLACK_S, side="right")
    return np.maximum(after - 1, 0)


class _Film:
    """A file with two neighbouring frames at hand: the one that is shown, and the next."""

    _frames: Iterator[_Timed]
    _shown: _Timed
    _next: _Timed | None

    def __init__(self, path: Path) -> None:
        self._path = path
        self._container = open_video(path)
        try:
            self._stream = self._container.streams.video[0]
            self._may_jump = self._container.format.name.startswith(_SOUGHT)
            self._picture: NDArray[np.uint8] | None = None
            self._first_stamp_s: float | None = None
            self._rewind()
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> _Film:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def picture_at(self, time_s: float) -> NDArray[np.uint8]:
        """Return what is shown; times must rise."""
        if self._may_jump and self._next is not None and time_s - self._next[1] > JUMP_S:
            self._jump(time_s)
        while self._next is not None and self._next[1] <= time_s + SLACK_S:
            self._show(self._next)
            self._next = next(self._frames, None)
        if self._picture is None:
            self._picture = upright(self._shown[0])
        return self._picture

    def _show(self, frame: _Timed) -> None:
        self._shown = frame
        self._picture = None

    def _rewind(self) -> None:
        """Start with the first frame."""
        self._stream.codec_context.thread_count = 1  # whoever reads single frames does so in many processes
        self._frames = with_times(self._decode(), self._stream, self._path, _say_nothing)
        first = next(self._frames, None)
        if first is None:
            raise SourceError(f"{self._path} holds no picture that can be decoded; it is damaged or not a video")
        if self._first_stamp_s is None:
            self._first_stamp_s = stamp_s(first[0], self._stream, 0)
        self._show(first)
        self._next = next(self._frames, None)

    def _jump(self, time_s: float) -> None:
        """Go on from the key frame before a moment."""
        before_s = self._shown[1]
        back_s = 0.0
        while time_s - back_s > before_s:
            frames = self._from_key_frame(time_s - back_s)
            key = next(frames, None)
            if key is not None and key[1] <= time_s + SLACK_S:
                # one without key frames in between would be decoded again and again
                self._may_jump = key[1] > before_s
                self._frames = frames
                self._show(key)
                self._next = next(frames, None)
                return
            back_s = max(JUMP_S, 2 * back_s)
        self._may_jump = False
        self._container.close()
        self._container = open_video(self._path)
        self._stream = self._container.streams.video[0]
        self._rewind()

    def _from_key_frame(self, time_s: float) -> Iterator[_Timed]:
        assert self._first_stamp_s is not None
        base = self._stream.time_base
        assert base is not None
        with suppress(av.error.FFmpegError, OverflowError):
            self._container.seek(int((time_s + self._first_stamp_s) / base), stream=self._stream)
            # pictures that come out before the key frame lean on others that were not read
            frames = itertools.dropwhile(lambda frame: not frame.key_frame, self._decode())
            return with_times(frames, self._stream, self._path, _say_nothing, first_s=self._first_stamp_s)
        return iter(())

    def _decode(self) -> Iterator[VideoFrame]:
        return decode(self._container, self._stream, self._path, _say_nothing)


class _Header(NamedTuple):
    frames: int
    duration_s: float
    cut: bool


def _from_header(container: InputContainer, stream: VideoStream) -> _Header | None:
    """Return what the header of an MP4 or MOV says; None for others, and where it is in pieces."""
    # one entry for every frame; those that an edit list takes away are marked
    entries = getattr(stream, "index_entries", ())
    if not container.format.name.startswith("mov") or not stream.frames or len(entries) != stream.frames:
        return None
    if not stream.duration or stream.time_base is None:
        return None
    kept, end = 0, 0
    for entry in entries:
        kept += not entry.is_discard
        end = max(end, entry.pos + entry.size)
    return _Header(kept, float(stream.duration * stream.time_base), end > container.size) if kept else None


def _from_packets(path: Path) -> tuple[int, float]:
    """Count packets without decoding them."""
    stamps: list[float] = []
    with open_video(path) as container:
        stream = container.streams.video[0]
        rate_fps = float(stream.average_rate or 30)
        with suppress(av.error.FFmpegError, IndexError):
            for packet in container.demux(stream):
                if packet.size and not packet.is_discard:
                    pts, base = packet.pts, packet.time_base
                    stamps.append(len(stamps) / rate_fps if pts is None or base is None else float(pts * base))
    return max(1, len(stamps)), duration_of(np.sort(np.array(stamps or [0.0])), rate_fps)


def duration_of(frame_times_s: NDArray[np.float64], rate_fps: float = 30.0) -> float:
    """Return the time from the first frame to the end of the last, which is taken to last as long as most others.

    Args:
        frame_times_s: float64 (N,), sorted, N at least 1.
        rate_fps: says how long a single frame lasts.
    """
    gaps_s = np.diff(frame_times_s)
    last_s = float(np.median(gaps_s)) if len(gaps_s) else 0.0
    return float(frame_times_s[-1] - frame_times_s[0]) + (last_s if last_s > 0 else 1 / rate_fps)


def _say_nothing(_message: str) -> None:
    pass
