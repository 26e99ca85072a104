"""Measures on this device what a training will spend its time on: decoding, making clips, the model's steps.

Everything is timed by the processor's time of one thread, which other programs do not change; how busy they keep this machine is
measured beside it. The model of a GPU is timed by the clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from mar_edge.datasets.clip_sampling import dense_times
from mar_edge.datasets.spread import spread
from mar_edge.datasets.video_list import VideoList
from mar_edge.model.config import build
from mar_edge.runtime.clips.preprocess import preprocess
from mar_edge.runtime.video.reader import read_shown_frames
from mar_edge.runtime.video.seek import newest_frames
from mar_edge.training.augmentation.augmentation import Augmentation
from mar_edge.training.baselines.flow_histograms import SIZE_PX, flow_histograms, sampled_times
from mar_edge.training.batches import Batches, Order, Rank
from mar_edge.training.clip_source import Sample
from mar_edge.training.needs.step_trace import AUTOCAST
from mar_edge.training.objective import Objective
from mar_edge.training.optical_flow import FLOW_CHANNELS, token_flow
from mar_edge.training.optimiser import make_optimisers
from mar_edge.training.recipe import Recipe
from mar_edge.training.synthetic.figure import ACTIONS
from mar_edge.training.synthetic.figure_film import film_figure
from mar_edge.training.videos import VideosPart

VIDEOS = 4
"""Videos that are decoded for the measurement."""

MOST_FRAMES = 300
"""Frames of each that are decoded at most."""

CLIPS = 16
"""Clips of the measured step."""

MOST_BUSY = 3.0
"""A machine that looks busier than this is taken for one that is so for a moment."""


@dataclass(frozen=True)
class Costs:
    """Seconds of one core, for the recipe that was measured.

    Attributes:
        decode_s: to decode a second of video and to resize it.
        flow_s: of the flow baseline, for a clip.
        load_s: to make a training clip.
        pass_s: of the model, forward and backward, for a clip; on a GPU by the clock.
        update_s: of the optimiser, for a step; on a GPU by the clock.
        draw_s: to draw a figure.
        precision: of the trainer, the faster one here; `bf16` on a GPU.
        busy: how many times longer everything takes now, because of other programs; 1 for a free machine.
    """

    decode_s: float
    flow_s: float
    load_s: float
    pass_s: float
    update_s: float
    draw_s: float
    precision: str
    busy: float


@dataclass(frozen=True)
class _Film:
    """A decoded video: uint8 (N, h, w, 3), the time of each frame, and its end."""

    frames: NDArray[np.uint8]
    times_s: NDArray[np.float64]
    duration_s: float
    label: int

    def at(self, times_s: NDArray[np.float64]) -> NDArray[np.uint8]:
        return self.frames[newest_frames(self.times_s, times_s)]


class _Films:
    """Training clips of some decoded videos, made as `VideoClips` makes them."""

    digest = ""
    flow_channels = FLOW_CHANNELS

    def __init__(self, films: list[_Film], recipe: Recipe, labels: tuple[str, ...]) -> None:
        assert isinstance(recipe.data, VideosPart)
        size = {"height_px": recipe.model.size_px, "width_px": recipe.model.size_px}
        self.labels = labels
        self.classes = np.array([film.label for film in films], np.int64)
        self._films, self._recipe, self._rate_fps = films, recipe, recipe.data.rate_fps
        self._augmentation = Augmentation(recipe.augment, **size, labels=labels, resize=recipe.data.resize)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return an augmented clip."""
        film, geometry = self._films[index], self._recipe.clip
        times_s = dense_times(film.duration_s, geometry.frames, self._rate_fps, rng)
        clip, label = self._augmentation(film.at(times_s), film.label, rng)
        flow = token_flow(clip, geometry) if self._recipe.objective.flow_weight else None
        return Sample(clip, label, flow, "")


class _Clock:
    """Adds up the processor's time of this thread, and the time that passed."""

    def __init__(self) -> None:
        self.cpu_s, self.passed_s = 0.0, 0.0

    def __call__(self, work: Callable[[], object]) -> float:
        """Do some work; return the processor's time."""
        began_s, cpu_s = time.perf_counter(), time.thread_time()
        work()
        taken_s = time.thread_time() - cpu_s
        self.passed_s += time.perf_counter() - began_s
        self.cpu_s += taken_s
        return taken_s

    @property
    def busy(self) -> float:
        """How many times longer it took than on a free machine."""
        return min(MOST_BUSY, max(1.0, self.passed_s / max(self.cpu_s, 1e-9)))


