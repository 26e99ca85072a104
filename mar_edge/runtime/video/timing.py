"""How a file stores times, according to its first packets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from av.format import ContainerFormat
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from mar_edge.runtime.video.clock import MIN_RISE_S, RESTART_S

MAX_RATE_FPS = 2000.0
MIN_RATE_FPS = 0.1
"""Rates outside this range are not trusted: no ordinary camera has them."""

GUESSED_RATE_FPS = 25.0
"""Rate of a file that states none, as in FFmpeg and players based on it."""

_NO_TIMESTAMPS = 0x80
"""AVFMT_NOTIMESTAMPS of FFmpeg: raw streams, whose time stamps are made up by the reader."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How a file stores times.

    Attributes:
        clocked: whether pictures have time stamps.
        from_dts: whether only decoding times exist, as in some AVI files.
        decode_order: whether time stamps rise in decoding order though pictures may be shown in another, so
            that they must be sorted.
        step_s: time between two pictures: the typical one of the first packets; without time stamps that of the header.
        declared: where `step_s` comes from without time stamps.
        refused_fps: a rate in the header that is not trusted.
        too_fast: whether time stamps follow each other faster than those of any camera.
        sorts_silently: whether the format has only decoding times.
        even: whether the first time stamps rise as they should.
    """

    clocked: bool
    from_dts: bool
    decode_order: bool
    step_s: float
    declared: Literal["stamps", "header", "guess"]
    refused_fps: float | None
    too_fast: bool
    sorts_silently: bool
    even: bool

    @property
    def sound(self) -> bool:
        """Whether the first time stamps need no repair."""
        return self.clocked and self.even and not self.decode_order and not self.too_fast

    def stamp_s(self, frame: VideoFrame) -> float | None:
        """Return a decoded frame's own time stamp in seconds; None if it has no valid one."""
        # PyAV's types promise a time
        return frame.time if self.clocked and frame.pts is not None else None

    def prepare(self, packet: Packet[VideoStream]) -> None:
        """Give a packet without presentation time its decoding time, which the decoder passes on to its picture."""
        if self.from_dts and packet.pts is None:
            packet.pts = packet.dts

    def notices(self, name: str) -> list[str]:
        """Return what a user must know before the first picture.

        Args:
            name: of the file.
        """
        if self.too_fast:
            return [
                f"{name}: its time stamps give {1 / self.step_s:.0f} frames per second, which is implausible; times and "
                f"results are not reliable. Set the true rate: ffmpeg -i {name} -vf setpts=N/RATE/TB -r RATE OUT.mp4"
            ]
        if self.clocked:
            return []
        source = "as its header states" if self.declared == "header" else "which is a guess"
        if self.refused_fps is not None:
            source += f": its header states {self.refused_fps:.6g}, which is implausible"
        return [
            f"{name}: the file has no time stamps; its frames are timed at {1 / self.step_s:.5g} per second, {source}. "
            f"If that is wrong, set the true rate: ffmpeg -r RATE -i {name} OUT.mp4"
        ]


def timing_of(format: ContainerFormat, stream: VideoStream, head: Sequence[Packet[VideoStream]]) -> Timing:
    """Determine how a file stores times.

    Args:
        format: of the container.
        stream: its video.
        head: the stream's first packets.
    """
    kept = [packet for packet in head if packet.size and not packet.is_discard]
    made_up = bool(format.flags & _NO_TIMESTAMPS) or format.name.endswith("_pipe")
    has_pts = any(packet.pts is not None for packet in kept)
    from_dts = not has_pts and any(packet.dts is not None for packet in kept)
    clocked = not made_up and (has_pts or from_dts)
    stamps_s = in_display_order(kept, from_dts=from_dts) if clocked else np.empty(0)
    in_file = [value for packet in kept if (value := packet.dts if from_dts else packet.pts) is not None]
    period_s = _period_s(stamps_s)
    declared_fps, refused_fps = _declared_rate(stream, made_up=not clocked)
    # time stamps that are all equal do not contradict a rate that is too high
    rate_fps = refused_fps if clocked and refused_fps is not None and refused_fps > MAX_RATE_FPS else GUESSED_RATE_FPS
    step_s = period_s or 1 / (declared_fps or rate_fps)
    return Timing(
        clocked=clocked,
        from_dts=from_dts,
        decode_order=clocked and bool(stream.codec_context.has_b_frames) and in_file == sorted(in_file),
        step_s=step_s,
        declared="stamps" if period_s else "header" if declared_fps else "guess",
        refused_fps=refused_fps,
        too_fast=clocked and step_s < 1 / MAX_RATE_FPS,
        sorts_silently=format.name == "avi",
        even=bool((np.diff(stamps_s) > MIN_RISE_S).all()),
    )


def in_display_order(packets: Iterable[Packet[VideoStream]], *, from_dts: bool) -> NDArray[np.float64]:
    """Return the time stamps of packets in the order in which their pictures are shown.

    Within one recording that is the order of the time stamps; where times of decoding go back, another begins.

    Args:
        packets: in the order of decoding.
        from_dts: take times of decoding.

    Returns:
        float64 (N,) seconds; NaN for a packet without time stamp.
    """
    ordered: list[float] = []
    recording: list[int] = []
    last_dts: int | None = None
    ticks, per_s = 1, 1
    for packet in packets:
        if last_dts is None:
            ticks, per_s = packet.time_base.numerator, packet.time_base.denominator
        dts = packet.dts
        stamp = dts if from_dts else packet.pts
        if dts is not None:
            if last_dts is not None and (dts - last_dts) * ticks / per_s < -RESTART_S:
                ordered += sorted(recording)
                recording = []
            last_dts = dts
        if stamp is None:
            ordered += [*sorted(recording), np.nan]
            recording = []
        else:
            recording.append(stamp)
    return np.array(ordered + sorted(recording), dtype=np.float64) * ticks / per_s


def _period_s(stamps_s: NDArray[np.float64]) -> float | None:
    """Return the typical time between two pictures; None if their time stamps do not show it."""
    rises_s = np.diff(stamps_s[np.isfinite(stamps_s)])
    rises_s = rises_s[rises_s > -RESTART_S]
    (real,) = np.nonzero(rises_s > MIN_RISE_S)
    if 2 * len(real) >= len(rises_s) > 0:
        return float(np.median(rises_s[real]))
    # many share a time stamp, or nearly: complete groups show how many there are per second
    count = int(real[-1]) + 1 if len(real) else len(rises_s)
    span_s = float(rises_s[:count].sum())
    return span_s / count if span_s > 0 else None


def _declared_rate(stream: VideoStream, *, made_up: bool) -> tuple[float | None, float | None]:
    """Return the rate that a header declares, or the one that is not trusted.

    Args:
        stream: the video.
        made_up: whether all rates but the codec's are made up by the reader.
    """
    codec_rate = stream.codec_context.framerate
    rates: list[Fraction | None] = [codec_rate] if made_up else [codec_rate, stream.guessed_rate, stream.average_rate]
    values = [float(rate) for rate in rates if rate]
    believed = [value for value in values if MIN_RATE_FPS <= value <= MAX_RATE_FPS]
    if believed:
        return believed[0], None
    return None, values[0] if values else None
