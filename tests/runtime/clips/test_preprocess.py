"""From a camera's picture to the model's."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mar_edge.runtime.clips.preprocess import preprocess


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
