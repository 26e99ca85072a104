"""A session: push frames in, get predictions out. The caller owns the loop."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import FrameError, OptionError
from mar_edge.runtime.clips.preprocess import Color, check_frame, preprocess
from mar_edge.runtime.clips.ring_buffer import RingBuffer
from mar_edge.runtime.clips.sampler import Sampler
from mar_edge.runtime.engines.engine import Engine
from mar_edge.runtime.sources.source import no_warnings
from mar_edge.runtime.streams.events import EventDetector, EventRule
from mar_edge.runtime.streams.results import Event, Prediction
from mar_edge.runtime.streams.smoothing import Smoother, softmax

TOP = 5


class Session:
    """Recognition on one stream of frames.

    A gap in time or a change of the frames' size empties the window: no window mixes before and after.
    Not thread-safe; use one session for each stream and thread.

    Args:
        engine: what runs the graph.
        stream: name of the stream, for its results.
        hop: sampled frames between two inferences; by default an eighth of the window.
        smoothing_s: time constant of the score average, seconds.
        rule: when events begin and end.

    Attributes:
        warnings: what happened that an operator should know, the newest 100; whoever reads it may empty it.
        frames: frames pushed so far.
        inferences: inferences so far.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        stream: str = "session",
        hop: int | None = None,
        smoothing_s: float = 0.3,
        rule: EventRule | None = None,
    ) -> None:
        manifest = engine.bundle.manifest
        self.geometry = manifest.geometry
        if hop is not None and (not isinstance(hop, int) or not 1 <= hop <= self.geometry.frames):
            raise OptionError(f"hop {hop!r} is not a whole number from 1 to the window's {self.geometry.frames} frames")
        rule = rule or EventRule()
        if rule.idle_label == "auto":
            rule = replace(rule, idle_label=manifest.idle_label)
        elif rule.idle_label is not None and rule.idle_label not in manifest.labels:
            raise OptionError(f"idle_label '{rule.idle_label}' is not one of {', '.join(manifest.labels[:20])}")
        self.stream = stream
        self.hop = hop or max(1, self.geometry.frames // 8)
        self.warnings = no_warnings()
        self.frames = 0
        self.inferences = 0
        self._engine = engine
        self._labels = manifest.labels
        self._resize = manifest.resize
        self._rate_fps = manifest.rate_fps
        self._sampler = Sampler(manifest.rate_fps)
        self._window = RingBuffer(self.geometry.frames, self.geometry.clip_shape[1:])
        self._smoother = Smoother(smoothing_s)
        self._detector = EventDetector(stream, rule)
        self._last_s = -math.inf
        self._shape: tuple[int, ...] | None = None
        self._fresh = 0
        self._repeats = 0
        self._told_slow = False
        self._warned_gap_at: int | None = None
        self._ended: tuple[Event, ...] = ()

    def push(
        self, frame: NDArray[np.uint8], time_s: float, *, color: Color = "bgr", arrived_s: float | None = None
    ) -> Prediction | None:
        """Add a frame.

        Args:
            frame: uint8 (H, W, 3); copied, the caller may use it again.
            time_s: when it was taken, in seconds; never less than the frame before.
            color: order of its channels; `bgr` as OpenCV gives it.
            arrived_s: `time.monotonic()` at its capture, for the latency; by default now.

        Returns:
            A prediction when the window is full and has moved by `hop` sampled frames, else None.

        Raises:
            FrameError: on a wrong shape, type or time; the session is as it was before.
            EngineError: if the engine fails.
        """
        arrived_s = time.monotonic() if arrived_s is None else arrived_s
        check_frame(frame)
        if color not in ("bgr", "rgb"):
            raise FrameError(f"color is 'bgr' or 'rgb', not {color!r}")
        if not _is_time(time_s):
            raise FrameError(f"time_s is {time_s!r}; give the capture time in seconds")
        if time_s < self._last_s:
            raise FrameError(
                f"time_s went backwards from {self._last_s:.3f} to {time_s:.3f} s; call reset() for a new stream"
            )
        self._cut_if_broken(frame, time_s)
        self._last_s = time_s
        index = self.frames
        self.frames += 1
        places = min(self._sampler.take(time_s), self.geometry.frames)
        if not places:
            return None
        picture = preprocess(
            frame, height_px=self.geometry.height_px, width_px=self.geometry.width_px, resize=self._resize, color=color
        )
        for _ in range(places):
            self._window.push(picture)
        self._fresh += places
        self._notice_slow_source(places)
        if not self._window.full or self._fresh < self.hop:
            return None
        self._fresh = 0
        return self._predict(index, time_s, arrived_s)

    def reset(self) -> None:
        """Start anew: empty window, no open event, and time may begin anywhere."""
        self._cut()
        self._last_s = -math.inf
        self._shape = None

    def finish(self) -> tuple[Event, ...]:
        """End the stream; return the events that no prediction has carried yet."""
        self._cut()
        ended, self._ended = self._ended, ()
        return ended

    def _predict(self, index: int, time_s: float, arrived_s: float) -> Prediction:
        logits = self._engine.infer(self._window.window()[None])
        self.inferences += 1
        smoothed = self._smoother.update(softmax(logits[0]), time_s)
        scores = dict(zip(self._labels, smoothed.tolist(), strict=True))
        ended = self._ended + self._detector.update(scores, time_s)
        self._ended = ()
        top = tuple(sorted(scores.items(), key=lambda item: -item[1])[:TOP])
        return Prediction(
            stream=self.stream,
            time_s=time_s,
            frame=index,
            label=top[0][0],
            score=top[0][1],
            top=top,
            latency_ms=1000 * (time.monotonic() - arrived_s),
            mask=self._engine.variant.mask,
            engine=self._engine.name,
            events=ended,
        )

    def _cut_if_broken(self, frame: NDArray[np.uint8], time_s: float) -> None:
        if self._shape is not None and frame.shape != self._shape:
            self.warnings.append(
                f"{self.stream}: frame size changed from {self._shape[1]}x{self._shape[0]} to "
                f"{frame.shape[1]}x{frame.shape[0]} at {time_s:.2f} s; the window starts anew"
            )
            self._cut()
        elif self._sampler.is_gap(time_s):
            if self._warned_gap_at != self.inferences:  # once until the next result, however many gaps there are
                self._warned_gap_at = self.inferences
                self.warnings.append(
                    f"{self.stream}: no frame for {time_s - self._last_s:.2f} s before {time_s:.2f} s; the window starts anew"
                )
            self._cut()
        self._shape = frame.shape

    def _cut(self) -> None:
        self._ended += self._detector.finish()
        self._window.clear()
        self._sampler.reset()
        self._smoother.reset()
        self._fresh = 0

    def _notice_slow_source(self, places: int) -> None:
        """Warn once when repeated frames have come to a whole window more than frames that were not repeated."""
        self._repeats = max(0, self._repeats + (places - 1 if places > 1 else -1))
        if self._repeats >= self.geometry.frames and not self._told_slow:
            self._told_slow = True
            self.warnings.append(
                f"{self.stream}: gives fewer than the {self._rate_fps:g} frames a second that the model wants; "
                "frames are repeated, and recognition may suffer"
            )


def _is_time(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value)
