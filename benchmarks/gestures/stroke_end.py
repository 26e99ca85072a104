"""When the stroke of a gesture ends in a real clip, by its motion, because nobody labelled it.

Two neighbouring pictures are laid over one another by the similarity that most tracked corners agree on, so that the
camera's own motion cancels out; what still differs is something that moves by itself. The hand's stroke is the longest
burst of such motion; a pause of up to `PAUSE_S` belongs to it, as at the corner of a tick. Its end is where the burst ends.
It cannot be told where the clip ends before the motion does, or where nothing stands out. A hand that leaves the picture
without a pause after its stroke moves on, so that the end found is too late and a delay counted from it too short.

On 90 drawn strokes of the gestures that were not used to choose the numbers below, cut as the real clips are (24 frames per
second, 96 px, cameras that tremble and move, objects that pass), the end could be told for 56: median error +0.02 s, four
fifths between -0.26 and +0.55 s. So a median over many clips is good to a few hundredths of a second, and a single one is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH_PX = 96
SMOOTHING_S = 0.15
PAUSE_S = 0.4
QUIET_S = 0.2
"""The clip must go on for so long after a burst."""
SHARE = 0.15
"""Of the way from the quiet level to the strongest motion: above it is a burst."""
LEAST = 2.0
"""The strongest motion must be so many times the quiet level."""
NOISE = 5.0
"""Grey levels that compression and noise differ by."""
MOST = 20.0
"""Grey levels beyond `NOISE` that count at most: the hand's contrast must not decide."""


def stroke_end(pictures: Iterable[NDArray[np.uint8]], times_s: Sequence[float]) -> float | None:
    """Return when the stroke ends, seconds; None if it cannot be told.

    Args:
        pictures: of the clip, uint8 (H, W, 3) RGB.
        times_s: of each.
    """
    energy = motion_energy(pictures)
    return end_of_burst(energy, times_s[1:]) if len(energy) else None


def motion_energy(pictures: Iterable[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Return how much differs between each picture and the one before it, beside the camera's motion, grey levels (N - 1,)."""
    return np.array([_residual(before, after) for before, after in pairwise(map(_small_grey, pictures))], np.float64)


def end_of_burst(energy: NDArray[np.float64], times_s: Sequence[float]) -> float | None:
    """Return when the longest burst of motion ends, seconds; None if it cannot be told.

    Args:
        energy: of the motion (N,).
        times_s: of each.
    """
    times = np.asarray(times_s, np.float64)
    if len(times) < 3:
        return None
    step_s = float(np.median(np.diff(times)))
    smooth = _smoothed(energy, max(1, round(SMOOTHING_S / step_s)))
    quiet, most = float(np.percentile(smooth, 10)), float(smooth.max())
    if most < LEAST * quiet or most == 0:
        return None
    bursts: list[list[float]] = []  # begin and end of each
    for time_s in times[smooth > quiet + SHARE * (most - quiet)]:
        if bursts and time_s - bursts[-1][1] <= PAUSE_S + step_s:
            bursts[-1][1] = float(time_s)
        else:
            bursts.append([float(time_s), float(time_s)])
    _, end_s = max(bursts, key=lambda burst: burst[1] - burst[0])
    return end_s if times[-1] - end_s >= QUIET_S else None


def _small_grey(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height = round(WIDTH_PX * picture.shape[0] / picture.shape[1])
    small = cv2.resize(picture, (WIDTH_PX, height), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)


def _residual(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> float:
    """Return the mean difference of two pictures after alignment, beyond the noise, grey levels."""
    height, width = before.shape
    matrix = _camera_move(before, after)
    laid = cv2.warpAffine(before, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(np.full_like(before, 255), matrix, (width, height)) == 255
    if not inside.any():
        return 0.0
    soft = [cv2.GaussianBlur(one, (0, 0), 1.0).astype(np.int16) for one in (laid, after)]
    return float(np.clip(np.abs(soft[0] - soft[1])[inside] - NOISE, 0, MOST).mean())


def _camera_move(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the similarity (2, 3) that most tracked corners agree on; none at all if they do not."""
    still = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    points = cv2.goodFeaturesToTrack(before, 120, 0.01, 4)
    if points is None or len(points) < 8:
        return still
    moved, found, _ = cv2.calcOpticalFlowPyrLK(before, after, points, np.empty_like(points))
    kept = found.ravel() == 1
    if kept.sum() < 8:
        return still
    matrix, inliers = cv2.estimateAffinePartial2D(points[kept], moved[kept], ransacReprojThreshold=1.0)
    if matrix is None or inliers.mean() < 0.4:
        return still
    return np.asarray(matrix, np.float64)


def _smoothed(values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Return the mean over `length` neighbours, fewer at the ends."""
    ones = np.ones(length)
    return np.asarray(np.convolve(values, ones, "same") / np.convolve(np.ones(len(values)), ones, "same"))
