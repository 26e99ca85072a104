"""The windows or time steps of a whole clip: what a model is shown to classify it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mar_edge.counting import counted, form
from mar_edge.errors import FrameError, OptionError
from mar_edge.model_spec import ModelSpec
from mar_edge.runtime.clips.segments import segment_times, segment_views
from mar_edge.runtime.clips.windows import Intake, to_model
from mar_edge.runtime.video.probe import probe
from mar_edge.runtime.video.reader import read_steady_frames
from mar_edge.runtime.video.seek import read_frames_at

Views = tuple[int, int]
"""(clips, crops) of a multi-view evaluation, as (5, 3)."""

HELD_S = 0.8
"""For how long the last picture of a clip is held for a model that answers with its peak: a brief action is named only when
it is over, and clips are often cut at its end."""


class View(NamedTuple):
    """One window of a clip, in one crop.

    Attributes:
        frames: uint8 (T, H, W, 3) RGB.
        pictures: distinct pictures among them.
    """

    frames: NDArray[np.uint8]
    pictures: int


class TimeStep(NamedTuple):
    """One time step of a clip, in every crop that is run at once.

    Attributes:
        frames: uint8 (crops, frames of a tubelet, H, W, 3) RGB.
        begins: whether no state may span this step and the one before: it is the first one, or follows a break.
        pictures: distinct pictures among the frames of the newest band.
    """

    frames: NDArray[np.uint8]
    begins: bool
    pictures: int


class _Sample(NamedTuple):
    """A place of a window.

    Attributes:
        crops: uint8 (crops, H, W, 3).
        origin: which frame of the clip it is; the same for every repeat of a held one.
        time_s: when it is shown, in seconds.
    """

    crops: NDArray[np.uint8]
    origin: int
    time_s: float


class WholeClip:
    """The windows of a clip, or its time steps, made as those of a stream are.

    Iterating decodes it, and holds no more than a window.

    Args:
        clip: a video file; or its frames at the model's rate, uint8 (N, H, W, 3) RGB.
        spec: the model.
        views: (clips, crops): windows spread evenly over the clip, and 1 or 3 crops along the longer side. By default
            all windows that fit side by side, one crop; for a model that samples uniformly one window, whose frames
            are spread over the whole clip; for one that answers with its peak windows that overlap by half, the last of
            which ends `HELD_S` after the clip.

    Attributes:
        name: the file, or `frames`.
        duration_s: length of the clip in seconds; once it is read.
        repeated_frames: places of a window that must be filled with repeated frames, because the clip, or its longest
            part without a gap, has fewer frames than a window; once it is read.
        warnings: one sentence for each thing to know; once it is read.

    Raises:
        FrameError: if the frames are not pictures.
        OptionError: if the views are invalid.
    """

    def __init__(self, clip: str | Path | NDArray[np.uint8], spec: ModelSpec, views: Views | None = None) -> None:
        _check_form(views, spec)
        self._file = Path(clip) if isinstance(clip, (str, Path)) else None
        self._pictures = None if isinstance(clip, (str, Path)) else _check_clip(clip)
        self.name = "frames" if self._file is None else str(clip)
        self.duration_s = 0.0
        self.repeated_frames = 0
        self._read = 0  # frames of the clip, without repeats of held ones
        self.warnings: list[str] = []
        self._spec = spec
        self._count = views[0] if views else None
        self._crops = views[1] if views else 1

    def __iter__(self) -> Iterator[View]:
        """Give the windows, in order of time.

        Raises:
            SourceError: if the file cannot be read.
        """
        self.warnings.clear()
        if self._spec.sampling == "uniform":
            return self._spread()
        return self._overlapping() if self._spec.clip_answer == "peak" and self._count is None else self._dense()

    def time_steps(self) -> Iterator[TimeStep]:
        """Give the time steps of a streaming model, in order of time; of a clip that is sampled uniformly view by view.

        A clip, or its last part without a gap, is run through to its last whole time step. For a model that answers with its
        peak, the last picture of every part is held for `HELD_S` after its end.

        Raises:
            SourceError: if the file cannot be read.
        """
        self.warnings.clear()
        length = self._spec.geometry.tubelet_frames
        if self._spec.sampling == "uniform":
            for view in self._spread():
                for first in range(0, len(view.frames), length):
                    yield TimeStep(view.frames[None, first : first + length], not first, view.pictures)
            return
        recent: deque[int] = deque(maxlen=self._spec.geometry.frames)
        open_step: list[_Sample] = []
        begins, given = True, False
        for samples, broken in self._held() if self._spec.clip_answer == "peak" else self._samples():
            if broken:
                recent.clear()
                open_step, begins = [], True
            for sample in samples:
                recent.append(sample.origin)
                open_step = [*open_step[len(open_step) // length * length :], sample]
                if len(open_step) == length:
                    yield _time_step(open_step, begins, recent)
                    begins, given = False, True
        self.repeated_frames = 0 if given else length - len(open_step)
        if not given:  # a picture, or a few of them, each alone
            last = open_step[-1:] * self.repeated_frames
            self.warnings.append(
                f"{self.name} has no time step of {counted(length, 'frame')} without a gap; its last frame was repeated"
            )
            yield _time_step([*open_step, *last], True, recent)

    def _dense(self) -> Iterator[View]:
        """Give windows of neighbouring samples, none across a break."""
        length = self._spec.geometry.frames
        longest: list[_Sample] = []
        stretch: list[_Sample] = []
        given = False
        for samples, broken in self._samples():
            if broken:
                stretch = []
            stretch += samples
            while self._count is None and len(stretch) >= length:
                given = True
                yield from _views(stretch[:length])
                stretch = stretch[length:]
            if len(stretch) > len(longest):
                longest = stretch
        self.repeated_frames = max(0, length - self._read)
        if given:
            return
        if lacking := max(0, length - len(longest)):
            self.repeated_frames = max(self.repeated_frames, lacking)
            self.warnings.append(self._why_repeated(longest, lacking))
        longest = longest + longest[-1:] * lacking
        for start in np.linspace(0, len(longest) - length, self._count or 1).round().astype(int):
            yield from _views(longest[start : start + length])

    def _overlapping(self) -> Iterator[View]:
        """Give windows that overlap by half, none across a break; every part ends with a window that shows its end."""
        length = self._spec.geometry.frames
        hop = max(1, length // 2)
        part: deque[_Sample] = deque(maxlen=length)
        fresh = 0  # samples since the last window
        for samples, broken in self._held():
            if broken:
                yield from _last_window(part, length, fresh)
                part.clear()
                fresh = 0
            for sample in samples:
                part.append(sample)
                fresh += 1
                if len(part) == length and fresh >= hop:
                    yield from _views(list(part))
                    fresh = 0
        yield from _last_window(part, length, fresh)

    def _held(self) -> Iterator[tuple[list[_Sample], bool]]:
        """Give the clip as `_samples`, with the last picture of each part without a gap held for `HELD_S` after its end."""
        places = max(math.ceil(HELD_S * self._spec.rate_fps), self._spec.geometry.tubelet_frames)
        last: _Sample | None = None
        for samples, broken in self._samples():
            if broken and last is not None:
                yield [last] * places, False
            last = samples[-1] if samples else last
            yield samples, broken
        if last is not None:
            yield [last] * places, False

    def _why_repeated(self, samples: list[_Sample], lacking: int) -> str:
        window_s, rate_fps = self._spec.window_s, self._spec.rate_fps
        done = (
            f"the frame at {samples[-1].time_s:.2f} s, the last one at the model's {rate_fps:g} frames per second, "
            f"was repeated {counted(lacking, 'time')}"
        )
        if self.duration_s < window_s:
            return f"{self.name} is {self.duration_s:.2f} s long, shorter than one window of {window_s:.2f} s; {done}"
        longest_s = len(samples) / rate_fps
        return (
            f"{self.name} has no {window_s:.2f} s without a gap, {longest_s:.2f} s at the most, because it has too few frames "
            f"or breaks too often; {done}"
        )

    def _samples(self) -> Iterator[tuple[list[_Sample], bool]]:
        """Give the clip at the model's rate, and whether it is broken before."""
        rate_fps = self._spec.rate_fps
        if self._pictures is not None:
            for index, picture in enumerate(self._pictures):
                self.duration_s = index / rate_fps
                self._read = index + 1
                crops = to_model(picture, self._spec, color="rgb", crops=self._crops)
                yield [_Sample(crops, index, self.duration_s)], False
            return
        assert self._file is not None
        intake = Intake(self._spec, crops=self._crops)
        breaks = repeats = 0
        self._read = 0
        for frame in read_steady_frames(self._file, self.warnings.append):
            self.duration_s = frame.time_s
            self._read += not frame.held
            sampled = intake.add(frame)
            breaks += sampled.cut is not None
            repeats += max(0, sampled.places - 1)
            taken = []
            if sampled.pictures is not None:
                taken = [_Sample(sampled.pictures, self._read, frame.time_s)]
                taken *= min(sampled.places, self._spec.geometry.frames)
            yield taken, sampled.cut is not None
        if breaks:
            gaps = "a gap or a change" if breaks == 1 else f"{counted(breaks, 'gap')} or changes"
            self.warnings.append(f"{self.name} has {gaps} of size; no window spans {form(breaks, 'it', 'one of them')}")
        if repeats > self._spec.geometry.frames:
            self.warnings.append(
                f"{self.name} has fewer than the {rate_fps:g} frames per second that the model expects; frames were repeated"
            )

    def _spread(self) -> Iterator[View]:
        """Give windows that each span the whole clip, one frame per segment."""
        length = self._spec.geometry.frames
        if self._file is not None:
            info = probe(self._file)
            frames, self.duration_s = info.frames, info.duration_s
            self.warnings += info.warnings
            if info.cut:
                self.warnings.append(
                    f"{self.name} ends earlier than its header states; the frames are taken from the part that exists"
                )
        else:
            assert self._pictures is not None
            frames, self.duration_s = len(self._pictures), len(self._pictures) / self._spec.rate_fps
        self.repeated_frames = max(0, length - frames)
        if self.repeated_frames:
            self.warnings.append(
                f"{self.name} has {counted(frames, 'frame')}, fewer than the {length} of a window; frames were repeated"
            )
        for place in segment_views(self._count or 1):  # one after another, so that the pictures of one are held
            times_s = segment_times(self.duration_s, length, place)
            pictures = self._pictures_at(times_s)
            crops = [to_model(one, self._spec, color="rgb", crops=self._crops) for one in pictures]
            yield from _views(list(map(_Sample, crops, map(id, pictures), times_s.tolist())))

    def _pictures_at(self, times_s: NDArray[np.float64]) -> list[NDArray[np.uint8]]:
        """Return what the clip shows at some times; a picture that is shown at several is one array."""
        if self._file is not None:
            return read_frames_at(self._file, times_s)
        assert self._pictures is not None
        indices = np.floor(times_s * self._spec.rate_fps + 1e-6).astype(int)
        shown = {index: self._pictures[index] for index in indices.tolist()}
        return [shown[index] for index in indices.tolist()]


