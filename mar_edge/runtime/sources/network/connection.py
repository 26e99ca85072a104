"""One connection to a network source: a thread of its own opens, reads and decodes it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import av
from av.codec.context import Flags as DecoderFlags
from av.container import InputContainer
from av.stream import Discard
from av.video.stream import VideoStream

from mar_edge.errors import SourceError, SourceTimeoutError
from mar_edge.reporting import Warn
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.sources.network import causes
from mar_edge.runtime.sources.network.address import NetworkAddress
from mar_edge.runtime.sources.network.answer import await_answer, through_proxy
from mar_edge.runtime.sources.network.handover import Handover
from mar_edge.runtime.sources.network.live_stream import FOREIGN, LiveStream
from mar_edge.runtime.video.container import reason_of
from mar_edge.runtime.video.decoding import NoPictureError
from mar_edge.runtime.video.limits import DECODER_OPTIONS
from mar_edge.runtime.video.opening import OpenVideo, choose_stream
from mar_edge.runtime.video.reader import steady_frames

MAX_THREADS = 4
"""Of a decoder, for the parts of one picture: more than one picture at a time would delay each of them."""

_GENERATES_TIMES = 0x1
"""AVFMT_FLAG_GENPTS, which PyAV sets: it holds packets until their time is known."""

_NAME = Path("<stream>")


class NetworkConnection:
    """One opening of a network source.

    FFmpeg's read cannot be interrupted by another thread: only its own time-out ends it. So a thread reads, and closes
    what it has opened; `read` and `close` of this object wait for the thread no longer than they are told to. After `close`
    a thread that waits for a silent server ends within `read_timeout_s`, one that opens within `connect_timeout_s`, one
    that looks up a host's name when the system gives up.

    FFmpeg opens an address only when its server answers, see `answer.await_answer`.

    Args:
        address: what to open.
        warn: called with one sentence.
        on_drop: called when a live frame is replaced before it is read.
        connect_timeout_s: for the server's first answer, and again for FFmpeg to open it.
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
        if not self._opened.wait(2 * self._connect_timeout_s + 1.0):
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
            error = SourceError(self._renamed(str(seen)), code=seen.code, retry=seen.retry)
        except Exception as seen:  # a fault in here must reach the reader, too
            error = SourceError(f"{self._address.name} cannot be read: {type(seen).__name__}: {reason_of(seen)}")
        finally:
            self._frames.end(error)
            self._opened.set()

    def _open(self) -> InputContainer | SourceError:
        if not through_proxy(self._address):
            try:
                await_answer(self._address, self._connect_timeout_s, self._frames.closing)
            except (OSError, ValueError) as error:
                return causes.no_answer(self._address, error, self._connect_timeout_s)
        began_s = time.monotonic()
        timeouts = (self._connect_timeout_s, self._read_timeout_s)
        try:
            return av.open(
                self._address.url, "r", options=self._address.options(), metadata_errors="replace", timeout=timeouts
            )
        except FOREIGN as error:
            seen = error
        return causes.why_not_opened(self._address, seen, time.monotonic() - began_s, self._connect_timeout_s)

    def _deliver(self, container: InputContainer) -> SourceError | None:
        """Hand over all frames; return why they ended, None at the end of a file."""
        stream = choose_stream(container, _NAME)
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
        with OpenVideo(_NAME, container=container) as video:
            for shown in steady_frames(video, lambda message: self._warn(self._renamed(message))):
                shown_s = shown.time_s
                if not self._hand_over(shown):
                    return None
            reason = video.stopped
        if reason is None and duration_s - shown_s > max(1.0, 0.05 * duration_s):
            reason = f"it should last {duration_s:.1f} s"
        if reason is None:
            return None
        return SourceError(
            f"{name} ended after {shown_s:.1f} s: {reason}. Download it, and use the file", code="ended", retry=False
        )

    def _renamed(self, message: str) -> str:
        """Return a message about a file with the address in its place: a `Path` cannot hold one."""
        return self._address.name + message.removeprefix(str(_NAME)) if message.startswith(str(_NAME)) else message

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
        live = LiveStream(container, stream, self._address, self._warn, self._frames.closing)
        try:
            for frame in live.frames(self._picture_timeout_s, self._read_timeout_s):
                if not self._hand_over(frame):
                    return None
        finally:
            live.damage.finish()
        return None if self._frames.closing.is_set() else live.ended
