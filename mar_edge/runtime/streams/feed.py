"""What a model is given of a stream, and where the stream is broken.

A windowed model is given a window every few sampled frames; a streaming model every time step, once.
"""

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
from mar_edge.runtime.clips.windows import Step, Window, WindowState
from mar_edge.runtime.frame import Frame


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInput:
    """What one inference sees, and what its result says about it.

    Attributes:
        clip: uint8 (T, H, W, 3) RGB, a window or a time step; a view that the next frame changes, see `kept`.
        time_s: of its newest frame in the stream's time, seconds.
        frame: index of that frame.
        arrived_s: `time.monotonic()` at its arrival.
        captured_at: the same moment, UTC; None for a recording.
        doubt: why it shows too little for a reliable answer; None if it shows enough.
        holds: whether some of it is a picture that the source held.
        truth: what a scripted source shows with its newest frame; None for a real one.
        truth_since_s: since when.
        step: number of the time step since the stream's begin or last break; 0 for a windowed model.
        predicts: whether a prediction is wanted; a streaming model runs every step, whatever the hop.
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
    step: int = 0
    predicts: bool = True

    def kept(self) -> ModelInput:
        """Return the same with a clip of its own."""
        return replace(self, clip=self.clip.copy())


@dataclass(frozen=True, slots=True)
class Fed:
    """What a frame changed.

    Attributes:
        inputs: what the model is to be given now, in order; empty most of the time, and several only for a streaming
            model whose source is slow. At most the last one predicts.
        cut: why no input contains both this frame and an earlier one; None if one may.
        sampled: whether the model takes the frame.
        slow: whether the source is too slow for the model, said once.
    """

    inputs: tuple[ModelInput, ...]
    cut: str | None
    sampled: bool
    slow: bool


@dataclass(frozen=True)
class FeedState:
    """Where a feed stands, without its pictures.

    Attributes:
        window: where its window stands.
        frames, inputs: so far.
        fresh: sampled frames since the last prediction.
        places: sampled frames since the begin or the last break.
        repeats: how far repeated frames exceed the others.
        told_slow: whether it was said that the source is slow.
        truth, truth_since_s: see `ModelInput`.
        mirror: whether it mirrors frames.
    """

    window: WindowState
    frames: int
    inputs: int
    fresh: int
    places: int
    repeats: int
    told_slow: bool
    truth: str | None
    truth_since_s: float
    mirror: bool = False


class Feed:
    """Makes the inputs of one stream for one model.

    Args:
        spec: the model.
        hop: sampled frames between two predictions; by default an eighth of the window, or a time step.
        mirror: whether the model sees the mirror image of every frame. What a scripted source says of its frames does not
            hold for that, and is left out.

    Attributes:
        hop: sampled frames between two predictions.
        mirror: as given.
        frames: frames so far; repeats of a held one are not counted.
        inputs: inputs so far.
        rate_fps: frames per second that the model expects.
        max_gap_s: longest time without a frame that a window may span, seconds.

    Raises:
        OptionError: if the hop is not within the window, or not of whole time steps of a streaming model.
    """

    def __init__(self, spec: ModelSpec, *, hop: int | None = None, mirror: bool = False) -> None:
        self.hop = _checked_hop(spec, hop)
        self.frames = 0
        self.inputs = 0
        self.rate_fps = spec.rate_fps
        self.max_gap_s = Sampler(spec.rate_fps).max_gap_s
        self._length = spec.geometry.frames
        self._step_frames = spec.geometry.tubelet_frames if spec.streaming else None
        self.mirror = mirror
        self._window = Window(spec, mirror=mirror)
        self._fresh = 0  # sampled frames since the last prediction; of a streaming model, those of whole time steps
        self._places = 0  # since the begin or the last break
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
            self._fresh = self._places = 0
        self.frames += not (frame.held and self.frames)
        self._places += step.places
        truth = None if self.mirror else frame.truth
        if truth != self._truth:
            self._truth, self._truth_since_s = truth, frame.time_s
        slow = self._is_slow(step)
        inputs: tuple[ModelInput, ...] = ()
        if step.places:
            ready = self._window_of(step) if self._step_frames is None else self._time_steps_of(step, self._step_frames)
            inputs = tuple(self._input(frame, utc_of, *one) for one in ready)
        self.inputs += len(inputs)
        return Fed(inputs, step.cut, bool(step.places), slow)

    def _window_of(self, step: Step) -> list[tuple[NDArray[np.uint8], int, bool]]:
        """Return the window if it is full and has moved by the hop, as clip, step number, and whether it predicts."""
        self._fresh += step.places
        if not step.full or self._fresh < self.hop:
            return []
        self._fresh = 0
        return [(self._window.clip, 0, True)]

    def _time_steps_of(self, step: Step, length: int) -> list[tuple[NDArray[np.uint8], int, bool]]:
        """Return the time steps that a frame completed, as clip, step number, and whether it predicts.

        Those that are older than the window are left out: they show what the next ones show.
        """
        rest = self._places % length
        done = self._places // length - (self._places - step.places) // length
        self._fresh += done * length
        predicts = done > 0 and self._fresh >= self.hop
        if predicts:
            self._fresh = 0
        held = min(done, (self._length - rest) // length)
        return [
            (
                self._window.newest(length, behind=rest + back * length),
                self._places // length - 1 - back,
                predicts and not back,
            )
            for back in reversed(range(held))
        ]

    def _input(
        self,
        frame: Frame,
        utc_of: Callable[[float], datetime] | None,
        clip: NDArray[np.uint8],
        step: int,
        predicts: bool,
    ) -> ModelInput:
        arrived_s = time.monotonic() if frame.arrived_s is None else frame.arrived_s
        return ModelInput(
            clip=clip,
            time_s=frame.time_s,
            frame=self.frames - 1,
            arrived_s=arrived_s,
            captured_at=utc_of(arrived_s) if utc_of else None,
            doubt=self._window.doubt,
            holds=self._window.holds,
            truth=self._truth,
            truth_since_s=self._truth_since_s,
            step=step,
            predicts=predicts,
        )

    def reset(self) -> None:
        """Empty the window; time may begin anywhere."""
        self._window.reset()
        self._fresh = self._places = 0

    def state(self) -> FeedState:
        """Return where it stands."""
        return FeedState(
            window=self._window.state(),
            frames=self.frames,
            inputs=self.inputs,
            fresh=self._fresh,
            places=self._places,
            repeats=self._repeats,
            told_slow=self._told_slow,
            truth=self._truth,
            truth_since_s=self._truth_since_s,
            mirror=self.mirror,
        )

    @property
    def steps(self) -> int:
        """Time steps of a streaming model since the begin or the last break."""
        return self._places // (self._step_frames or 1)

    @property
    def pictures(self) -> NDArray[np.uint8]:
        """The newest sampled frames, as the model sees them, uint8 (frames, H, W, 3); a view."""
        return self._window.pictures

    def restore(self, state: FeedState, pictures: NDArray[np.uint8]) -> None:
        """Go on where another one for the same model stood.

        Raises:
            ValueError: if the pictures are not those of the state.
        """
        self._window.restore(state.window, pictures)
        self.frames, self.inputs = state.frames, state.inputs
        self._fresh, self._places, self._repeats = state.fresh, state.places, state.repeats
        self._told_slow = state.told_slow
        self._truth, self._truth_since_s = state.truth, state.truth_since_s

    def release(self) -> None:
        """Give the window's memory back; no frame follows. The counts stay."""
        del self._window

    def _is_slow(self, step: Step) -> bool:
        """Return whether repeated frames exceed the other frames by a full window, once."""
        if not step.places or self._told_slow:
            return False
        places = min(step.places, self._length)
        self._repeats = max(0, self._repeats + (places - 1 if places > 1 else -1))
        self._told_slow = self._repeats >= self._length
        return self._told_slow


def _checked_hop(spec: ModelSpec, hop: int | None) -> int:
    length, step = spec.geometry.frames, spec.geometry.tubelet_frames
    if hop is None:
        return step if spec.streaming else max(1, length // 8)
    if not isinstance(hop, int) or not 1 <= hop <= length:
        raise OptionError(f"hop {hop!r} is invalid; use an integer from 1 to the window's {counted(length, 'frame')}")
    if spec.streaming and hop % step:
        raise OptionError(
            f"hop {hop} is invalid: {spec.name} is a streaming model, whose answers come after whole time steps of "
            f"{counted(step, 'frame')}; use a multiple of {step}"
        )
    return hop


def utc_now(arrived_s: float) -> datetime:
    """Return the UTC time of a `time.monotonic()` by the present clocks."""
    return datetime.now(timezone.utc) - timedelta(seconds=time.monotonic() - arrived_s)
