"""What a frame shows, and how cheap cameras spoil it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Clip = NDArray[np.uint8]
Rng = np.random.Generator

DARKEST = 2.5
"""Minimum low-pass standard deviation, in grey levels, after darkening: below it 8 bits cannot show the picture."""

_NOISE = np.random.default_rng(1).normal(0, 1, 1 << 21).astype(np.float32)


def degrade(clip: Clip, rng: Rng, *, darkest: float = 0.06) -> Clip:
    """Change light, contrast, sharpness and noise of a clip as cheap cameras do.

    Args:
        clip: uint8 (T, S, S, 3).
        rng: source of all random numbers.
        darkest: least factor of the light.
    """
    frames = len(clip)
    x = clip.astype(np.float32)
    if rng.random() < 0.25:
        for frame in x:
            cv2.GaussianBlur(frame, (0, 0), 0.4 + rng.uniform(0, 0.1), dst=frame)
    if rng.random() < 0.5:
        x = np.float32(255) * (x / np.float32(255)) ** np.float32(np.exp(rng.uniform(-0.5, 0.5)))
    gain = (
        float(rng.uniform(0.5, 1.2)) if rng.random() < 0.7 else float(np.exp(rng.uniform(np.log(darkest), np.log(0.5))))
    )
    gain = max(gain, DARKEST / max(DARKEST, contrast(x[0])))
    flicker = np.ones(frames)
    if rng.random() < 0.35:
        flicker += rng.uniform(0, 0.12) * np.sin(
            2 * np.pi * rng.uniform(0.02, 0.5) * np.arange(frames) + rng.uniform(0, 6)
        )
        flicker += np.linspace(0, rng.uniform(-0.25, 0.25), frames)
    x = x * (gain * flicker[:, None, None, None]).astype(np.float32) + float(rng.uniform(0, 20) * rng.integers(2))
    if rng.random() < 0.15:
        _overlay(x, rng)
    if rng.random() < 0.7:
        strength = float(np.exp(rng.uniform(np.log(0.3), np.log(7)))) * (0.3 + 0.7 * min(1.0, gain))
        start = int(rng.integers(0, max(1, _NOISE.size - x.size)))
        x = x + strength * np.resize(_NOISE[start:], x.shape)  # a larger clip contains it more than once
    out: Clip = np.clip(x + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        quality = [int(cv2.IMWRITE_JPEG_QUALITY), int(rng.integers(25, 80))]
        for index, frame in enumerate(out):
            out[index] = np.asarray(cv2.imdecode(cv2.imencode(".jpg", frame, quality)[1], cv2.IMREAD_COLOR))
    return out


def _overlay(x: NDArray[np.float32], rng: Rng) -> None:
    """Draw something fixed to the camera into the picture: a time stamp, a bonnet, a gripper."""
    side = x.shape[1]
    high, wide = int(rng.integers(3, side // 4)), int(rng.integers(6, side))
    top = int(rng.choice([0, side - high]))
    left = int(rng.integers(0, side - wide + 1))
    x[:, top : top + high, left : left + wide] = rng.uniform(0, 255, 3).astype(np.float32)


def structure(frame: NDArray[np.uint8]) -> float:
    """Return how visible motion of a frame (S, S, 3) is in every direction, in grey levels per pixel.

    The smaller eigenvalue of the gradients' covariance (Shi and Tomasi 1994) in each of 4x4 fields; its square root in
    the median field.
    """
    grey = frame.astype(np.float32).mean(axis=-1)
    right = np.asarray(cv2.Sobel(grey, cv2.CV_32F, 1, 0)) / 8
    down = np.asarray(cv2.Sobel(grey, cv2.CV_32F, 0, 1)) / 8
    side = grey.shape[0] // 4
    xx, yy, xy = (p.reshape(4, side, 4, side).mean(axis=(1, 3)) for p in (right**2, down**2, right * down))
    smaller = (xx + yy) / 2 - np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    return float(np.sqrt(max(0.0, float(np.median(smaller)))))


def contrast(frame: NDArray[np.uint8] | NDArray[np.float32]) -> float:
    """Standard deviation of a frame (S, S, 3) averaged down to 16x16, in grey levels."""
    return float(np.asarray(cv2.resize(frame, (16, 16), interpolation=cv2.INTER_AREA)).mean(axis=-1).std())
