"""One running GStreamer pipeline, and the frames at its end."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from mar_edge.errors import SourceCode, SourceError, SourceTimeoutError
from mar_edge.reporting import Warnings
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.sources.gstreamer.errors import cause_of, reason_in
from mar_edge.runtime.sources.gstreamer.library import GstLibrary
from mar_edge.runtime.sources.gstreamer.pipeline import FORMATS, SINK
from mar_edge.runtime.sources.pixel_layout import PixelFormat, PixelLayout
from mar_edge.runtime.video.limits import why_too_large

CLOSE_S = 0.8
"""How long closing waits for a driver; one that takes longer is released when it returns."""

_TICK_S = 0.1
_HELD_FRAMES = 2
"""Frames of a recording that wait to be read."""

T = TypeVar("T")


class PipelineOwner(Protocol):
    """What a connection tells the source that opened it."""

    name: str
    dropped: int
    warnings: Warnings

    def error(self, message: str, code: SourceCode, *, retry: bool = True) -> SourceError:
        """Return an error without passwords."""
        ...


class GstreamerConnection:
    """A pipeline with the appsink of `whole_pipeline`.

    Args:
        source: whose connection it is.
        library: GStreamer.
        pipeline: not started.
    """

    def __init__(self, source: PipelineOwner, library: GstLibrary, pipeline: Any) -> None:
        self._source = source
        self._gst, self._glib, self._video = library
        self._pipeline = pipeline
        self._sink = pipeline.get_by_name(SINK)
        self._bus = pipeline.get_bus()
        self._live = False
        self._opening = True
        # not the error itself: its traceback would refer to this object, and keep the pipeline until the next collection
        self._failure: tuple[str, SourceCode, bool] | None = None
        self._caps: Any = None
        self._layout: PixelLayout | None = None
        self._last_s: float | None = None
        self._start_s = 0.0
        self._closed = threading.Event()
        self._closing = threading.Lock()
        # time stamp and arrival of the buffers that came to the appsink and were not read yet
        self._arrivals: deque[tuple[int, float]] = deque(maxlen=10_000)
        self._sink.set_property("sync", False)
        self._sink.set_property("max-buffers", 1)
        self._pad = self._sink.get_static_pad("sink")
        self._probe = self._pad.add_probe(self._gst.PadProbeType.BUFFER, self._arrived)

    def start(self, timeout_s: float) -> bool:
        """Start the pipeline and wait until it has a frame; return whether it is live.

        Raises:
            SourceError: if it fails or takes too long.
        """
        end_s = time.monotonic() + timeout_s
        state = self._gst.State
        result = self._within(end_s, lambda: self._pipeline.set_state(state.PAUSED))
        changed = self._gst.StateChangeReturn
        while result == changed.ASYNC:
            self._check(end_s)
            result = self._pipeline.get_state(int(_TICK_S * 1e9))[0]
        self._check(end_s, failed=result == changed.FAILURE)
        self._live = result == changed.NO_PREROLL
        self._sink.set_property("drop", self._live)
        self._sink.set_property("max-buffers", 1 if self._live else _HELD_FRAMES)
        result = self._within(end_s, lambda: self._pipeline.set_state(state.PLAYING))
        self._check(end_s, failed=result == changed.FAILURE)
        while not self._arrivals and not self._sink.is_eos():
            self._check(end_s)
            self._closed.wait(0.01)
        self._opening = False
        return self._live

    def read(self, timeout_s: float) -> Frame | None:
        """Return the next frame, of a live pipeline the newest; None at the end of a recording.

        Raises:
            SourceTimeoutError: if none came in time.
            SourceError: if the pipeline failed, or a live one ended.
        """
        end_s = time.monotonic() + timeout_s
        while not self._closed.is_set():
            left_s = max(0.0, min(_TICK_S, end_s - time.monotonic()))
            sample = self._sink.try_pull_sample(int(left_s * 1e9))
            self._look_at_bus()  # also when frames come: what is not taken from it piles up
            if self._closed.is_set():
                break
            if sample is not None:
                if (frame := self._frame(sample)) is not None:
                    return frame
                continue
            self._raise_failure()
            if self._sink.is_eos():
                if self._live:
                    raise self._source.error("the live pipeline ended", "ended")
                return None
            if time.monotonic() >= end_s:
                raise SourceTimeoutError(
                    f"{self._source.name}: no frame for {timeout_s:g} s; check the camera or server"
                )
        return None

    def close(self) -> None:
        """Stop the pipeline; a read that waits returns None within 0.1 s."""
        with self._closing:
            if self._closed.is_set():
                return
            self._closed.set()
            stopping = self._thread(self._stop)
            stopping.join(CLOSE_S)
            if stopping.is_alive():
                self._source.warnings(f"{self._source.name} does not respond; it is released when its driver returns")

    def _stop(self) -> None:
        self._pipeline.set_state(self._gst.State.NULL)
        # the probe refers to this object, which refers to the pipeline: no garbage collector sees that circle
        self._pad.remove_probe(self._probe)

    def _arrived(self, _pad: Any, info: Any) -> Any:
        self._arrivals.append((info.get_buffer().pts, time.monotonic()))
        return self._gst.PadProbeReturn.OK

    def _frame(self, sample: Any) -> Frame | None:
        """Return the frame of a sample; None if its time does not rise."""
        buffer = sample.get_buffer()
        layout = self._layout_of(sample, buffer)
        arrived_s = self._take_arrival(buffer.pts)
        time_s = self._time_s(sample, buffer.pts, arrived_s)
        if self._last_s is not None and time_s <= self._last_s:
            self._source.dropped += 1
            return None
        self._last_s = time_s
        data = buffer.extract_dup(0, buffer.get_size())  # a driver has few buffers; it gets this one back at once
        if len(data) < layout.size_bytes:
            raise self._source.error(f"a frame has {len(data):,} bytes instead of {layout.size_bytes:,}", "unreadable")
        return layout.frame(data, time_s=time_s, arrived_s=arrived_s if self._live else None)

    def _take_arrival(self, pts: int) -> float:
        """Return when a buffer came, and count those before it, which it replaced."""
        arrived_s = time.monotonic()
        while self._arrivals:
            stamp, arrived_s = self._arrivals.popleft()
            if stamp == pts:
                break
            if self._live:
                self._source.dropped += 1
        return arrived_s

    def _time_s(self, sample: Any, pts: int, arrived_s: float) -> float:
        """Return the time since the pipeline started; without time stamps, since the first frame came."""
        if pts != self._gst.CLOCK_TIME_NONE:
            running = sample.get_segment().to_running_time(self._gst.Format.TIME, pts)
            if running != self._gst.CLOCK_TIME_NONE:
                return float(running / 1e9)
        if self._last_s is None:
            self._start_s = arrived_s
        return arrived_s - self._start_s

    def _layout_of(self, sample: Any, buffer: Any) -> PixelLayout:
        caps = sample.get_caps()
        if self._layout is None or not caps.is_equal(self._caps):
            self._layout, self._caps = self._layout_in(caps), caps
        meta = self._video.buffer_get_video_meta(buffer)
        if meta is None:
            return self._layout
        planes = meta.n_planes
        return self._layout.placed(strides=tuple(meta.stride[:planes]), offsets=tuple(meta.offset[:planes]))

    def _layout_in(self, caps: Any) -> PixelLayout:
        info = self._video.VideoInfo
        if hasattr(info, "new_from_caps"):  # from GStreamer 1.20
            about = info.new_from_caps(caps)
        else:
            about = info()
            about.from_caps(caps)
        name = about.finfo.name
        stored: PixelFormat = FORMATS[name]
        if why := why_too_large(about.width, about.height):
            raise self._source.error(why, "codec")
        is_bt709 = about.colorimetry.matrix == self._video.VideoColorMatrix.BT709
        planes = about.finfo.n_planes
        return PixelLayout(
            stored,
            about.width,
            about.height,
            tuple(about.stride[:planes]),
            tuple(about.offset[:planes]),
            matrix="bt709" if is_bt709 else "bt601",
        )

    def _check(self, end_s: float, *, failed: bool = False) -> None:
        """Raise what the bus reports, or that opening takes too long."""
        if failed:
            self._look_at_bus(wait_s=_TICK_S)
        else:
            self._look_at_bus()
        self._raise_failure()
        if failed:
            raise self._source.error("the pipeline cannot be started", "unreadable")
        if time.monotonic() >= end_s:
            raise self._source.error("no frame came while it was opened; check the camera or server", "timeout")

    def _look_at_bus(self, wait_s: float = 0.0) -> None:
        """Take messages from the bus; keep the first error."""
        while (
            message := self._bus.timed_pop_filtered(int(wait_s * 1e9), self._gst.MessageType.ERROR)
        ) is not None and self._failure is None:
            error, details = message.parse_error()
            reason = reason_in(details or "")
            code = cause_of(self._gst, error, details or "")
            text = f"{message.src.get_name()}: {error.message} {reason}".strip()
            retry = not (self._opening and (code == "codec" or _reads_file(message.src)))
            self._failure = text, code, retry

    def _raise_failure(self) -> None:
        if self._failure is not None:
            message, code, retry = self._failure
            raise self._source.error(message, code, retry=retry)

    def _within(self, end_s: float, call: Callable[[], T]) -> T:
        """Call a function that may hang in a driver; raise an error if it takes too long."""
        results: list[T] = []
        thread = self._thread(lambda: results.append(call()))
        thread.join(max(0.0, end_s - time.monotonic()))
        if not results:
            raise self._source.error("its driver does not respond while it is opened; reconnect it", "timeout")
        return results[0]

    def _thread(self, call: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=call, name=f"mar-edge {self._source.name}", daemon=True)
        thread.start()
        return thread


def _reads_file(element: Any) -> bool:
    """Return whether an element reads files, which are not there later either."""
    factory = element.get_factory() if hasattr(element, "get_factory") else None
    return factory is not None and factory.get_name() in ("filesrc", "multifilesrc", "splitfilesrc")
