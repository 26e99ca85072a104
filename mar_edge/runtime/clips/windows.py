"""From frames to the window that a model sees: sampling, preprocessing, the window itself, and the breaks that it must not span."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from numbers import Real

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.counting import counted, counted_of
from mar_edge.errors import FrameError, MarEdgeError
from mar_edge.model_spec import ModelSpec
from mar_edge.runtime.clips.preprocess import check_frame, crop_views, preprocess
from mar_edge.runtime.clips.ring_buffer import RingBuffer
from mar_edge.runtime.clips.sampler import Sampler, SamplerState
from mar_edge.runtime.frame import Color, Frame

FEWEST_PICTURES = 5
"""A window of fewer distinct pictures shows no motion that a model could recognise."""

LEAST_WARM = 0.5
"""Share of its band that a streaming model must have seen for a reliable answer."""


@dataclass(frozen=True)
class IntakeState:
    """Where an intake stands.

    Attributes:
        sampler: where its sampler stands.
        last_s: time of the newest frame, seconds; None before the first one.
        size_px: (width, height) of that frame.
    """

    sampler: SamplerState
    last_s: float | None
    size_px: tuple[int, int] | None


@dataclass(frozen=True)
class WindowState:
    """Where a window stands, without its pictures.

    Attributes:
        intake: where its intake stands.
        origins: which frame fills each place, and whether it is held there.
        seen: frames so far.
    """

    intake: IntakeState
    origins: tuple[tuple[int, bool], ...]
    seen: int


@dataclass(frozen=True, slots=True)
class Sampled:
    """What the model takes of a frame.

    Attributes:
        pictures: uint8 (crops, H, W, 3) RGB in the model's size; None for a frame between two samples.
        places: number of places that it fills, of which a window has room for its length: 0 for a frame between two
            samples, more than 1 where frames are missing.
        cut: why no window may contain both this frame and an earlier one; None if one may.
    """

    pictures: NDArray[np.uint8] | None
    places: int
    cut: str | None


class Intake:
    """Brings frames to the model's rate and size, and finds where the stream is broken.

    A gap that is too long to be bridged and a change of the frames' size break it.

    Args:
        spec: the model.
        crops: 1, or 3 along the longer side.
        mirror: whether the model sees the mirror image of every frame, left and right exchanged.
    """

    def __init__(self, spec: ModelSpec, *, crops: int = 1, mirror: bool = False) -> None:
        self._spec = spec
        self._crops = crops
        self._mirror = mirror
        self._sampler = Sampler(spec.rate_fps)
        self.reset()

    def reset(self) -> None:
        """Reset: time may begin anywhere."""
        self._sampler.reset()
        self._last_s = -math.inf
        self._size_px: tuple[int, int] | None = None

    def state(self) -> IntakeState:
        """Return where it stands."""
        return IntakeState(self._sampler.state(), self._last_s if math.isfinite(self._last_s) else None, self._size_px)

    def restore(self, state: IntakeState) -> None:
        """Go on where another one for the same model stood."""
        self._sampler.restore(state.sampler)
        self._last_s = -math.inf if state.last_s is None else state.last_s
        self._size_px = state.size_px

    def add(self, frame: Frame, out: NDArray[np.uint8] | None = None) -> Sampled:
        """Add a frame; one between two samples is not converted.

        Args:
            frame: not kept. Its time must not be less than that of the frame before.
            out: where the pictures are written, uint8 (crops, H, W, 3), contiguous; a new array by default.

        Raises:
            FrameError: on a wrong shape, type, colour or time, or a picture that cannot be converted; the intake is as it was before.
        """
        time_s = frame.time_s
        if frame.color not in ("bgr", "rgb"):
            raise FrameError(f"color must be 'bgr' or 'rgb', not {frame.color!r}")
        if not _is_time(time_s):
            raise FrameError(f"time_s is {time_s!r}; give the capture time in seconds")
        if time_s < self._last_s:
            raise FrameError(
                f"time_s went backwards from {self._last_s:.3f} to {time_s:.3f} s; call reset() for a new stream"
            )
        cut = frame.cut or self._break(frame.size_px, time_s)
        places = self._sampler.places(time_s, anew=cut is not None)
        pictures = self._pictures(frame, out) if places else None
        if cut is not None:  # nothing was changed before here
            self._sampler.reset()
        self._sampler.take(time_s)
        self._last_s, self._size_px = time_s, frame.size_px
        return Sampled(pictures, places, cut)

    def _pictures(self, frame: Frame, out: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        try:
            picture = check_frame(frame.picture)
        except MarEdgeError as error:
            raise FrameError(str(error)) from error
        except Exception as error:  # of a decoder, or of the user's own code
            raise FrameError(f"its picture cannot be converted: {type(error).__name__}: {error}") from error
        height, width = picture.shape[:2]
        if (width, height) != frame.size_px:
            raise FrameError(f"a frame of {'x'.join(map(str, frame.size_px))} px has a picture of {width}x{height} px")
        pictures = to_model(picture, self._spec, color=frame.color, crops=self._crops, out=out)
        if self._mirror:  # only now, when they are small; it is the exact mirror image of what the model would see
            for one in pictures:
                cv2.flip(one, 1, dst=one)
        return pictures

    def _break(self, size_px: tuple[int, int], time_s: float) -> str | None:
        if self._size_px is not None and size_px != self._size_px:
            before, now = ("x".join(map(str, size)) for size in (self._size_px, size_px))
            return f"frame size changed from {before} to {now} at {time_s:.2f} s"
        if self._sampler.is_gap(time_s):
            return f"no frame for {time_s - self._last_s:.2f} s before {time_s:.2f} s"
        return None


@dataclass(frozen=True, slots=True)
class Step:
    """How a frame changed a window.

    Attributes:
        places: number of places that it filled, those that it filled again included.
        full: whether the window contains a complete clip.
        cut: why the window was emptied before; None if it was not.
    """

    places: int
    full: bool
    cut: str | None


class Window:
    """The newest clip of a stream. No window spans a break.

    Args:
        spec: the model.
        mirror: see `Intake`.
    """

    def __init__(self, spec: ModelSpec, *, mirror: bool = False) -> None:
        self._intake = Intake(spec, mirror=mirror)
        self._frames = RingBuffer(spec.geometry.frames, spec.geometry.clip_shape[1:])
        # which frame fills each place, and whether it is held there
        self._origins: deque[tuple[int, bool]] = deque(maxlen=spec.geometry.frames)
        self._seen = 0

    def add(self, frame: Frame) -> Step:
        """Add a frame; one between two samples is not converted.

        Args:
            frame: its picture is copied. Its time must not be less than that of the frame before.

        Raises:
            FrameError: on a wrong shape, type, colour or time, or a picture that cannot be converted; the window is as it was before.
        """
        sampled = self._intake.add(frame, self._frames.place[None])
        if sampled.cut is not None:
            self._empty()
        self._seen += not frame.held
        if sampled.pictures is not None:
            for _ in range(min(sampled.places, self._frames.frames)):
                self._frames.push(sampled.pictures[0])
                self._origins.append((self._seen, frame.held))
        return Step(sampled.places, self._frames.full, sampled.cut)

    @property
    def clip(self) -> NDArray[np.uint8]:
        """The clip, uint8 (T, H, W, 3) RGB, as a view that the next frame changes; only when the window is full."""
        return self._frames.window()

    def newest(self, count: int, behind: int = 0) -> NDArray[np.uint8]:
        """Return neighbouring frames, see `RingBuffer.newest`."""
        return self._frames.newest(count, behind)

    @property
    def doubt(self) -> str | None:
        """Why an answer for this clip is not reliable; None if it is."""
        return doubt(len({frame for frame, _ in self._origins}), self._frames.frames)

    @property
    def holds(self) -> bool:
        """Whether some of the clip is a picture that the source held."""
        return any(held for _, held in self._origins)

    def state(self) -> WindowState:
        """Return where it stands."""
        return WindowState(self._intake.state(), tuple(self._origins), self._seen)

    @property
    def pictures(self) -> NDArray[np.uint8]:
        """What it holds, uint8 (frames, H, W, 3) RGB, oldest first; a view that the next frame changes."""
        return self._frames.newest(len(self._frames))

    def restore(self, state: WindowState, pictures: NDArray[np.uint8]) -> None:
        """Go on where another one for the same model stood.

        Raises:
            ValueError: if the pictures are not those of the state.
        """
        shape = self._frames.newest(0).shape[1:]
        if pictures.dtype != np.uint8 or pictures.shape[1:] != shape or len(pictures) != len(state.origins):
            raise ValueError(f"its pictures are {pictures.dtype} {pictures.shape}")
        if len(pictures) > self._frames.frames:
            raise ValueError(f"it has {counted(len(pictures), 'picture')}, and a window {self._frames.frames}")
        self._empty()
        for picture, origin in zip(pictures, state.origins, strict=True):
            self._frames.push(picture)
            self._origins.append(origin)
        self._intake.restore(state.intake)
        self._seen = state.seen

    def reset(self) -> None:
        """Empty the window; time may begin anywhere."""
        self._empty()
        self._intake.reset()

    def _empty(self) -> None:
        self._frames.clear()
        self._origins.clear()


def _is_time(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


def doubt(pictures: int, frames: int) -> str | None:
    """Return why a clip shows too little to be recognised; None if it shows enough.

    Args:
        pictures: distinct pictures in it.
        frames: length of the clip.
    """
    if pictures >= min(FEWEST_PICTURES, frames):
        return None
    return f"only {counted(pictures, 'distinct picture')} in a window of {counted(frames, 'frame')}"


def cold_doubt(steps: int, band: int) -> str | None:
    """Return why a streaming model has seen too little; None if it has seen enough.

    Args:
        steps: time steps of the band that it has seen.
        band: time steps that an answer depends on directly.
    """
    return None if steps >= LEAST_WARM * band else f"only {counted_of(steps, band, 'time step')} seen"


def to_model(
    frame: NDArray[np.uint8], spec: ModelSpec, *, color: Color, crops: int = 1, out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Bring a picture to a model's size and to RGB.

    Args:
        frame: uint8 (H, W, 3).
        spec: the model.
        color: order of the frame's channels.
        crops: 1, or 3 along the longer side.
        out: where the result is written, contiguous; a new array by default.

    Returns:
        uint8 (crops, H, W, 3) RGB.
    """
    geometry = spec.geometry
    if out is None:
        out = np.empty((crops, *geometry.clip_shape[1:]), np.uint8)
    size = {"height_px": geometry.height_px, "width_px": geometry.width_px}
    for part, place in zip(crop_views(frame, crops), out, strict=True):
        preprocess(part, **size, resize=spec.resize, color=color, out=place)
    return out
