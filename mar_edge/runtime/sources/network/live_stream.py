"""A live stream: its packets, the pictures in them, and their times."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from mar_edge.errors import SourceError
from mar_edge.reporting import Warn
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.sources.network import causes
from mar_edge.runtime.sources.network.address import NetworkAddress
from mar_edge.runtime.sources.network.backlog import Backlog
from mar_edge.runtime.sources.network.clock import LiveClock
from mar_edge.runtime.sources.network.damage import Damage
from mar_edge.runtime.video.container import reason_of
from mar_edge.runtime.video.limits import why_too_large
from mar_edge.runtime.video.orientation import Display

LOST_S = 5.0
"""Packets without a picture for this long cannot be decoded any more."""

MAX_DELAY_S = 2.0
"""Of the pictures of HLS, for the time that a segment takes to arrive."""

FOREIGN = (av.error.FFmpegError, OSError, ValueError, IndexError)
"""What PyAV raises for foreign data; a damaged file may name a stream by a number that does not exist."""

_MADE_UP_TIMES = 0x80
"""AVFMT_NOTIMESTAMPS: formats whose time stamps FFmpeg makes up, at 25 per second."""

_UNTIMED = ("mpjpeg",)


class LiveStream:
    """Decodes what a live stream sends, packet by packet, and gives each picture its time.

    Args:
        container: open, with its decoder set up; used by one thread.
        stream: the one to decode.
        address: for messages.
        warn: called with one sentence.
        closing: set when no more frames are wanted.

    Attributes:
        damage: what could not be decoded.
        ended: why there are no more frames; None before.
    """

    def __init__(
        self,
        container: InputContainer,
        stream: VideoStream,
        address: NetworkAddress,
        warn: Warn,
        closing: threading.Event,
    ) -> None:
        self.damage = Damage(address.name, warn)
        self.ended: SourceError | None = None
        self._container = container
        self._stream = stream
        self._address = address
        self._warn = warn
        self._closing = closing
        made_up = container.format.flags & _MADE_UP_TIMES or container.format.name in _UNTIMED
        self._clock = LiveClock(address.name, warn, stamped=not made_up)
        # segments of HLS come all at once: without a pace most of their frames would be replaced
        self._pace = _Pace(closing) if container.format.name == "hls" else None
        self._backlog = Backlog()
        self._size: tuple[int, int] = (0, 0)

    def frames(self, picture_timeout_s: float, read_timeout_s: float) -> Iterator[Frame]:
        """Yield frames until the stream ends, is lost or is no longer wanted.

        Raises:
            SourceError: if it stalls or cannot be decoded.
        """
        shown_s, limit_s = time.monotonic(), picture_timeout_s
        for packet, waited_s in self._packets(read_timeout_s):
            if self._closing.is_set():
                return
            now_s = time.monotonic()
            self.damage.report(now_s)
            if self._wanted(packet, now_s, waited_s):
                for picture in self._decode(packet):
                    yield self._frame(picture, now_s)
                    shown_s, limit_s = time.monotonic(), LOST_S
            if now_s - shown_s > limit_s:
                raise self._no_picture(now_s - shown_s)

    def _packets(self, read_timeout_s: float) -> Iterator[tuple[Packet[VideoStream], float]]:
        """Yield packets with how long each was waited for; sets `ended`."""
        packets = self._container.demux(self._stream)
        while True:
            asked_s = time.monotonic()
            try:
                packet = next(packets, None)
            except FOREIGN as error:
                silent = isinstance(error, av.error.ExitError | av.error.TimeoutError)
                self.ended = (
                    causes.stalled(self._address, read_timeout_s) if silent else causes.ended(self._address, error)
                )
                return
            waited_s = time.monotonic() - asked_s
            if packet is None or packet.size == 0:
                self.ended = causes.ended(self._address)
                return
            if waited_s >= read_timeout_s:  # FFmpeg gives out what its parser held, and would wait as long again
                self.ended = causes.stalled(self._address, read_timeout_s)
                return
            yield packet, waited_s

    def _wanted(self, packet: Packet[VideoStream], now_s: float, waited_s: float) -> bool:
        if self._pace is not None:
            return True
        stamp = packet.dts if packet.dts is not None else packet.pts
        stamp_s = float(stamp * packet.time_base) if stamp is not None and packet.time_base else None
        episodes = self._backlog.episodes
        takes = self._backlog.takes(stamp_s, now_s, waited_s, key=packet.is_keyframe)
        if self._backlog.episodes > episodes == 0:
            self._warn(
                f"{self._address.name}: decoding is slower than the stream, so pictures are left out up to the newest. "
                "Choose smaller pictures or fewer per second in the camera's settings"
            )
        return takes

    def _decode(self, packet: Packet[VideoStream]) -> Iterator[VideoFrame]:
        if packet.is_corrupt:
            self.damage.add("data is missing")
        try:
            for picture in packet.decode():
                if picture.is_corrupt and not packet.is_corrupt:
                    self.damage.add("data is missing")
                yield picture
        except av.error.EOFError:
            return
        except av.error.DecoderNotFoundError as error:
            reason = reason_of(error)
        except FOREIGN as error:
            self.damage.add(reason_of(error))
            return
        else:
            return
        raise causes.undecodable(self._address, reason)

    def _frame(self, picture: VideoFrame, arrived_s: float) -> Frame:
        if (picture.width, picture.height) != self._size:
            self._size = (picture.width, picture.height)
            if why := why_too_large(*self._size, picture.format):
                raise SourceError(f"{self._address.name} {why.partition('. ')[0]}", code="codec", retry=False)
            self._sizes = Display(self._stream)
            self._pictures = _Pictures(Display(self._stream))
        stamp_s = float(picture.pts * picture.time_base) if picture.pts is not None and picture.time_base else None
        time_s = self._clock.time_s(stamp_s, arrived_s)
        if self._pace is not None:
            arrived_s = self._pace.wait(time_s)
        return Frame(
            picture=partial(self._pictures.convert, picture),
            time_s=time_s,
            size_px=self._sizes.size(picture),
            arrived_s=arrived_s,
        )

    def _no_picture(self, silent_s: float) -> SourceError:
        if self.damage.total:
            what = f"no picture for {silent_s:.0f} s, only damaged packets; its codec may have changed"
            return SourceError(f"{self._address.name}: {what}. It is opened again", code="codec")
        return SourceError(
            f"{self._address.name}: no picture for {silent_s:.0f} s, though packets come. "
            "Set a shorter interval of key frames (GOP, I-frame interval) in the camera",
            code="stalled",
        )


class _Pictures:
    """Converts pictures of one size, in whichever thread asks for them."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._converting = threading.Lock()

    def convert(self, picture: VideoFrame) -> NDArray[np.uint8]:
        with self._converting:
            return self._display.picture(picture)


class _Pace:
    """Shows pictures that come all at once at the pace of their times.

    A picture that is late delays those that follow, so that they do not replace each other, up to `MAX_DELAY_S` in all.
    """

    def __init__(self, closing: threading.Event) -> None:
        self._closing = closing
        self._began_s: float | None = None
        self._delay_s = 0.0

    def wait(self, time_s: float) -> float:
        """Wait until a picture is due, or no more are wanted; return when that is."""
        now_s = time.monotonic()
        if self._began_s is None:
            self._began_s = now_s - time_s
        late_s = now_s - (self._began_s + time_s)
        if late_s > MAX_DELAY_S:
            self._began_s, self._delay_s = now_s - time_s, 0.0
        elif late_s > 0 and self._delay_s + late_s <= MAX_DELAY_S:
            self._began_s += late_s
            self._delay_s += late_s
        self._closing.wait(max(0.0, self._began_s + time_s - now_s))
        return time.monotonic()
