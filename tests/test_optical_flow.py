"""Optical flow token by token, where the truth is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mar_edge.geometry import Geometry
from mar_edge.training.optical_flow import token_flow

GEOMETRY = Geometry(frames=4, height_px=64, width_px=64)


def texture() -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=(128, 128, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.5)
    return 110 + 40 * smooth / smooth.std()


@pytest.mark.parametrize("dark", [1.0, 0.1])
@pytest.mark.parametrize(("right_px", "down_px"), [(0, 0), (3, 0), (0, -2), (-2, 2)])
def test_a_picture_that_slides(right_px: int, down_px: int, dark: float) -> None:
    big = texture() * dark
    frames = [
        big[32 - down_px * index : 96 - down_px * index, 32 - right_px * index : 96 - right_px * index]
        for index in range(4)
    ]
    flow = token_flow(np.stack(frames).clip(0, 255).astype(np.uint8), GEOMETRY)
    assert flow.shape == (2, 4, 4, 2)
    inner = flow[:, 1:3, 1:3].reshape(-1, 2).mean(axis=0) * 64
    assert inner == pytest.approx((right_px, down_px), abs=0.35)


def test_a_black_clip_does_not_move() -> None:
    flow = token_flow(np.zeros((4, 64, 64, 3), np.uint8), GEOMETRY)
    assert np.abs(flow).max() < 1e-3
