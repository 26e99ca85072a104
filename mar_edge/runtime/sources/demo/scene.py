"""Procedurally drawn pictures: the world of the demo source and part of egomotion's training data."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def draw_scene(rng: np.random.Generator, size_px: int = 512) -> Picture:
    """Draw a picture of one of several kinds.

    Returns:
        uint8 (size, size, 3).
    """
    kind = rng.choice(["leaves", "clouds", "room", "tiles"], p=[0.45, 0.25, 0.2, 0.1])
    picture = {"leaves": dead_leaves, "clouds": clouds, "room": room, "tiles": tiles}[str(kind)](rng, size_px)
    if rng.random() < 0.4:
        cloud = clouds(rng, size_px).astype(np.float32) - 128
        picture = np.clip(picture + cloud * rng.uniform(0.1, 0.5), 0, 255).astype(np.uint8)
    return picture


def dead_leaves(rng: np.random.Generator, size_px: int, shapes: int | None = None) -> Picture:
    """Draw overlapping shapes with sizes as in natural images (dead leaves model, Lee et al. 2001)."""
    picture = _gradient(rng, size_px)
    for _ in range(int(rng.integers(60, 400)) if shapes is None else shapes):
        radius = int(size_px * min(0.3, 0.008 * rng.uniform(1e-3, 1) ** -0.6))
        _shape(rng, picture, radius, _color(rng))
    return picture


def clouds(rng: np.random.Generator, size_px: int) -> Picture:
    """Draw noise whose amplitude falls with frequency, in correlated colours."""
    frequency = np.hypot(np.fft.fftfreq(size_px)[:, None], np.fft.rfftfreq(size_px)[None])
    frequency[0, 0] = 1
    fall = frequency ** -rng.uniform(0.8, 1.8)
    fall[0, 0] = 0
    layers = []
    for _ in range(3):
        phase = rng.uniform(0, 2 * np.pi, fall.shape)
        layer = np.fft.irfft2(fall * np.exp(1j * phase), s=(size_px, size_px))
        layers.append(layer / layer.std())
    mix = np.eye(3) * rng.uniform(0.1, 0.6) + np.array([1.0, 0, 0])[:, None]
    noise = np.stack(layers, axis=-1) @ mix * rng.uniform(20, 60) + rng.uniform(80, 170)
    out: Picture = np.clip(noise, 0, 255).astype(np.uint8)
    return out


def room(rng: np.random.Generator, size_px: int) -> Picture:
    """Draw plain walls with few edges, some lines and some writing."""
    picture = _gradient(rng, size_px)
    for _ in range(int(rng.integers(4, 20))):
        x, y = rng.integers(0, size_px, 2)
        w, h = rng.integers(size_px // 20, size_px // 2, 2)
        cv2.rectangle(picture, (int(x), int(y)), (int(x + w), int(y + h)), _color(rng), int(rng.choice([-1, 2, 4])))
    for _ in range(int(rng.integers(4, 25))):
        a, b = rng.integers(0, size_px, (2, 2))
        cv2.line(picture, tuple(map(int, a)), tuple(map(int, b)), _color(rng), int(rng.integers(1, 6)), cv2.LINE_AA)
    for _ in range(int(rng.integers(0, 12))):
        text = "".join(rng.choice(list("ABCDEFGHKLMNPRSTUVXYZ0123456789 ")) for _ in range(8))
        at = tuple(map(int, rng.integers(0, size_px, 2)))
        cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, rng.uniform(0.5, 2), _color(rng), 2, cv2.LINE_AA)
    _grain(rng, picture, 8)
    return picture


def tiles(rng: np.random.Generator, size_px: int) -> Picture:
    """Draw a floor of tiles whose colours differ, so that it is not quite periodic."""
    count = int(rng.integers(5, 24))
    base, spread = np.array(_color(rng)), rng.uniform(15, 70)
    cells = np.clip(base + rng.normal(0, spread, (count, count, 3)), 0, 255).astype(np.uint8)
    picture = np.asarray(cv2.resize(cells, (size_px, size_px), interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
    turn = cv2.getRotationMatrix2D((size_px / 2, size_px / 2), rng.uniform(0, 90), 1.5)
    picture = np.asarray(
        cv2.warpAffine(picture, turn, (size_px, size_px), borderMode=cv2.BORDER_REFLECT), dtype=np.uint8
    )
    _grain(rng, picture, 12)
    return picture


def shape_mask(rng: np.random.Generator, size_px: int) -> Picture:
    """Draw one soft-edged blob or polygon, 0 to 255."""
    mask = np.zeros((size_px, size_px, 1), np.uint8)
    _shape(rng, mask, int(size_px * 0.36), (255,), center=(size_px // 2, size_px // 2))
    if rng.random() < 0.5:
        offset = rng.integers(size_px // 3, 2 * size_px // 3, 2)
        _shape(rng, mask, int(size_px * 0.22), (255,), center=(int(offset[0]), int(offset[1])))
    out: Picture = np.asarray(cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 2.5)), dtype=np.uint8).reshape(
        size_px, size_px
    )
    return out


def _shape(
    rng: np.random.Generator, picture: Picture, radius: int, color: Any, center: tuple[int, int] | None = None
) -> None:
    size_px = picture.shape[0]
    radius = max(2, radius)
    at = center or (int(rng.integers(size_px)), int(rng.integers(size_px)))
    kind = rng.integers(3)
    if kind == 0:
        axes = (radius, max(1, int(radius * rng.uniform(0.3, 1))))
        cv2.ellipse(picture, at, axes, rng.uniform(0, 180), 0, 360, color, -1, cv2.LINE_AA)
        return
    corners = 4 if kind == 1 else int(rng.integers(3, 9))
    angle = (
        np.sort(rng.uniform(0, 2 * np.pi, corners)) if kind == 2 else np.arange(4) * np.pi / 2 + rng.uniform(0, np.pi)
    )
    reach = radius * (rng.uniform(0.4, 1, corners) if kind == 2 else 1)
    points = np.stack([np.cos(angle) * reach, np.sin(angle) * reach * rng.uniform(0.4, 1)], axis=-1) + at
    cv2.fillPoly(picture, [points.astype(np.int32)], color, cv2.LINE_AA)


def _gradient(rng: np.random.Generator, size_px: int) -> Picture:
    corners = rng.uniform(0, 255, (2, 2, 3)).astype(np.float32)
    return np.asarray(cv2.resize(corners, (size_px, size_px)), dtype=np.float32).clip(0, 255).astype(np.uint8)


def _grain(rng: np.random.Generator, picture: Picture, strength: float) -> None:
    size_px = picture.shape[0]
    coarse = rng.normal(0, strength, (size_px // 4, size_px // 4)).astype(np.float32)
    grain = np.asarray(cv2.resize(coarse, (size_px, size_px), interpolation=cv2.INTER_CUBIC))
    picture[:] = np.clip(picture + grain[..., None], 0, 255).astype(np.uint8)


def _color(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = (rng.uniform(0, 255) * 0.6 + rng.uniform(0, 255, 3) * 0.4).astype(int)
    return int(red), int(green), int(blue)