def measure(recipe: Recipe, videos: VideoList, device: torch.device) -> Costs:
    """Measure a recipe with some of its videos, in a few seconds.

    Args:
        recipe: of labelled videos.
        videos: those that it trains with, at least one.
        device: of the model.

    Raises:
        SourceError: if a video cannot be read.
    """
    chosen = spread(videos.videos, VIDEOS)
    films: list[_Film] = []
    clock = _Clock()
    with _one_thread():
        decode_s = clock(lambda: films.extend(_decode(video.path, video.label, recipe) for video in chosen))
        flow_s = clock(lambda: [flow_histograms(_small(film)) for film in films])
        batches = _batches(recipe, films, videos.labels)
        load_s = clock(lambda: batches[0])
        draw_s = clock(lambda: _draw(recipe, films[0])) if _draws(recipe) else 0.0
        pass_s, update_s, precision = _step_s(recipe, batches, device, clock)
    decoded_s = sum(film.duration_s for film in films)
    return Costs(
        decode_s=decode_s / decoded_s,
        flow_s=flow_s / len(films),
        load_s=load_s / CLIPS,
        pass_s=pass_s / CLIPS,
        update_s=update_s,
        draw_s=draw_s / len(ACTIONS),
        precision=precision,
        busy=clock.busy,
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    threads, cv_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(cv_threads)


def _decode(path: Path, label: int, recipe: Recipe) -> _Film:
    size_px = round(recipe.model.size_px * 8 / 7)
    frames, times_s, end_s = [], [], 0.0
    for shown in read_shown_frames(path, threads=1):
        frames.append(preprocess(shown.picture, height_px=size_px, width_px=size_px, resize="stretch", color="rgb"))
        times_s.append(shown.time_s)
        end_s = shown.time_s + shown.duration_s
        if len(frames) == MOST_FRAMES:
            break
    return _Film(np.stack(frames), np.array(times_s), end_s, label)


def _small(film: _Film) -> NDArray[np.uint8]:
    frames = film.at(sampled_times(film.duration_s))
    return np.stack([cv2.resize(frame, (SIZE_PX, SIZE_PX)) for frame in frames]).astype(np.uint8)


def _batches(recipe: Recipe, films: list[_Film], labels: tuple[str, ...]) -> Batches:
    source = _Films(films, recipe, labels)
    return Batches(
        source, Order(len(films), 0), seed=0, grid=recipe.clip.grid, mask=recipe.mask, mixing=recipe.mix,
        batch=CLIPS, accumulate=1, rank=Rank(0, 1), streaming=recipe.streaming,
    )  # fmt: skip


def _draws(recipe: Recipe) -> bool:
    return isinstance(recipe.data, VideosPart) and recipe.data.figures is not None


def _draw(recipe: Recipe, film: _Film) -> None:
    assert isinstance(recipe.data, VideosPart)
    for action in ACTIONS:
        film_figure(
            action, film.frames[0], frames=recipe.model.frames, size_px=recipe.model.size_px,
            rate_fps=recipe.data.rate_fps, rng=np.random.default_rng(0),
        )  # fmt: skip


def _step_s(recipe: Recipe, batches: Batches, device: torch.device, clock: _Clock) -> tuple[float, float, str]:
    """Return the time of a pass, that of the optimiser's update, after ones that warm up, and the faster precision."""
    batch = batches[0].to(device)
    with torch.random.fork_rng(devices=[]), device:
        model = build(recipe.model.config(classes=batch.targets.shape[1]))
        objective = Objective(model, recipe.objective, flow_channels=FLOW_CHANNELS, streaming=recipe.streaming)
    optimisers = make_optimisers(objective, recipe.optimiser, depth=recipe.model.depth)

    def run(precision: str) -> None:
        autocast = AUTOCAST.get(precision)
        with torch.autocast(device.type, autocast, enabled=autocast is not None):
            total = objective(batch).total
        total.backward()

    def update() -> None:
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()

    timed = clock if device.type == "cpu" else partial(_by_the_clock, device=device)
    passes_s = {}
    for precision in ("bf16", "32") if device.type == "cpu" else ("bf16",):
        run(precision)
        update()
        passes_s[precision] = timed(partial(run, precision))
    fastest = min(passes_s, key=lambda precision: passes_s[precision])
    return passes_s[fastest], timed(update), fastest


def _by_the_clock(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began_s = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began_s
