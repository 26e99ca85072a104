"""What moves where, when and in which direction in a clip: a few numbers, for a baseline that needs no network."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.training.optical_flow import dense_flow, stretched_grey

SIZE_PX = 96
"""Height and width of the frames."""

RATE_FPS = 10.0
"""Frames per second."""

MOST_FRAMES = 200
"""A longer clip is sampled more slowly, so that it takes no longer."""

SEGMENTS = 8
"""Parts of a clip in time."""

GRID = 3
"""Rows and columns of the picture's cells."""

DIRECTIONS = 8

SPEEDS = (0.0025, 0.005, 0.01, 0.02, 0.04)
"""Displacements between two frames, in picture widths; the share of the picture that exceeds each is counted."""


def sampled_times(duration_s: float) -> NDArray[np.float64]:
    """Return the times of the frames to look at, float64 (T,), at least two."""
    frames = int(np.clip(round(duration_s * RATE_FPS), 2, MOST_FRAMES))
    times_s: NDArray[np.float64] = np.arange(frames) * np.float64(duration_s / frames)
    return times_s


def flow_histograms(clip: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Describe the motion in a clip.

    Args:
        clip: uint8 (T, SIZE_PX, SIZE_PX, 3) RGB, at least two frames.

    Returns:
        float64 (values,): in every segment of time the motion in each of 8 directions, where in the picture it is, and how
        much of the picture moves how fast; and over the whole clip the motion in each direction in every cell. Square roots,
        because a few fast clips would otherwise outweigh all others.
    """
    levels = stretched_grey(clip)
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    pairs = [_of_pair(dense_flow(search, a, b) / SIZE_PX) for a, b in pairwise(levels)]
    cells = np.stack([cell for cell, _, _ in pairs])  # (pairs, GRID, GRID, DIRECTIONS)
    edges = np.linspace(0, len(pairs), SEGMENTS + 1)
    parts = [slice(int(low), max(int(low) + 1, int(np.ceil(high)))) for low, high in pairwise(edges)]
    directions = np.stack([cells[part].mean(axis=(0, 1, 2)) for part in parts])  # (SEGMENTS, DIRECTIONS)
    places = np.stack([_centre(np.stack([place for _, place, _ in pairs[part]])) for part in parts])  # (SEGMENTS, 2)
    speeds = np.stack([np.mean([speed for _, _, speed in pairs[part]], axis=0) for part in parts])
    amounts = np.concatenate([directions.ravel(), speeds.ravel(), cells.mean(axis=0).ravel()])
    return np.concatenate([np.sqrt(amounts), places.ravel()])


def _of_pair(flow: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the motion between two frames.

    Args:
        flow: (H, W, 2), in picture widths.

    Returns:
        Motion by cell and direction (GRID, GRID, DIRECTIONS); sums of motion, and of motion by its place, right and down (3);
        and the shares that exceed `SPEEDS`.
    """
    amount = np.hypot(flow[..., 0], flow[..., 1])
    turn = np.arctan2(flow[..., 1], flow[..., 0]) / (2 * np.pi) * DIRECTIONS
    height, width = amount.shape
    row, column = (np.arange(size) * GRID // size for size in (height, width))
    cell = (row[:, None] * GRID + column) * DIRECTIONS + np.round(turn).astype(np.int64) % DIRECTIONS
    counted = np.bincount(cell.ravel(), amount.ravel(), GRID * GRID * DIRECTIONS) / amount.size * GRID * GRID
    y, x = np.linspace(-1, 1, height), np.linspace(-1, 1, width)
    place = np.array([amount.sum(), amount.sum(axis=0) @ x, amount.sum(axis=1) @ y])
    fast = np.array([(amount > speed).mean() for speed in SPEEDS])
    return counted.reshape(GRID, GRID, DIRECTIONS), place, fast


def _centre(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean place of motion, right and down from -1 to 1; the middle where nothing moves."""
    total, right, down = places.sum(axis=0)
    centre: NDArray[np.float64] = np.array([right, down]) / max(total, 1e-3 * SIZE_PX**2 * SPEEDS[0])
    return centre
