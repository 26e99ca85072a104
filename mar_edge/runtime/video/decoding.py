"""Decodes a video stream: every decodable picture, in display order, with its time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from mar_edge.errors import SourceError
from mar_edge.reporting import Warn
from mar_edge.runtime.video.clock import REORDERED, Clock, Timed
from mar_edge.runtime.video.container import reason_of
from mar_edge.runtime.video.limits import MAX_PIXELS, held_ahead, why_too_large
from mar_edge.runtime.video.opening import OpenVideo

MAX_LAST_S = 60.0
"""A longer duration of the last picture is not trusted."""

_OWN_DURATIONS = ("mov", "gif", "apng")
"""Formats that store how long each picture is shown."""

_BROADCAST = ("mpegts", "mpeg")
"""Transmission formats: a time without pictures means loss, as they cannot state that a picture is held."""


T = TypeVar("T")


class NoPictureError(SourceError):
    """A video stream none of whose pictures can be decoded."""

    def __init__(self, video: OpenVideo) -> None:
        # a decoder that refuses pictures for their size does not state it
        large = "" if video.stream.codec_context.width else f", or its pictures have more than {MAX_PIXELS} pixels"
        super().__init__(
            f"{video.path} contains no picture that can be decoded; it is damaged or not a video{large}",
            code="codec",
        )


@dataclass(frozen=True, slots=True)
class Shown(Generic[T]):
    """The converted picture, and when the file shows it.

    Attributes:
        item: of the picture.
        time_s: from the first picture, rising strictly.
        duration_s: how long it is shown, see `ShownFrame`.
    """

    item: T
    time_s: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class _Decoded(Generic[T]):
    item: T
    is_corrupt: bool
    own_s: float | None


def decode(video: OpenVideo, warn: Warn) -> Iterator[VideoFrame]:
    """Decode packet by packet, so that one damaged packet affects no others.

    Raises:
        SourceError: if there is no decoder, or the pictures are too large.
    """
    name = video.path.name
    damaged = 0
    size = (0, 0)
    for packet in video.packets():
        video.losses += packet.is_corrupt
        video.timing.prepare(packet)
        try:
            for frame in packet.decode():
                if size != (frame.width, frame.height):
                    size = (frame.width, frame.height)
                    if why := why_too_large(*size, frame.format):
                        raise SourceError(f"{video.path} {why}")
                yield frame
        except av.error.EOFError:
            break
        except av.error.DecoderNotFoundError as error:
            raise SourceError(f"{video.path} cannot be decoded: {reason_of(error)}", code="codec") from error
        except av.error.FFmpegError as error:
            damaged += 1
            video.losses += 1
            if damaged == 1:
                warn(f"{name}: damaged data skipped: {reason_of(error)}")
    if video.stopped is not None:
        warn(f"{name}: damaged, reading stopped early: {video.stopped}")
    if damaged > 1:
        warn(f"{name}: {damaged} damaged packets skipped in total")


def timed(video: OpenVideo, stamped: Iterator[tuple[T, float | None]], clock: Clock) -> Iterator[Timed[T]]:
    """Assign times to items in display order, from their time stamps in seconds."""
    decoder = video.stream.codec_context
    ahead = min(REORDERED, held_ahead(decoder.width, decoder.height, decoder.format))
    return clock.run(clock.sort(stamped, ahead) if video.timing.decode_order else stamped)


def read_timed(video: OpenVideo, convert: Callable[[VideoFrame], T], warn: Warn) -> Iterator[Shown[T]]:
    """Decode a video from its start.

    Args:
        video: just opened.
        convert: called with every picture as soon as it is decoded.
        warn: called with one sentence for whatever is damaged, repaired or implausible.

    Raises:
        NoPictureError: if no picture can be decoded.
    """
    name = video.path.name
    for message in video.timing.notices(name):
        warn(message)
    clock = Clock(video.timing.step_s)
    losses = deque([0], maxlen=REORDERED)
    shown: Timed[_Decoded[T]] | None = None
    for following in timed(video, _converted(video, convert, warn), clock):
        if following.item.is_corrupt:
            warn(f"{name}: damaged picture at {following.time_s:.2f} s")
        losses.append(video.losses)
        if shown is not None:
            lossy = following.fresh or losses[-1] != losses[0]
            shown_s = _shown_s(video, following.time_s - shown.time_s, lossy=lossy)
            yield Shown(shown.item.item, shown.time_s, shown_s)
        shown = following
    if shown is None:
        raise NoPictureError(video)
    yield Shown(shown.item.item, shown.time_s, last_s(video, shown.item.own_s))
    end_s = shown.time_s + max(video.timing.step_s, shown.item.own_s or 0.0)
    if why := _why_short(video, end_s):
        warn(f"{name}: {why}")
    repairs = clock.notice(name, sorted_silently=video.timing.sorts_silently)
    if repairs is not None and video.timing.clocked and not video.timing.too_fast:
        warn(repairs)


def own_s(part: VideoFrame | Packet[VideoStream]) -> float | None:
    """Return the display duration that a picture or packet states."""
    return float(part.duration * part.time_base) if part.duration and part.time_base else None


def last_s(video: OpenVideo, declared_s: float | None) -> float:
    """Return how long the last picture is shown: as the file states, otherwise as long as most others.

    Args:
        video: the file.
        declared_s: see `own_s`.
    """
    timing = video.timing
    believed = declared_s is not None and timing.step_s < declared_s <= MAX_LAST_S
    # if pictures are reordered, it is that of the packet decoded last
    in_order = timing.sound and not video.stream.codec_context.has_b_frames
    if believed and in_order and video.container.format.name.startswith(_OWN_DURATIONS):
        assert declared_s is not None
        return declared_s
    return timing.step_s


def _why_short(video: OpenVideo, end_s: float) -> str | None:
    """Return that a file ends earlier than its header states; None if it does not, or the header states no end.

    Args:
        video: read to its end.
        end_s: end of its last picture, from the first one.
    """
    # of other formats the length is computed from what is there, or is in the index, without which nothing is read
    if not video.container.format.name.startswith("matroska") or not video.timing.clocked or video.stopped is not None:
        return None
    stated_s = _seconds(video.stream.metadata.get("DURATION", ""))
    if stated_s is None and len(video.container.streams) == 1:
        stated_s = (video.container.duration or 0) / 1e6
    began_s = float((video.stream.start_time or 0) * (video.stream.time_base or 0))
    if stated_s is None or stated_s - began_s - end_s < 1.5 * video.timing.step_s:
        return None
    return f"ends at {end_s:.2f} s, though its header states {stated_s - began_s:.2f} s; the rest is missing"


def _seconds(text: str) -> float | None:
    """Return the seconds of a time as `00:01:02.5`; None if it is none."""
    try:
        hours, minutes, seconds = text.split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    except ValueError:
        return None


def _shown_s(video: OpenVideo, gap_s: float, *, lossy: bool) -> float:
    """Return how long a picture is shown of the time up to the next."""
    step_s = video.timing.step_s
    lost = lossy or video.container.format.name in _BROADCAST
    return step_s if lost and gap_s > 1.5 * step_s else gap_s


def _converted(
    video: OpenVideo, convert: Callable[[VideoFrame], T], warn: Warn
) -> Iterator[tuple[_Decoded[T], float | None]]:
    for frame in decode(video, warn):
        video.losses += frame.is_corrupt
        yield _Decoded(convert(frame), frame.is_corrupt, own_s(frame)), video.timing.stamp_s(frame)
