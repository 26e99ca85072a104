"""Optical flow token by token, where the truth is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mar_edge.geometry import Geometry
from mar_edge.training.optical_flow import token_flow

GEOMETRY = Geometry(frames=4, height_px=64, width_px=64)


def texture() -> NDArray[np.float32]:
    noise = np.random.default_rng(0).normal(size=(128, 128, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.5)
    return np.asarray(110 + 40 * smooth / smooth.std(), np.float32)


@pytest.mark.parametrize("dark", [1.0, 0.1])
@pytest.mark.parametrize(("right_px", "down_px"), [(0, 0), (3, 0), (0, -2), (-2, 2)])
def test_a_picture_that_slides(right_px: int, down_px: int, dark: float) -> None:
    big = texture() * dark
    frames = [
        big[32 - down_px * index : 96 - down_px * index, 32 - right_px * index : 96 - right_px * index]
        for index in range(4)
    ]
    flow = token_flow(np.stack(frames).clip(0, 255).astype(np.uint8), GEOMETRY)
    assert flow.shape == (2, 4, 4, 6)
    inner = 64 * flow[:, 1:3, 1:3].mean(axis=(0, 1, 2))
    assert inner[:2] == pytest.approx((right_px, down_px), abs=0.35)
    assert np.abs(inner[2:]).max() < 0.35, "all of it is the camera's"


def test_what_moves_before_a_moving_camera() -> None:
    frames = []
    for index in range(4):
        frame = texture()[32:96, 32 - 2 * index : 96 - 2 * index].copy()  # the camera pans left by 2 px a frame
        frame[14:50, 12 + 3 * index : 48 + 3 * index] = 1.4 * texture()[80:116, 80:116]  # and somebody goes right by 3
        frames.append(frame)
    flow = 64 * token_flow(np.stack(frames).clip(0, 255).astype(np.uint8), GEOMETRY)
    still = flow[:, 3, :, 2:]
    moves = flow[0, 1:3, 1:3]
    assert np.abs(still).mean() < 0.4
    assert moves[..., 0].mean() == pytest.approx(3, abs=0.6), "within a tubelet"
    assert moves[..., 2].mean() == pytest.approx(1, abs=0.6), "without the camera"
    assert moves[..., 4].mean() == pytest.approx(1, abs=0.6), "on to the next"


def test_a_black_clip_does_not_move() -> None:
    flow = token_flow(np.zeros((4, 64, 64, 3), np.uint8), GEOMETRY)
    assert np.abs(flow).max() < 1e-3
