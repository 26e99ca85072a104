"""Pictures are shrunk to the same bytes as OpenCV does it."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mar_edge.runtime.clips import area
from mar_edge.runtime.clips.area import shrink

SIZES = [
    (720, 1280),
    (1080, 1920),
    (480, 854),
    (1280, 720),
    (600, 800),
    (1200, 1600),
    (719, 1281),
    (961, 1280),
    (960, 1281),
]


def by_opencv(picture: NDArray[np.uint8], height_px: int, width_px: int) -> NDArray[np.uint8]:
    """The old formula."""
    return np.asarray(cv2.resize(picture, (width_px, height_px), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def soft(height: int, width: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    blurred = cv2.GaussianBlur(noise, (0, 0), 6)
    return np.asarray(cv2.normalize(blurred, blurred, 0, 255, cv2.NORM_MINMAX), dtype=np.uint8)


KINDS: dict[str, Callable[[int, int], NDArray[np.uint8]]] = {
    "noise": lambda height, width: np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8),
    "soft": soft,
    "white": lambda height, width: np.full((height, width, 3), 255, np.uint8),
    # every average lies in the middle between two levels
    "stripes": lambda height, width: np.tile(
        (np.arange(width) % 2 + 7).astype(np.uint8)[None, :, None], (height, 1, 3)
    ),
    "ramp": lambda height, width: (
        np.add.outer(np.arange(height), np.arange(width)).astype(np.uint8)[..., None].repeat(3, 2)
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_the_bytes_are_those_of_opencv(kind: str, size: tuple[int, int]) -> None:
    picture = KINDS[kind](*size)
    for height_px, width_px in ((64, 64), (128, 64), (32, 256)):
        assert np.array_equal(shrink(picture, height_px, width_px), by_opencv(picture, height_px, width_px))


@settings(max_examples=40, deadline=None)
@given(st.integers(300, 900), st.integers(300, 900), st.sampled_from([8, 32, 64, 112]), st.integers(0, 2**32 - 1))
def test_of_any_size(height: int, width: int, side: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, rng.integers(2, 256), (height, width, 3), np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(area, "LEAST_PIXELS", 0)
        area._plan.cache_clear()
        assert np.array_equal(shrink(picture, side, side), by_opencv(picture, side, side))
    area._plan.cache_clear()


def test_views_of_a_picture() -> None:
    picture = KINDS["noise"](1080, 2000)
    for view in (picture[:, 40:1960], picture[::-1], picture[..., ::-1], picture[::2, ::2]):
        assert np.array_equal(shrink(view, 64, 64), by_opencv(np.ascontiguousarray(view), 64, 64))


def test_most_pixels_are_not_left_to_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[tuple[int, ...]] = []

    def note(picture: NDArray[np.uint8], height_px: int, width_px: int) -> NDArray[np.uint8]:
        left.append(picture.shape)
        return by_opencv(picture, height_px, width_px)

    monkeypatch.setattr(area, "_by_opencv", note)
    for size in ((720, 1280), (1080, 1920)):
        shrink(soft(*size), 64, 64)
    assert len(left) == 2
    assert sum(height * width for height, width, _ in left) < 0.1 * (720 * 1280 + 1080 * 1920)
