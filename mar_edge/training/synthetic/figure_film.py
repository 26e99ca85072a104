"""Films jointed figures: anywhere in the picture, from any side, with a moving or static camera."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.training.synthetic.figure import HEIGHT, PARTS, WAIST, Curve, Limb, limbs, perform

Picture = NDArray[np.uint8]
Rng = np.random.Generator

STAGE_PX = (192, 144)
"""Width and height of the stage that is filmed; backgrounds are resized to it."""

SHARPER = 2
"""Figures are drawn at this multiple of the clip's size and averaged down."""


class Camera(NamedTuple):
    """The projection of the stage onto the picture, over time.

    Attributes:
        matrix: affine (T, 2, 3), stage pixels to picture pixels.
        scale: picture pixels per stage pixel, upwards (T,).
    """

    matrix: Curve
    scale: Curve


class Stand(NamedTuple):
    """Where on the stage a figure is, over time.

    Attributes:
        x_px: of its hip's projection (T,).
        floor_px: of the ground it stands on.
        leg_px: length of its leg (T,), larger when it is nearer.
        yaw: direction it faces, 0 towards the camera (T,).
        forward: how far it has come, in legs (T,).
    """

    x_px: Curve
    floor_px: Curve
    leg_px: Curve
    yaw: Curve
    forward: Curve


def film_figure(action: str, background: Picture, *, frames: int, size_px: int, rate_fps: float, rng: Rng) -> Picture:
    """Film a figure doing something.

    Args:
        action: one of `figure.ACTIONS`.
        background: uint8 (H, W, 3) RGB, of any size.
        frames: T.
        size_px: side of the clip, onto which the entire stage is stretched.
        rate_fps: frames per second; the figure's time runs up to a third slower or faster.
        rng: draws everything else.

    Returns:
        uint8 (T, size_px, size_px, 3) RGB.
    """
    times_s = np.arange(frames) * np.exp(rng.uniform(np.log(0.75), np.log(1.3))) / rate_fps
    pose = perform(action, times_s, rng)
    body = limbs(pose, rng)
    background = background[:, ::-1] if rng.random() < 0.5 else background
    stage = np.asarray(cv2.resize(background, STAGE_PX, interpolation=cv2.INTER_AREA), np.uint8)
    stand = _stand(pose.forward, rng.uniform(-np.pi, np.pi) + pose.yaw, rng)
    along = stand.x_px if action in ("Run", "Walk") and rng.random() < 0.6 else None
    hip_px = stand.floor_px - body[WAIST].start[:, 2] * stand.leg_px
    upward = hip_px if action in ("Sit", "Stand") and rng.random() < 0.6 else None
    camera = _camera(along, upward, frames, size_px, rng)
    colours = np.clip(
        (stage.mean() + 2) * np.exp(rng.normal(0, 0.7, (PARTS, 1)) + rng.normal(0, 0.15, (PARTS, 3))), 1, 235
    )
    cloth = rng.uniform(0, 0.35) * _cloth(rng)
    out = np.empty((frames, size_px, size_px, 3), np.float32)
    for index in range(frames):
        ground = cv2.warpAffine(stage, camera.matrix[index], (size_px, size_px), borderMode=cv2.BORDER_REFLECT)
        colour, cover = _draw(body, stand, camera, index, colours, size_px)
        worn = 1 + _worn(cloth, stand, camera, index, size_px)[..., None]
        out[index] = ground * (1 - cover) + colour * worn
    return _sensed(out, rng)


def _stand(forward: Curve, yaw: Curve, rng: Rng) -> Stand:
    """Place a figure so that it stays in front of the camera and its path is centred on the stage."""
    width, height = STAGE_PX
    leg_px = np.exp(rng.uniform(np.log(0.42), np.log(1.5))) * height / HEIGHT
    towards = forward * np.cos(yaw)  # legs nearer to the camera than at the start
    near = max(0.0, float(towards.max()))
    distance = near + max(rng.uniform(1.8, 5), 0.35 * near + 1.5)
    nearer = distance / np.clip(distance - towards, 0.5, None)
    leg_px = leg_px / np.sqrt(nearer.max())
    small = leg_px * HEIGHT < 0.85 * height
    floor_px = height * rng.uniform(0.8, 1.0) if small else 0.5 * height + leg_px * rng.uniform(0.55, 1.3)
    across_px = forward * np.sin(yaw) * leg_px * nearer
    walks = np.ptp(forward) > 1.2
    middle_px = width * (0.5 + rng.uniform(-0.2, 0.2)) - across_px.mean() if walks else width * rng.uniform(0.2, 0.8)
    return Stand(
        x_px=middle_px + across_px - (0 if walks else across_px[0]),
        floor_px=floor_px + 0.3 * (nearer - 1) * leg_px,
        leg_px=leg_px * nearer,
        yaw=yaw,
        forward=forward,
    )


