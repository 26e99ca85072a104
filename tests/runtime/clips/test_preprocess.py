"""From a camera's picture to the model's."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mar_edge.runtime.clips.preprocess import Resize, preprocess
from mar_edge.runtime.frame import Color


def quarters(height: int, width: int) -> NDArray[np.uint8]:
    """A picture (H, W, 3) whose red tells the column and whose green the row, each in four steps."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0] = (np.arange(width) * 4 // width * 60)[None]
    picture[..., 1] = (np.arange(height) * 4 // height * 60)[:, None]
    return picture


def test_stretch_keeps_the_whole_picture() -> None:
    out = preprocess(quarters(48, 160), height_px=4, width_px=4, resize="stretch", color="rgb")
    assert out[0, :, 0].tolist() == [0, 60, 120, 180]
    assert out[:, 0, 1].tolist() == [0, 60, 120, 180]


@pytest.mark.parametrize(("height", "width"), [(32, 64), (64, 32)])
def test_center_crop_keeps_the_shape_of_things(height: int, width: int) -> None:
    out = preprocess(quarters(height, width), height_px=4, width_px=4, resize="center_crop", color="rgb")
    across, down = out[0, :, 0].tolist(), out[:, 0, 1].tolist()
    if width > height:
        assert (across, down) == ([60, 60, 120, 120], [0, 60, 120, 180])
    else:
        assert (across, down) == ([0, 60, 120, 180], [60, 60, 120, 120])


def test_bgr_becomes_rgb() -> None:
    out = preprocess(quarters(8, 8), height_px=8, width_px=8, resize="stretch")
    assert np.array_equal(out, quarters(8, 8)[..., ::-1])


def test_shrinking_averages() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    assert (preprocess(stripes, height_px=8, width_px=8, resize="stretch") == 100).all()


def test_a_small_picture_grows() -> None:
    assert preprocess(quarters(5, 7), height_px=32, width_px=32, resize="center_crop").shape == (32, 32, 3)


def by_the_old_formula(frame: NDArray[np.uint8], side: int, crop: bool, color: str) -> NDArray[np.uint8]:
    """What models were trained on: resized, then a view of the channels in the other order."""
    if crop:
        height, width = frame.shape[:2]
        short = min(height, width)
        top, left = (height - short) // 2, (width - short) // 2
        frame = frame[top : top + short, left : left + short]
    if frame.shape[:2] != (side, side):
        how = cv2.INTER_AREA if min(frame.shape[:2]) >= side else cv2.INTER_LINEAR
        frame = np.asarray(cv2.resize(frame, (side, side), interpolation=how), dtype=np.uint8)
    return frame if color == "rgb" else frame[..., ::-1]


@pytest.mark.parametrize("size", [(720, 1280), (1080, 1920), (480, 640), (64, 64), (40, 300), (30, 30)])
@pytest.mark.parametrize("side", [64, 224])
@pytest.mark.parametrize("color", ["bgr", "rgb"])
@pytest.mark.parametrize("resize", ["stretch", "center_crop"])
def test_the_bytes_are_those_of_the_old_formula(
    size: tuple[int, int], side: int, color: Color, resize: Resize, rng: np.random.Generator
) -> None:
    frame = rng.integers(0, 256, (*size, 3), np.uint8)
    expected = by_the_old_formula(frame, side, resize == "center_crop", color)
    before = frame.copy()
    how = {"height_px": side, "width_px": side, "resize": resize, "color": color}
    assert np.array_equal(preprocess(frame, **how), expected)  # type: ignore[arg-type]
    places = np.zeros((3, side, side, 3), np.uint8)
    out = preprocess(frame, **how, out=places[1])  # type: ignore[arg-type]
    assert np.array_equal(places[1], expected)
    assert np.shares_memory(out, places)
    assert not places[::2].any()
    assert np.array_equal(frame, before)
