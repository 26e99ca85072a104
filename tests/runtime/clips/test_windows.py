"""From frames to the window: what is converted, what is refused, and that a refused frame changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mar_edge.errors import FrameError, SourceError
from mar_edge.manifest import Manifest
from mar_edge.runtime.clips.sampler import Sampler
from mar_edge.runtime.clips.windows import Window
from mar_edge.runtime.frame import Color, Frame
from tests.fakes.bundle import manifest


@pytest.fixture
def spec() -> Manifest:
    """Clips of 4 frames of 32 px at 10 frames per second."""
    return Manifest.model_validate({"format": 1, **manifest()})


def noise(seed: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def never() -> NDArray[np.uint8]:
    raise AssertionError("a frame between two samples was converted")


def test_a_frame_between_two_samples_is_not_converted(spec: Manifest) -> None:
    window = Window(spec)
    for index in range(40):
        picture = noise(index)
        sampled = index % 3 == 0
        frame = Frame(picture=(lambda: picture) if sampled else never, size_px=(64, 48), time_s=index / 30)  # noqa: B023
        assert window.add(frame).places == sampled
    assert window.clip.shape == (4, 32, 32, 3)


def fail(error: Exception) -> Callable[[], NDArray[np.uint8]]:
    def convert() -> NDArray[np.uint8]:
        raise error

    return convert


@pytest.mark.parametrize(
    ("picture", "error", "says"),
    [
        (lambda: noise(0)[..., 0], FrameError, r"must have shape \(H, W, 3\)"),
        (lambda: noise(0).astype(float), FrameError, "must have dtype uint8"),
        (lambda: noise(0, 24, 32), FrameError, "a frame of 64x48 px has a picture of 32x24 px"),
        (fail(SourceError("pictures of format odd cannot be converted")), SourceError, "format odd"),
    ],
)
@pytest.mark.parametrize("after_s", [0.1, 5.0])
def test_a_picture_that_cannot_be_used_leaves_the_window_as_it_was(
    spec: Manifest, picture: Any, error: type[Exception], says: str, after_s: float
) -> None:
    window, untouched = Window(spec), Window(spec)
    for index in range(6):
        for one in (window, untouched):
            one.add(Frame(picture=noise(index), time_s=index / 10))
    with pytest.raises(error, match=says):
        window.add(Frame(picture=picture, size_px=(64, 48), time_s=0.5 + after_s))
    assert np.array_equal(window.clip, untouched.clip)
    assert window.doubt == untouched.doubt
    for one in (window, untouched):
        step = one.add(Frame(picture=noise(9), time_s=0.6))
        assert (step.places, step.full, step.cut) == (1, True, None)
    assert np.array_equal(window.clip, untouched.clip)


@pytest.mark.parametrize("color", ["bgr", "rgb"])
def test_the_window_holds_the_pictures_of_the_old_formula(spec: Manifest, color: Color) -> None:
    window = Window(spec)
    kept: list[NDArray[np.uint8]] = []
    for index, time_s in enumerate([0.0, 0.1, 0.2, 0.3, 0.65, 0.75, 2.0, 2.1, 2.2, 2.3, 2.4]):  # slow, then a gap
        picture = noise(index)
        step = window.add(Frame(picture=picture, time_s=time_s, color=color))
        small = cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA)
        kept = [*([] if step.cut else kept), *[small if color == "rgb" else small[..., ::-1]] * step.places]
        assert step.full == (len(kept) >= 4)
        if step.full:
            assert np.array_equal(window.clip, np.stack(kept[-4:]))


def test_a_change_of_size_is_seen_in_frames_that_are_not_converted(spec: Manifest) -> None:
    window = Window(spec)
    window.add(Frame(picture=noise(0), time_s=0.0))
    step = window.add(Frame(picture=noise(1, 30, 40), time_s=0.025))
    assert step.cut == "frame size changed from 64x48 to 40x30 at 0.03 s"
    assert step.places == 1


@given(st.lists(st.floats(0, 0.4), min_size=1, max_size=40), st.floats(1, 60), st.integers(0, 39))
def test_places_are_what_will_be_taken(steps_s: list[float], rate_fps: float, reset_at: int) -> None:
    sampler = Sampler(rate_fps)
    time_s = 0.0
    for index, step_s in enumerate(steps_s):
        time_s += step_s
        if index == reset_at:
            expected = sampler.places(time_s, anew=True)
            sampler.reset()
            assert expected == 1
        else:
            expected = sampler.places(time_s)
        assert sampler.take(time_s) == expected
