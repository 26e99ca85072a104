"""From pixels to tokens."""

from __future__ import annotations

from typing import Any

import pytest

from mar_edge.errors import GeometryError
from mar_edge.geometry import Geometry


def test_the_standard_clip() -> None:
    geometry = Geometry()
    assert geometry.grid == (8, 14, 14)
    assert geometry.tokens == 1568
    assert geometry.tubelet_values == 1536
    assert geometry.clip_shape == (16, 224, 224, 3)


def test_a_picture_need_not_be_square() -> None:
    geometry = Geometry(frames=8, height_px=64, width_px=128, patch_px=16)
    assert geometry.grid == (4, 4, 8)
    geometry.check_cells()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"frames": 15}, "multiple of 2"),
        ({"height_px": 100}, "96 px or 112 px"),
        ({"width_px": 10}, "16 px"),
        ({"patch_px": 0}, "from 1 to 256"),
        ({"frames": 2_000_000_000}, "from 1 to 1024"),
        ({"height_px": 10**30}, "from 1 to 4096"),
        ({"frames": "16"}, "from 1 to 1024"),
        ({"frames": True}, "from 1 to 1024"),
        ({"frames": 16.0}, "from 1 to 1024"),
        ({"frames": 1024, "height_px": 4096, "width_px": 4096}, "the most are"),
        ({"frames": 64, "height_px": 256, "width_px": 256, "patch_px": 1}, "the most are"),
    ],
)
def test_sizes_that_do_not_divide_name_those_that_do(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(GeometryError, match=says):
        Geometry(**wrong)


@pytest.mark.parametrize(("size_px", "patch_px"), [(48, 8), (64, 16), (96, 16), (128, 16), (224, 16)])
def test_sizes_with_whole_cells(size_px: int, patch_px: int) -> None:
    Geometry(height_px=size_px, width_px=size_px, patch_px=patch_px).check_cells()


def test_112_px_with_16_px_patches_has_no_whole_cells() -> None:
    with pytest.raises(GeometryError, match="96 px or 128 px"):
        Geometry(height_px=112, width_px=112).check_cells()
