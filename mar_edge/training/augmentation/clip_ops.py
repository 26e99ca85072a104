"""Operations on clips: each does the same to every frame, except noise.

A clip is uint8 RGB (T, H, W, 3). Every function returns a new clip and does not change its argument; statistics (mean,
histogram) are those of the entire clip, so that nothing flickers. OpenCV does the work on uint8: on clips of 64 to 112
pixels this takes tenths of a millisecond; float tensors take milliseconds (docs/how-to/own-classes.md).
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

Clip = NDArray[np.uint8]
Floats = NDArray[np.float64]

LEVELS: Floats = np.arange(256, dtype=np.float64) / 255
"""All pixel values, black 0 to white 1: the identity of `tone`."""

_LUMA = np.array([0.299, 0.587, 0.114])


def mirror(clip: Clip) -> Clip:
    """Swap left and right."""
    return _whole(cv2.flip(_rows(clip), 1), clip)


def affine(
    clip: Clip, *, rotation_deg: float = 0, shear: tuple[float, float] = (0, 0), shift: tuple[float, float] = (0, 0)
) -> Clip:
    """Shear, rotate about the middle, and shift.

    New borders have the clip's mean colour: a mirrored or stretched border would move, and often against
    the picture's own motion.

    Args:
        clip: the clip.
        rotation_deg: clockwise.
        shear: (x, y): pixels right per pixel down, pixels down per pixel right.
        shift: (x, y): right and down, as shares of width and height.
    """
    height, width = clip.shape[1:3]
    turn = np.deg2rad(rotation_deg)
    linear = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = linear @ np.array([[1, shear[0]], [shear[1], 1]])
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = middle - linear @ middle + np.array([shift[0] * width, shift[1] * height])
    matrix, border = np.column_stack([linear, offset]), cv2.mean(_rows(clip))
    out = np.empty(clip.shape, np.uint8)
    for frame, moved in zip(clip, out, strict=True):
        cv2.warpAffine(frame, matrix, (width, height), moved, borderMode=cv2.BORDER_CONSTANT, borderValue=border)
    return out


def histogram(clip: Clip) -> Floats:
    """Count the pixels of each level; float64 (256, 3)."""
    rows = _rows(clip)
    counts = [cv2.calcHist([rows], [channel], None, [256], [0, 256]) for channel in range(3)]
    return np.stack([np.asarray(count, np.float64).ravel() for count in counts], axis=1)


def tone(clip: Clip, curve: Floats) -> Clip:
    """Map every level to a new value.

    Args:
        clip: the clip.
        curve: (256,) for all channels or (256, 3): the new value of each level, 0 to 1; values outside are clipped.
    """
    table = np.rint(np.clip(curve, 0, 1) * 255).astype(np.uint8)
    return _whole(cv2.LUT(_rows(clip), table.reshape(1, 256, -1)), clip)


def light(clip: Clip, *, gamma: float = 1, brightness: float = 1, contrast: float = 1) -> Clip:
    """Raise values (0 to 1) to the power of gamma, multiply by brightness, then scale the distance from their mean.

    Clipped and rounded once, at the end.
    """
    curve = LEVELS**gamma * brightness
    if contrast != 1:
        counts = histogram(clip).sum(axis=1)
        middle = float(np.clip(curve, 0, 1) @ counts / counts.sum())
        curve = middle + contrast * (curve - middle)
    return tone(clip, curve)


def colour(clip: Clip, *, saturation: float = 1, hue: float = 0) -> Clip:
    """Scale the distance of colours from their grey, and rotate them about the grey axis.

    Args:
        clip: the clip.
        saturation: 0 makes it grey, 1 changes nothing.
        hue: share of the colour circle; 1/3 turns red into green.
    """
    turn = 2 * np.pi * hue
    skew = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    about_grey = np.cos(turn) * np.eye(3) + (1 - np.cos(turn)) / 3 + np.sin(turn) * skew  # Rodrigues' formula
    saturate = saturation * np.eye(3) + (1 - saturation) * _LUMA
    return _whole(cv2.transform(_rows(clip), saturate @ about_grey), clip)


def sharpen(clip: Clip, amount: float) -> Clip:
    """Scale the distance of pixels from the mean of their 3x3 neighbourhood: 1 changes nothing, 0 smooths the clip."""
    kernel = (1 - amount) * np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    kernel[1, 1] += amount
    out = np.empty(clip.shape, np.uint8)
    for frame, sharpened in zip(clip, out, strict=True):
        cv2.filter2D(frame, -1, kernel, sharpened)
    return out


def fade_background(clip: Clip, strength: float) -> Clip:
    """Remove a share of the static part of a clip, its median over time; its mean colour stays."""
    ground = np.median(clip[::2], axis=0).astype(np.float32)  # half of the frames are sufficient
    change = strength * (ground - ground.mean(axis=(0, 1)))
    return np.asarray(np.clip(clip - change + 0.5, 0, 255), np.uint8)


def blur(clip: Clip, sigma_px: float) -> Clip:
    """Blur with a Gaussian of this standard deviation."""
    out = np.empty(clip.shape, np.uint8)
    for frame, blurred in zip(clip, out, strict=True):
        cv2.GaussianBlur(frame, (0, 0), sigma_px, blurred)
    return out


def noise(clip: Clip, deviation: float, rng: np.random.Generator) -> Clip:
    """Add Gaussian noise, drawn again for every frame, as a sensor does.

    It is read from random places of a table: drawing it takes more than ten times as long.

    Args:
        clip: the clip.
        deviation: standard deviation in grey levels of 255.
        rng: draws the places.
    """
    values = clip[0].size
    table = _noise_table(max(1 << 20, 4 * values))
    out = np.empty(clip.shape, np.uint8)
    for frame, noisy in zip(clip, out, strict=True):
        start = int(rng.integers(table.size - values))
        grain = table[start : start + values].reshape(frame.shape)
        cv2.addWeighted(frame, 1, grain, deviation, 0, noisy, cv2.CV_8U)
    return out


def erase(clip: Clip, box: tuple[int, int, int, int], rng: np.random.Generator) -> Clip:
    """Fill one box of all frames with the same random pixels, of the clip's own mean and deviation.

    Pixels of 0 to 255, as the source has them, would dominate dark footage and, under `input_norm: clip`, determine how
    the rest is normalised.

    Args:
        clip: the clip.
        box: top, left, height, width in pixels.
        rng: draws the pixels.

    Source: Zhong et al. 2017, arXiv 1708.04896.
    """
    top, left, height, width = box
    mean, deviation = (np.asarray(value).ravel() for value in cv2.meanStdDev(_rows(clip)))
    filling = np.rint(np.clip(rng.normal(mean, deviation, (height, width, 3)), 0, 255))
    out = clip.copy()
    out[:, top : top + height, left : left + width] = filling.astype(np.uint8)
    return out


@cache
def _noise_table(values: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(values, np.float32)


def _rows(clip: Clip) -> Clip:
    """Stack all frames vertically into one picture (T * H, W, 3): one call instead of T."""
    return np.ascontiguousarray(clip).reshape(-1, clip.shape[2], 3)


def _whole(rows: object, clip: Clip) -> Clip:
    return np.asarray(rows, dtype=np.uint8).reshape(clip.shape)
