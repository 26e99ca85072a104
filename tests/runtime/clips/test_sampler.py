"""The sampler against a plain model, for any frame rate, jitter, gap and drop."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from pytest import approx, raises

from mar_edge.runtime.clips.sampler import EARLY, Sampler


def sample(times_s: list[float], rate_fps: float) -> list[float]:
    """Run a sampler; return the time of the frame that serves each tick."""
    sampler = Sampler(rate_fps)
    return [time_s for time_s in times_s for _ in range(sampler.take(time_s))]


def plain(times_s: list[float], rate_fps: float) -> list[float]:
    """For every tick, the first frame that comes no more than a quarter of a period before it."""
    served: list[float] = []
    tick = 0
    while True:
        earliest = times_s[0] + (tick - EARLY) / rate_fps
        frame = next((time_s for time_s in times_s if time_s >= earliest - 1e-9 / rate_fps), None)
        if frame is None:
            return served
        served.append(frame)
        tick += 1


steps = st.lists(st.floats(0.001, 0.4), min_size=1, max_size=60)


@given(steps, st.floats(1, 60), st.floats(-1e4, 1e6))
def test_equals_the_plain_model(steps_s: list[float], rate_fps: float, start_s: float) -> None:
    times_s = [start_s]
    for step_s in steps_s:
        times_s.append(times_s[-1] + step_s)
    assert sample(times_s, rate_fps) == plain(times_s, rate_fps)


@given(st.sampled_from([10, 12, 15, 20, 24, 25, 29.97, 30, 50, 59.94, 60]), st.floats(0, 1e5))
def test_all_cameras_agree_on_the_rate(fps: float, start_s: float) -> None:
    times_s = [start_s + index / fps for index in range(round(20 * fps))]
    served = sample(times_s, 10.0)
    assert len(served) in (199, 200, 201)
    # no tick is served more than one camera period late, and none too early
    for tick, time_s in enumerate(served):
        assert -0.0251 <= time_s - start_s - tick / 10 <= 1 / fps


@given(st.lists(st.floats(-0.02, 0.02), min_size=30, max_size=30))
def test_a_jittery_camera_at_the_models_rate_loses_nothing(jitter_s: list[float]) -> None:
    times_s = [0.0] + [index / 10 + j for index, j in enumerate(jitter_s, start=1)]
    served = sample(times_s, 10.0)
    assert served == times_s


def test_a_slow_camera_keeps_the_time_scale() -> None:
    assert sample([0.0, 0.2, 0.4], 10.0) == [0.0, 0.2, 0.2, 0.4, 0.4]


def test_a_gap_is_told() -> None:
    sampler = Sampler(10.0)
    sampler.take(5.0)
    assert not sampler.is_gap(5.5)
    assert sampler.is_gap(5.51)
    sampler.reset()
    assert not sampler.is_gap(100.0)
    assert sampler.take(100.0) == 1


def test_rounding_does_not_add_up_over_days() -> None:
    sampler = Sampler(30.0)
    taken = sum(sampler.take(index / 30) for index in range(100_000))
    assert taken == 100_000


def test_a_rate_must_be_positive() -> None:
    for rate_fps in (0.0, -1.0, math.nan):
        with raises(ValueError, match="positive"):
            Sampler(rate_fps)
    assert Sampler(2.0).max_gap_s == approx(1.5)
