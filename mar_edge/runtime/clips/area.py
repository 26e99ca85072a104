"""Shrinks pictures by averaging: OpenCV's INTER_AREA, byte for byte, in less than half its time.

OpenCV adds up every pixel by itself, in floating point, unless both sides shrink by whole numbers. Here whole rows are added
up first, which a processor does many pixels at a time. The sums differ from OpenCV's by rounding, which shows only where an
average lies in the middle between two levels; such pixels, a few in a thousand, are left to OpenCV.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

LEAST_PIXELS = 400_000
"""Of a smaller picture OpenCV itself is fast enough."""

MOST_REPAIRS = 64
"""With more pixels in the middle between two levels, as in drawn patterns, OpenCV does the whole picture."""

_ROUNDING = 255 * 2.0**-24
"""Most that one addition of float32 numbers rounds, for sums that are levels in the end."""


def shrink(picture: NDArray[np.uint8], height_px: int, width_px: int) -> NDArray[np.uint8]:
    """Return a picture in a smaller size, as `cv2.resize` with INTER_AREA does.

    Args:
        picture: uint8 (H, W, 3), at least as large on both sides.
        height_px: of the result.
        width_px: of the result.

    Returns:
        uint8 (height_px, width_px, 3).
    """
    height, width = picture.shape[:2]
    plan = _plan(height, width, height_px, width_px)
    if plan is None:
        return _by_opencv(picture, height_px, width_px)
    sums = np.empty((height_px, width, 3), np.float32)
    for row, (begin, end) in enumerate(plan.whole_rows):
        cv2.reduce(picture[begin:end], 0, cv2.REDUCE_SUM, dst=sums[row : row + 1], dtype=cv2.CV_32F)
    if len(plan.split_rows):
        split = picture[plan.split_rows].astype(np.float32)
        sums[:-1] += plan.share_above * split
        sums[1:] += plan.share_below * split
    level = np.asarray(cv2.resize(sums, (width_px, height_px), interpolation=cv2.INTER_AREA)) * plan.per_row
    result = np.rint(level)
    doubtful = (np.abs(np.abs(level - result) - 0.5) < plan.rounding).any(axis=2)
    out: NDArray[np.uint8] = result.astype(np.uint8)
    rows, columns = np.nonzero(doubtful)
    if len(rows) > MOST_REPAIRS:
        return _by_opencv(picture, height_px, width_px)
    if len(rows):
        # blocks after which the borders of both pictures coincide, side by side: one call for all of them
        tops, lefts = rows - rows % plan.period_y, columns - columns % plan.period_x
        blocks = [_block(picture, plan, top, left) for top, left in zip(tops.tolist(), lefts.tolist(), strict=True)]
        repaired = _by_opencv(np.concatenate(blocks, axis=1), plan.period_y, len(blocks) * plan.period_x)
        out[rows, columns] = repaired[rows - tops, np.arange(len(rows)) * plan.period_x + columns - lefts]
    return out


def _block(picture: NDArray[np.uint8], plan: _Plan, top: int, left: int) -> NDArray[np.uint8]:
    """Return the part of a picture from which a block of the result, which begins at a row and a column, is made."""
    return picture[
        round(top * plan.scale_y) : round((top + plan.period_y) * plan.scale_y),
        round(left * plan.scale_x) : round((left + plan.period_x) * plan.scale_x),
    ]


class _Plan(NamedTuple):
    """How pictures of one size are shrunk to another.

    Attributes:
        whole_rows: for each row of the result the picture's rows that belong to it alone, from and to.
        split_rows: the picture's rows that are shared by two neighbours, one for each pair; empty if there are none.
        share_above, share_below: float32 (height_px - 1, 1, 1), how much of each shared row belongs to which neighbour.
        scale_y, scale_x: pixels of the picture for one of the result.
        period_y, period_x: pixels of the result after which its borders fall on the picture's again.
        per_row: one divided by `scale_y`.
        rounding: most by which a result may differ from OpenCV's before it is rounded to a level.
    """

    whole_rows: list[tuple[int, int]]
    split_rows: NDArray[np.int64]
    share_above: NDArray[np.float32]
    share_below: NDArray[np.float32]
    scale_y: float
    scale_x: float
    period_y: int
    period_x: int
    per_row: np.float32
    rounding: float


@lru_cache(maxsize=64)
def _plan(height: int, width: int, height_px: int, width_px: int) -> _Plan | None:
    """Return how to shrink; None if OpenCV is fast, or does not compute the same for a part of the picture."""
    whole = height % height_px == 0 and width % width_px == 0
    # borders of the result are exact numbers only in halves, quarters and so on, so that a part of a picture has the same
    exact = _is_power_of_two(height_px) and _is_power_of_two(width_px)
    if whole or not exact or height * width < LEAST_PIXELS or height < 2 * height_px or width < 2 * width_px:
        return None
    scale_y, scale_x = height / height_px, width / width_px
    period_y, period_x = height_px // math.gcd(height, height_px), width_px // math.gcd(width, width_px)
    halves = height_px * width_px / (scale_y * scale_x * period_y * period_x)  # averages that end in exactly one half
    if halves > MOST_REPAIRS / 2:
        return None
    borders = np.arange(height_px + 1) * scale_y
    inner = borders[1:-1]
    split = np.floor(inner).astype(np.int64)
    above = (inner - split).astype(np.float32)[:, None, None]
    begins, ends = np.ceil(borders[:-1]).astype(int), np.floor(borders[1:]).astype(int)
    divided = bool((above > 0).any())
    return _Plan(
        whole_rows=list(zip(begins.tolist(), ends.tolist(), strict=True)),
        # a border that falls between two rows shares none: the row below it is whole, and its shares are both 0
        split_rows=split if divided else split[:0],
        share_above=above,
        share_below=np.where(above > 0, 1 - above, 0).astype(np.float32),
        scale_y=scale_y,
        scale_x=scale_x,
        period_y=period_y,
        period_x=period_x,
        per_row=np.float32(1 / scale_y),
        # of n terms, which grow evenly, about n / 2 roundings of the whole; OpenCV's over both sides, ours over one
        rounding=(scale_x + scale_y / 2 + 16) * _ROUNDING,
    )


def _is_power_of_two(number: int) -> bool:
    return number & (number - 1) == 0


def _by_opencv(picture: NDArray[np.uint8], height_px: int, width_px: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(picture, (width_px, height_px), interpolation=cv2.INTER_AREA), dtype=np.uint8)