def _camera(along_px: Curve | None, upward_px: Curve | None, frames: int, size_px: int, rng: Rng) -> Camera:
    """Draw a camera that is static, or drifts and shakes, and may follow the figure horizontally or vertically."""
    width, height = STAGE_PX
    share = np.linspace(0, 1, frames)

    def drift(most: float) -> Curve:
        line = most * rng.normal() * (share - 0.5)
        return line + 0.35 * most * rng.normal() * np.sin(2 * np.pi * (rng.uniform(0.5, 4) * share + rng.random()))

    moves = rng.random() < 0.6
    pan_px, tilt_px = (drift(0.12 * width), drift(0.05 * height)) if moves else np.zeros((2, frames))
    zoom, roll = (drift(0.1), np.deg2rad(drift(2.0))) if moves else np.zeros((2, frames))
    if along_px is not None:
        pan_px = pan_px + rng.uniform(0.6, 1.05) * (along_px - along_px.mean())
    if upward_px is not None:
        tilt_px = tilt_px + rng.uniform(0.2, 0.9) * (upward_px - upward_px.mean())
    scale = np.exp(rng.uniform(-0.1, 0.25) + zoom) * size_px / np.array([[width], [height]])  # (2, T)
    cos, sin = np.cos(roll), np.sin(roll)
    turn = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)  # (T, 2, 2)
    linear = scale.T[:, :, None] * turn
    centre = np.stack([width / 2 + pan_px, height / 2 + tilt_px], axis=1)
    shift = size_px / 2 - np.einsum("tij,tj->ti", linear, centre)
    return Camera(np.concatenate([linear, shift[..., None]], axis=2), scale[1])


def _draw(
    body: list[Limb], stand: Stand, camera: Camera, index: int, colours: Curve, size_px: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw a figure at one moment: its colours where it is (S, S, 3), and how much of each pixel it covers (S, S, 1)."""
    parts = np.zeros((SHARPER * size_px, SHARPER * size_px), np.uint8)
    strokes = []
    for limb in body:
        (start, near_start), (end, near_end) = (
            _seen(joint[index], stand, camera, index) for joint in (limb.start, limb.end)
        )
        thickness = limb.thickness * stand.leg_px[index] * camera.scale[index]
        strokes.append((near_start + near_end, start, end, max(1, round(SHARPER * thickness)), limb.part + 1))
    for _, start, end, thickness_px, part in sorted(strokes, key=lambda stroke: stroke[0]):  # the nearest last
        cv2.line(parts, _pixel(start), _pixel(end), part, thickness_px)
    palette = np.concatenate([np.zeros((1, 3)), colours]).astype(np.float32)
    size = (size_px, size_px)
    colour = cv2.resize(palette[parts], size, interpolation=cv2.INTER_AREA)
    cover = cv2.resize((parts > 0).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return np.asarray(colour, np.float32), np.asarray(cover, np.float32)[..., None]


def _seen(joint: Curve, stand: Stand, camera: Camera, index: int) -> tuple[Curve, float]:
    """Return the position of a joint in the picture, and how near it is."""
    ahead, left, up = joint[0] - stand.forward[index], joint[1], joint[2]
    cos, sin, leg_px = np.cos(stand.yaw[index]), np.sin(stand.yaw[index]), stand.leg_px[index]
    on_stage = np.array(
        [stand.x_px[index] + (ahead * sin + left * cos) * leg_px, stand.floor_px[index] - up * leg_px, 1.0]
    )
    return camera.matrix[index] @ on_stage, float(ahead * cos - left * sin)


def _pixel(place: Curve) -> tuple[int, int]:
    x, y = np.clip(SHARPER * place, -999, 999).astype(int)
    return int(x), int(y)


def _cloth(rng: Rng) -> NDArray[np.float32]:
    coarse = rng.normal(size=(36, 48)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, STAGE_PX, interpolation=cv2.INTER_CUBIC), np.float32)


def _worn(cloth: NDArray[np.float32], stand: Stand, camera: Camera, index: int, size_px: int) -> NDArray[np.float32]:
    """Move the cloth's texture (S, S) with the figure, so that it does not slide over it."""
    scale = np.array([0.6, 0.8]) * size_px / STAGE_PX[1]
    place = camera.matrix[index] @ np.array([stand.x_px[index], stand.floor_px[index] - stand.leg_px[index], 1.0])
    matrix = np.array(
        [[scale[0], 0, place[0] - scale[0] * STAGE_PX[0] / 2], [0, scale[1], place[1] - scale[1] * STAGE_PX[1] / 2]]
    )
    moved = cv2.warpAffine(cloth, matrix, (size_px, size_px), borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, np.float32)


def _sensed(film: NDArray[np.float32], rng: Rng) -> Picture:
    """Blur a film (T, S, S, 3) and add sensor noise, which is strong in dark footage."""
    blur_px = 0.8 * rng.random()
    noise = rng.uniform(0, 0.9) * np.sqrt(film.mean() / 20 + 0.05)
    if blur_px > 0.3:
        film = np.stack([cv2.GaussianBlur(frame, (0, 0), blur_px) for frame in film])
    film = film + rng.normal(0, noise, (*film.shape[:3], 1)).astype(np.float32)
    return np.asarray(np.clip(film + 0.5, 0, 255), np.uint8)