def check_views(views: Views | None, spec: ModelSpec) -> None:
    """Check that (clips, crops) can be averaged for a model; None always can.

    Raises:
        OptionError: if they cannot; the message states why.
    """
    _check_form(views, spec)
    if views is not None and views[0] > 1 and spec.streaming and spec.sampling == "dense":
        raise OptionError(
            f"{spec.name} is a streaming model, which runs through the whole clip once, so views "
            f"{'x'.join(map(str, views))} are not supported; use 1x{views[1]}"
        )


def _check_form(views: Views | None, spec: ModelSpec) -> None:
    if views is None:
        return
    if len(views) != 2 or views[0] < 1 or views[1] not in (1, 3):
        raise OptionError(
            f"views {'x'.join(map(str, views))} is invalid; give clips x crops with 1 or 3 crops, as in 5x3"
        )
    if views[1] == 3 and spec.resize == "stretch":
        instead = "views 1x1" if spec.streaming and spec.sampling == "dense" else "views like 5x1"
        raise OptionError(f"{spec.name} sees the whole picture, so crops are not supported; use {instead}")


def _views(samples: list[_Sample]) -> Iterator[View]:
    """Give every crop of a window."""
    pictures = len({sample.origin for sample in samples})
    for crop in np.stack([sample.crops for sample in samples], axis=1):  # (T, H, W, 3) of (crops, T, H, W, 3)
        yield View(np.ascontiguousarray(crop), pictures)


def _last_window(part: deque[_Sample], length: int, fresh: int) -> Iterator[View]:
    """Give the window that ends with a part, its last picture held to fill it; nothing if the window before shows all of it."""
    if fresh:
        yield from _views([*part, *[part[-1]] * (length - len(part))])


def _time_step(samples: list[_Sample], begins: bool, recent: deque[int]) -> TimeStep:
    frames = np.stack([sample.crops for sample in samples], axis=1)  # (crops, T, H, W, 3)
    return TimeStep(np.ascontiguousarray(frames), begins, len(set(recent)))


def _check_clip(clip: object) -> NDArray[np.uint8]:
    if (
        not isinstance(clip, np.ndarray)
        or clip.ndim != 4
        or clip.shape[-1] != 3
        or clip.dtype != np.uint8
        or not clip.size
    ):
        raise FrameError("a clip must be a path, or frames uint8 (N, H, W, 3) RGB at the model's rate")
    return clip
