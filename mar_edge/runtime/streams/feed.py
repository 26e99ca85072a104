"""What a model is given of a stream: a window every few sampled frames, and where the stream is broken."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

import numpy as np
from numpy.typing import NDArray

from mar_edge.counting import counted
from mar_edge.errors import OptionError
from mar_edge.model_spec import ModelSpec
from mar_edge.runtime.clips.sampler import Sampler
from mar_edge.runtime.clips.windows import Step, Window
from mar_edge.runtime.frame import Frame


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInput:
    """What one inference sees, and what its result says about it.

    Attributes:
        clip: uint8 (T, H, W, 3) RGB; a view that the next frame changes, see `kept`.
        time_s: of its newest frame in the stream's time, seconds.
        frame: index of that frame.
        arrived_s: `time.monotonic()` at its arrival.
        captured_at: the same moment, UTC; None for a recording.
        doubt: why it shows too little for a reliable answer; None if it shows enough.
        holds: whether some of it is a picture that the source held.
        truth: what a scripted source shows with its newest frame; None for a real one.
        truth_since_s: since when.
    """

    clip: NDArray[np.uint8]
    time_s: float
    frame: int
    arrived_s: float
    captured_at: datetime | None
    doubt: str | None
    holds: bool
    truth: str | None
    truth_since_s: float

    def kept(self) -> ModelInput:
        """Return the same with a clip of its own."""
        return replace(self, clip=self.clip.copy())


@dataclass(frozen=True, slots=True)
class Fed:
    """What a frame changed.

    Attributes:
        input: what the model is to be given now; None most of the time.
        cut: why no input contains both this frame and an earlier one; None if one may.
        sampled: whether the model takes the frame.
        slow: whether the source is too slow for the model, said once.
    """

    input: ModelInput | None
    cut: str | None
    sampled: bool
    slow: bool


class Feed:
    """Makes the inputs of one stream for one model.

    Args:
        spec: the model.
        hop: sampled frames between two inputs; by default an eighth of the window.

    Attributes:
        hop: sampled frames between two inputs.
        frames: frames so far; repeats of a held one are not counted.
        inputs: inputs so far.
        rate_fps: frames per second that the model expects.
        max_gap_s: longest time without a frame that a window may span, seconds.

    Raises:
        OptionError: if the hop is not within the window.
    """

    def __init__(self, spec: ModelSpec, *, hop: int | None = None) -> None:
        length = spec.geometry.frames
        if hop is not None and (not isinstance(hop, int) or not 1 <= hop <= length):
            raise OptionError(
                f"hop {hop!r} is invalid; use an integer from 1 to the window's {counted(length, 'frame')}"
            )
        self.hop = hop or max(1, length // 8)
        self.frames = 0
        self.inputs = 0
        self.rate_fps = spec.rate_fps
        self.max_gap_s = Sampler(spec.rate_fps).max_gap_s
        self._length = length
        self._window = Window(spec)
        self._fresh = 0
        self._repeats = 0
        self._told_slow = False
        self._truth: str | None = None
        self._truth_since_s = 0.0

    def add(self, frame: Frame, *, utc_of: Callable[[float], datetime] | None = None) -> Fed:
        """Add a frame, whose time is the stream's.

        Args:
            frame: of the stream.
            utc_of: the UTC time of a `time.monotonic()`; None for a recording.

        Raises:
            FrameError: on a wrong shape, type or time; the feed is as it was before.
        """
        step = self._window.add(frame)
        if step.cut is not None:
            self._fresh = 0
        self.frames += not (frame.held and self.frames)
        self._fresh += step.places
        if frame.truth != self._truth:
            self._truth, self._truth_since_s = frame.truth, frame.time_s
        slow = self._is_slow(step)
        if not step.places or not step.full or self._fresh < self.hop:
            return Fed(None, step.cut, bool(step.places), slow)
        self._fresh = 0
        self.inputs += 1
        arrived_s = time.monotonic() if frame.arrived_s is None else frame.arrived_s
        ready = ModelInput(
            clip=self._window.clip,
            time_s=frame.time_s,
            frame=self.frames - 1,
            arrived_s=arrived_s,
            captured_at=utc_of(arrived_s) if utc_of else None,
            doubt=self._window.doubt,
            holds=self._window.holds,
            truth=self._truth,
            truth_since_s=self._truth_since_s,
        )
        return Fed(ready, step.cut, True, slow)

    def reset(self) -> None:
        """Empty the window; time may begin anywhere."""
        self._window.reset()
        self._fresh = 0

    def release(self) -> None:
        """Give the window's memory back; no frame follows. The counts stay."""
        del self._window

    def _is_slow(self, step: Step) -> bool:
        """Return whether repeated frames exceed the other frames by a full window, once."""
        if not step.places or self._told_slow:
            return False
        self._repeats = max(0, self._repeats + (step.places - 1 if step.places > 1 else -1))
        self._told_slow = self._repeats >= self._length
        return self._told_slow


def utc_now(arrived_s: float) -> datetime:
    """Return the UTC time of a `time.monotonic()` by the present clocks."""
    return datetime.now(timezone.utc) - timedelta(seconds=time.monotonic() - arrived_s)
