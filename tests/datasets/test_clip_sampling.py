"""Which moments clips are made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from mar_edge.datasets.clip_sampling import dense_times, dense_views, uniform_times, uniform_views
from mar_edge.runtime.model import Model
from tests.fakes.bundle import BrightnessEngine
from tests.fakes.video_files import write_video

durations_s = st.floats(0.01, 600)
counts = st.integers(1, 32)
rates = st.floats(0.5, 60)


@given(durations_s, counts, rates, st.integers(0, 2**32))
def test_dense_clips_keep_their_rate_and_stay_inside(
    duration_s: float, frames: int, rate_fps: float, seed: int
) -> None:
    for rng in (None, np.random.default_rng(seed)):
        times_s = dense_times(duration_s, frames, rate_fps, rng)
        assert times_s.shape == (frames,) and times_s.dtype == np.float64
        assert times_s[0] >= 0 and times_s[-1] <= duration_s
        inside = np.unique(times_s)
        assert_allclose(np.diff(inside), 1 / rate_fps, rtol=1e-6)
        assert len(inside) == frames or duration_s - inside[-1] <= 1 / rate_fps + 1e-5
        if frames / rate_fps < duration_s:
            assert len(inside) == frames
        else:
            assert times_s[0] == 0


def test_dense_starts_reach_both_ends_evenly_and_the_middle_is_the_middle() -> None:
    rng = np.random.default_rng(0)
    starts = np.array([dense_times(10.0, 16, 7.5, rng)[0] for _ in range(4000)])
    room_s = 10 - 16 / 7.5
    assert_allclose(np.quantile(starts, [0, 0.25, 0.5, 0.75, 1]), room_s * np.array([0, 0.25, 0.5, 0.75, 1]), atol=0.2)
    assert dense_times(10.0, 16, 7.5)[0] == pytest.approx(room_s / 2)


@given(durations_s, counts, st.integers(0, 2**32))
def test_uniform_takes_one_frame_of_each_segment(duration_s: float, frames: int, seed: int) -> None:
    for rng in (None, np.random.default_rng(seed)):
        times_s = uniform_times(duration_s, frames, rng)
        segments = np.floor(times_s / duration_s * frames * (1 + 1e-12))
        assert_allclose(segments, np.arange(frames))
    assert_allclose(uniform_times(duration_s, frames), (np.arange(frames) + 0.5) * duration_s / frames)


def test_uniform_frames_of_a_30_fps_video() -> None:
    """48 frames in 8 segments of 6: the middles are frames 3, 9, ...; two views take those and 0, 6, ..."""

    def frame(times_s: NDArray[np.float64]) -> list[int]:
        return [int(number) for number in np.floor(times_s * 30 + 1e-6)]

    assert frame(uniform_times(1.6, 8)) == [3, 9, 15, 21, 27, 33, 39, 45]
    first, second = uniform_views(1.6, 8, 2)
    assert frame(first) == [0, 6, 12, 18, 24, 30, 36, 42]
    assert frame(second) == [3, 9, 15, 21, 27, 33, 39, 45]
    assert_allclose(uniform_views(1.6, 8, 1)[0], uniform_times(1.6, 8))
    assert len({tuple(view) for view in uniform_views(1.6, 8, 4)}) == 4


@given(durations_s, counts, rates, st.integers(1, 10))
def test_dense_views_spread_from_the_first_frame_to_the_last(
    duration_s: float, frames: int, rate_fps: float, clips: int
) -> None:
    views = dense_views(duration_s, frames, rate_fps, clips)
    assert len(views) == clips
    assert views[0][0] == 0
    assert all(view[-1] <= duration_s for view in views)
    if clips > 1 and duration_s > frames / rate_fps:
        assert duration_s - views[-1][-1] <= 1 / rate_fps + 1e-5
        gaps = np.diff([view[0] for view in views])
        assert gaps.max() - gaps.min() <= 1 / rate_fps + 1e-5


@pytest.mark.parametrize("length", [3, 4, 9, 12, 13, 14, 30])
def test_dense_views_see_what_classify_sees(tmp_path: Path, length: int) -> None:
    """A 30 fps video whose grey level is its frame's number times ten, a model of 4 frames at 10 a second."""
    path = write_video(tmp_path / "v.mp4", [index / 30 for index in range(length)])
    engine = BrightnessEngine(tmp_path / "fake.mar")
    for clips in (1, 2, 3, 5):
        engine.seen.clear()
        Model(engine).classify(path, views=(clips, 1))
        seen = [np.round(clip[0].mean(axis=(1, 2, 3)) / 10).astype(int).tolist() for clip in engine.seen]
        ours = [
            [min(int(time_s * 30 + 1e-6), length - 1) % 25 for time_s in view]
            for view in dense_views(length / 30, 4, 10.0, clips)
        ]
        assert ours == seen


def test_any_duration_draws_the_same_numbers() -> None:
    """A video that was replaced by a longer one does not change what comes after it."""
    after = set()
    for duration_s in (0.1, 5.0, 500.0):
        rng = np.random.default_rng(7)
        dense_times(duration_s, 16, 7.5, rng)
        uniform_times(duration_s, 16, rng)
        after.add(rng.random())
    assert len(after) == 1


def test_numbers_that_cannot_be() -> None:
    for duration_s in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="duration_s is .*; it must be positive"):
            dense_times(duration_s, 16, 7.5)
    with pytest.raises(ValueError, match="rate_fps is 0"):
        dense_views(1.0, 16, 0, 2)
    with pytest.raises(ValueError, match="frames is 0; it must be at least 1"):
        uniform_times(1.0, 0)
    with pytest.raises(ValueError, match="clips is 0"):
        uniform_views(1.0, 4, 0)
