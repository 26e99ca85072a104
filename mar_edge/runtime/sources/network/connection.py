"""One connection to a network source: a thread of its own opens, reads and decodes it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags as DecoderFlags
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from mar_edge.errors import SourceError, SourceTimeoutError
from mar_edge.reporting import Warn
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.sources.network import causes
from mar_edge.runtime.sources.network.address import NetworkAddress
from mar_edge.runtime.sources.network.backlog import Backlog
from mar_edge.runtime.sources.network.clock import LiveClock
from mar_edge.runtime.sources.network.damage import Damage
from mar_edge.runtime.sources.network.handover import Handover
from mar_edge.runtime.video.container import reason_of
from mar_edge.runtime.video.decoding import NoPictureError
from mar_edge.runtime.video.limits import DECODER_OPTIONS, why_too_large
from mar_edge.runtime.video.opening import OpenVideo, choose_stream
from mar_edge.runtime.video.orientation import Display
from mar_edge.runtime.video.reader import steady_frames

LOST_S = 5.0
"""Packets without a picture for this long cannot be decoded any more."""

MAX_DELAY_S = 2.0
"""Of the pictures of HLS, for the time that a segment takes to arrive."""

MAX_THREADS = 4
"""Of a decoder, for the parts of one picture: more than one picture at a time would delay each of them."""

_GENERATES_TIMES = 0x1
"""AVFMT_FLAG_GENPTS, which PyAV sets: it holds packets until their time is known."""

_MADE_UP_TIMES = 0x80
"""AVFMT_NOTIMESTAMPS: formats whose time stamps FFmpeg makes up, at 25 per second."""

_UNTIMED = ("mpjpeg",)
_ANSWERS = (av.error.FFmpegError, OSError, ValueError, IndexError)
"""What PyAV raises for foreign data; a damaged file may name a stream by a number that does not exist."""


class NetworkConnection:
    """One opening of a network source.

    FFmpeg's read cannot be interrupted by another thread: only its own time-out ends it. So a thread reads, and closes
    what it has opened; `read` and `close` of this object wait for the thread no longer than they are told to. After `close`
    a thread that waits for a silent server ends within `read_timeout_s`, one that opens within `connect_timeout_s`, one
    that looks up a host's name when the system gives up.

    Args:
        address: what to open.
        warn: called with one sentence.
        on_drop: called when a live frame is replaced before it is read.
        connect_timeout_s: for the server's answer.
        read_timeout_s: for each packet.
        picture_timeout_s: for the first picture, which may be a key frame away, once packets come.

    Attributes:
        live: whether frames come at their own pace; valid once `open` has returned.
    """

    def __init__(
        self,
        address: NetworkAddress,
        *,
        warn: Warn,
        on_drop: Callable[[], None],
        connect_timeout_s: float,
        read_timeout_s: float,
        picture_timeout_s: float,
    ) -> None:
        self.live = True
        self._address = address
        self._warn = warn
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._picture_timeout_s = picture_timeout_s
        self._opened = threading.Event()  # or failed
        self._frames = Handover(on_drop)
        self._lines: list[tuple[int, str, str]] = []
        self._thread = threading.Thread(target=self._run, name=f"mar-edge {address.name}", daemon=True)

    def open(self) -> None:
        """Connect, and wait for the first picture.

        Raises:
            SourceError: if it cannot be opened, or no picture comes.
        """
        self._thread.start()
        # the thread's time-outs are exact but for the look-up of names
        failure: Exception | None = None
        if not self._opened.wait(self._connect_timeout_s + causes.PROBE_TIMEOUT_S + 1.0):
            failure = causes.timed_out(self._address, self._connect_timeout_s)
        elif not self._frames.ready(self._picture_timeout_s + self._read_timeout_s + 1.0):
            failure = causes.stalled(self._address, self._picture_timeout_s)
        failure = failure or self._frames.failure()
        if failure is not None:
            self.close()
            raise failure

    def read(self, timeout_s: float) -> Frame | None:
        """Return the next frame, see `Connection.read`; of a live stream the newest one."""
        if not self._frames.ready(timeout_s):
            raise SourceTimeoutError(
                f"{self._address.name}: no picture for {timeout_s:g} s. Check the camera and its network"
            )
        return self._frames.take()

    def close(self) -> None:
        """Tell the thread to end; a `read` that waits returns None at once."""
        self._frames.close()

    def _run(self) -> None:
        error: Exception | None = None
        try:
            # FFmpeg's own lines hold addresses with passwords; programs may have switched them on with av.logging
            with av.logging.Capture() as self._lines:
                container = self._open()
                if isinstance(container, SourceError):
                    error = container
                else:
                    with container:
                        error = self._deliver(container)
        except NoPictureError:
            error = causes.undecodable(self._address, "no picture in it can be decoded")
        except SourceError as seen:
            error = seen
        except Exception as seen:  # a fault in here must reach the reader, too
            error = SourceError(f"{self._address.name} cannot be read: {type(seen).__name__}: {reason_of(seen)}")
        finally:
            self._frames.end(error)
            self._opened.set()

    def _open(self) -> InputContainer | SourceError:
        began_s = time.monotonic()
        timeouts = (self._connect_timeout_s, self._read_timeout_s)
        try:
            return av.open(
                self._address.url, "r", options=self._address.options(), metadata_errors="replace", timeout=timeouts
            )
        except _ANSWERS as error:
            seen = error
        return causes.why_not_opened(self._address, seen, time.monotonic() - began_s, self._connect_timeout_s)

    def _deliver(self, container: InputContainer) -> SourceError | None:
        """Hand over all frames; return why they ended, None at the end of a file."""
        stream = choose_stream(container, Path(self._address.name))
        if container.format.name.endswith("_pipe"):
            raise SourceError(
                f"{self._address.name} is a still image, not a video. Use the camera's video address", retry=False
            )
        for other in container.streams:
            if other is not stream:
                other.discard = Discard.all  # HLS would load all its variants
        self.live = self._frames_come_by_themselves(container)
        if self.live:
            self._opened.set()
            return self._deliver_live(container, stream)
        self._frames.waits = True
        self._opened.set()
        return self._deliver_file(container)

    def _frames_come_by_themselves(self, container: InputContainer) -> bool:
        """Whether it is a live stream: RTSP, HLS without an end, or a body without a length."""
        if self._address.rtsp:
            return True
        if container.format.name == "hls":
            return container.duration is None
        return container.size <= 0

    def _deliver_file(self, container: InputContainer) -> SourceError | None:
        name, shown_s = self._address.name, 0.0
        duration_s = (container.duration or 0) / av.time_base
        with OpenVideo(Path(name), container=container) as video:
            for shown in steady_frames(video, self._warn):
                shown_s = shown.time_s
                if not self._hand_over(Frame(picture=shown.picture, time_s=shown_s, held=shown.held)):
                    return None
            reason = video.stopped
        if reason is None and duration_s - shown_s > max(1.0, 0.05 * duration_s):
            reason = f"it should last {duration_s:.1f} s"
        if reason is None:
            return None
        return SourceError(
            f"{name} ended after {shown_s:.1f} s: {reason}. Download it, and use the file", code="ended", retry=False
        )

    def _hand_over(self, frame: Frame) -> bool:
        self._lines.clear()
        return self._frames.put(frame)

    def _deliver_live(self, container: InputContainer, stream: VideoStream) -> SourceError | None:
        container.flags &= ~_GENERATES_TIMES
        decoder = stream.codec_context
        stream.thread_type = "SLICE"
        decoder.thread_count = MAX_THREADS
        decoder.flags |= DecoderFlags.low_delay
        decoder.options = dict(DECODER_OPTIONS)
        live = _LiveStream(container, stream, self._address, self._warn, self._frames.closing)
        try:
            for frame in live.frames(self._picture_timeout_s, self._read_timeout_s):
                if not self._hand_over(frame):
                    return None
        finally:
            live.damage.tell()
        return None if self._frames.closing.is_set() else live.ended


class _LiveStream:
    """Decodes what a live stream sends, packet by packet, and gives each picture its time."""

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
            now_s = time.monotonic()
            if self._wanted(packet, now_s, waited_s):
                for picture in self._decode(packet, now_s):
                    yield self._frame(picture, now_s)
                    shown_s, limit_s = time.monotonic(), LOST_S
            if self._closing.is_set():
                return
            if now_s - shown_s > limit_s:
                raise self._no_picture(now_s - shown_s)

    def _packets(self, read_timeout_s: float) -> Iterator[tuple[Packet[VideoStream], float]]:
        """Yield packets with how long each was waited for; sets `ended`."""
        packets = self._container.demux(self._stream)
        while True:
            asked_s = time.monotonic()
            try:
                packet = next(packets, None)
            except _ANSWERS as error:
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

    def _decode(self, packet: Packet[VideoStream], now_s: float) -> Iterator[VideoFrame]:
        if packet.is_corrupt:
            self.damage.add("data is missing", now_s)
        try:
            for picture in packet.decode():
                if picture.is_corrupt and not packet.is_corrupt:
                    self.damage.add("data is missing", now_s)
                yield picture
        except av.error.EOFError:
            return
        except av.error.DecoderNotFoundError as error:
            reason = reason_of(error)
        except _ANSWERS as error:
            self.damage.add(reason_of(error), now_s)
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
