"""Films worlds with a virtual camera: clips whose camera motion is known exactly.

All random numbers come from the generator passed in, so the same seed gives the same clips.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.geometry import Geometry
from mar_edge.runtime.clips.sampler import Sampler
from mar_edge.runtime.sources.demo.camera_path import LABELS, CameraPath, Motion, content_flow, motion_of, view_affine
from mar_edge.runtime.sources.demo.scene import shape_mask
from mar_edge.training.synthetic.symmetry import Film
from mar_edge.training.synthetic.worlds import World

Clip = NDArray[np.uint8]
Rng = np.random.Generator

RENDER = 2
"""Views are rendered at this multiple of the clip's size and averaged down, as a real camera's picture is."""

MIN_CONTRAST = 6.0
"""A first view whose low-pass standard deviation is below this shows nothing that could move; another place is tried."""

DARKEST = 2.5
"""Minimum low-pass standard deviation, in grey levels, after darkening: below it 8 bits cannot show the picture."""

SPEEDS = {"pan": (0.2, 1.5), "tilt": (0.2, 1.5), "zoom": (0.10, 0.60), "roll": (8.0, 40.0), "shake": (0.012, 0.06)}


@dataclass(frozen=True, kw_only=True)
class Filming:
    """How clips are filmed.

    Attributes:
        geometry: of the clips, which are square.
        rate_fps: rate at which the model samples.
        min_structure: least `structure` of the first view; other places are tried until one has it. Over a bare wall or
            a smooth gradient no move can be seen, and its label would be wrong. 0, as in training, accepts any place.
        clean: adds no moving objects, noise, blur or lighting: for worlds that are real footage.
        margin: share by which speeds may be outside the specified ranges, so that their ends are not the limit of
            the training.
    """

    geometry: Geometry
    rate_fps: float = 10.0
    min_structure: float = 0.0
    clean: bool = False
    margin: float = 0.12


def film(label: str, world: World, objects: list[World], filming: Filming, rng: Rng) -> Film:
    """Film one clip.

    Args:
        label: the camera's move, one of `LABELS`.
        world: what it looks at.
        objects: worlds from which the surfaces of moving objects are cut.
        filming: the settings.
        rng: source of all random numbers.

    Returns:
        The clip, its label, and the motion of the world at every token.
    """
    time_s = frame_times(filming, rng)
    aspect = float(rng.choice([1.0, 4 / 3, 1.5, 16 / 9, 3 / 4]))
    path = _path(label, float(time_s[-1]) + 0.2, filming, rng)
    level, center_px, px_per_width = _place(world, path, aspect, filming, rng)
    film_start_s = float(rng.uniform(0, 10))
    exposure_s = float(rng.choice([0, 0, 0, 0, rng.uniform(0.005, 0.05)]))
    scene_objects = [] if filming.clean else _draw_objects(label, objects, path, time_s, filming, rng)

    frames = []
    for t in time_s:
        picture = world.at(film_start_s + t, level)
        view = _view(picture, path, t, exposure_s, aspect, center_px, px_per_width, filming)
        for item in scene_objects:
            item.paint(view, path.at(t), t, aspect)
        frames.append(view)
    clip = np.stack(frames)
    flow = token_flow(path, time_s, aspect, filming.geometry)
    return Film(clip if filming.clean else degrade(clip, rng), LABELS.index(label), flow)


def token_flow(path: CameraPath, time_s: NDArray[np.float64], aspect: float, geometry: Geometry) -> NDArray[np.float32]:
    """Return the flow (t, h, w, 2) of the world at every token, from a tubelet's first frame to its last.

    Right and down, in picture widths and heights. Moving objects are ignored: it is the camera's motion.
    """
    t, h, w = geometry.grid
    down, right = np.meshgrid((np.arange(h) + 0.5) / h - 0.5, (np.arange(w) + 0.5) / w - 0.5, indexing="ij")
    places = np.stack([right, down], axis=-1)
    first = time_s[:: geometry.tubelet_frames]
    last = time_s[geometry.tubelet_frames - 1 :: geometry.tubelet_frames]
    flows = [
        content_flow(path.at(a), path.at(b), aspect=aspect, places=places) for a, b in zip(first, last, strict=True)
    ]
    assert len(flows) == t
    return np.stack(flows).astype(np.float32)


def frame_times(filming: Filming, rng: Rng) -> NDArray[np.float64]:
    """Return the capture times that the runtime's sampler picks from a camera of 10 to 60 frames per second."""
    fps = float(np.exp(rng.uniform(np.log(10), np.log(60))))
    if rng.random() < 0.5:
        fps = float(rng.choice([10, 12, 15, 20, 24, 25, 30, 50, 60]))
    jitter_s = float(rng.choice([0, rng.uniform(0, 0.1)])) / fps
    drop = float(rng.choice([0, 0, 0.05]))
    sampler = Sampler(filming.rate_fps)
    times: list[float] = []
    index = 0
    while len(times) < filming.geometry.frames:
        captured_s = index / fps + float(rng.uniform(-jitter_s, jitter_s))
        if index == 0 or rng.random() >= drop:
            times.extend([captured_s] * sampler.take(captured_s))
        index += 1
    return np.array(times[: filming.geometry.frames]) - times[0]


def draw_speed(label: str, filming: Filming, rng: Rng) -> float:
    """Draw the speed of a label's move, log-uniform over its specified range and the margin."""
    low, high = SPEEDS[label.split("_")[0]]
    return float(np.exp(rng.uniform(np.log(low * (1 - filming.margin)), np.log(high * (1 + filming.margin)))))


def draw_motion(label: str, filming: Filming, rng: Rng) -> Motion:
    """Draw a label's motion: its move, and small unwanted ones on the other axes."""
    if label == "still":
        steady = rng.random() < 0.5
        drift = rng.normal(0, 0.0 if steady else 0.008, 2)
        wobble = 0.0 if steady else float(rng.uniform(0, 0.0025))
        return Motion(right_per_s=drift[0], down_per_s=drift[1], jitter=wobble, jitter_hz=float(rng.uniform(1, 8)))
    motion = motion_of(label, draw_speed(label, filming, rng))
    if label == "shake":
        return replace(
            motion,
            jitter_roll_deg=float(rng.uniform(0, 3)),
            jitter_hz=float(rng.uniform(2, 8)),
            right_per_s=float(rng.normal(0, 0.03)),
            down_per_s=float(rng.normal(0, 0.03)),
        )
    main = abs(motion.right_per_s) + abs(motion.down_per_s)
    side = 0.08 * main if main else 0.02
    return replace(
        motion,
        right_per_s=motion.right_per_s or float(rng.normal(0, side)),
        down_per_s=motion.down_per_s or float(rng.normal(0, side)),
        zoom_per_s=motion.zoom_per_s or float(rng.normal(0, 0.012)),
        roll_deg_per_s=motion.roll_deg_per_s or float(rng.normal(0, 0.9)),
        jitter=float(rng.choice([0, rng.uniform(0, 0.004)])),
        jitter_hz=float(rng.uniform(2, 8)),
    )


def _path(label: str, duration_s: float, filming: Filming, rng: Rng) -> CameraPath:
    pace_s = np.linspace(0, duration_s, 4)
    pace = 1 + rng.uniform(-0.2, 0.2, 4) * rng.choice([0, 1])
    return CameraPath([(duration_s, draw_motion(label, filming, rng))], rng, (pace_s, pace), rng.normal(0, 6))


def _place(
    world: World, path: CameraPath, aspect: float, filming: Filming, rng: Rng
) -> tuple[int, tuple[float, float], float]:
    """Choose where and how near the camera starts: pyramid level, centre and pixels per view width in that level."""
    width, height = world.size_px
    nearest = min(width, 1.5 * filming.geometry.width_px)
    for _ in range(30 if filming.min_structure else 6):
        px_per_width = float(np.exp(rng.uniform(np.log(nearest), np.log(max(nearest, 0.8 * width)))))
        center = (float(rng.uniform(0.1, 0.9)) * width, float(rng.uniform(0.1, 0.9)) * height)
        fineness = px_per_width / (RENDER * filming.geometry.width_px)
        level = int(np.clip(np.round(np.log2(fineness)), 0, len(world.levels) - 1))
        scale = world.levels[level].shape[2] / width
        placed = level, (center[0] * scale, center[1] * scale), px_per_width * scale
        first = _view(world.at(0, level), path, 0.0, 0.0, aspect, placed[1], placed[2], filming)
        enough = _contrast(first) >= (DARKEST if filming.clean else MIN_CONTRAST)
        if enough and (not filming.min_structure or structure(first) >= filming.min_structure):
            break
    return placed


def _view(
    picture: NDArray[np.uint8],
    path: CameraPath,
    time_s: float,
    exposure_s: float,
    aspect: float,
    center_px: tuple[float, float],
    px_per_width: float,
    filming: Filming,
) -> NDArray[np.uint8]:
    """Render one frame, blurred by the camera's motion while the shutter is open."""
    side = RENDER * filming.geometry.width_px
    moments = [time_s] if exposure_s == 0 else [time_s - exposure_s * k / 2 for k in range(3)]
    views = []
    for moment_s in moments:
        matrix = view_affine(
            path.at(max(0.0, moment_s)),
            view_px=(side, side),
            aspect=aspect,
            scene_center_px=center_px,
            scene_px_per_width=px_per_width,
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        views.append(cv2.warpAffine(picture, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT_101))
    view = views[0] if len(views) == 1 else np.mean(views, axis=0).astype(np.uint8)
    small = cv2.resize(view, (filming.geometry.width_px, filming.geometry.width_px), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)


@dataclass
class _MovingObject:
    """An object that moves independently in front of the camera."""

    surface: NDArray[np.float32]
    alpha: NDArray[np.float32]
    size: float
    position: NDArray[np.float64]
    velocity: NDArray[np.float64]
    swing: NDArray[np.float64]
    swing_hz: float
    spin_per_s: float
    time_s: float

    def paint(
        self, view: NDArray[np.uint8], pose: tuple[float, float, float, float], time_s: float, aspect: float
    ) -> None:
        """Blend the object into a view (S, S, 3) seen from `pose`."""
        x, y, zoom, roll = pose
        since_s = time_s - self.time_s
        swing = self.swing * np.sin(2 * np.pi * self.swing_hz * since_s)
        offset = self.position + self.velocity * since_s + swing - np.array([x, y])
        cos, sin = np.cos(roll), np.sin(roll)
        u, v = zoom * (cos * offset[0] + sin * offset[1]), zoom * (-sin * offset[0] + cos * offset[1])
        side = view.shape[0]
        reach = self.size * zoom
        if abs(u) > 0.5 + reach or abs(v) * aspect > 0.5 + reach * aspect:
            return
        angle = self.spin_per_s * since_s - roll
        scale = reach * side / self.alpha.shape[0]
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
        turn[1] *= aspect
        at = np.array([(u + 0.5) * side, (v * aspect + 0.5) * side])
        matrix = np.concatenate([turn, (at - turn @ np.full(2, self.alpha.shape[0] / 2))[:, None]], axis=1)
        surface = cv2.warpAffine(
            self.surface, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        alpha = np.asarray(cv2.warpAffine(self.alpha, matrix, (side, side), flags=cv2.INTER_LINEAR))[..., None]
        view[:] = (view + alpha * (surface - view)).astype(np.uint8)


def _draw_objects(
    label: str, worlds: list[World], path: CameraPath, time_s: NDArray[np.float64], filming: Filming, rng: Rng
) -> list[_MovingObject]:
    count = int(rng.choice([0, 1, 2, 3], p=[0.45, 0.3, 0.15, 0.1]))
    largest = 0.75 if label == "still" else 0.5
    out = []
    for _ in range(count):
        world = worlds[int(rng.integers(len(worlds)))]
        level = int(rng.integers(len(world.levels)))
        picture = world.levels[level][0]
        patch = 48
        top = int(rng.integers(0, max(1, picture.shape[0] - patch)))
        left = int(rng.integers(0, max(1, picture.shape[1] - patch)))
        surface = cv2.resize(picture[top : top + patch, left : left + patch], (patch, patch)).astype(np.float32)
        when_s = float(rng.uniform(0, time_s[-1]))
        x, y, zoom, _roll = path.at(when_s)
        place = rng.uniform(-0.5, 0.5, 2) / zoom
        out.append(
            _MovingObject(
                surface=surface,
                alpha=shape_mask(rng, patch).astype(np.float32) / np.float32(255),
                size=float(rng.uniform(0.12, largest)) / zoom,
                position=np.array([x, y]) + place,
                velocity=rng.normal(0, 0.35, 2) * rng.choice([0, 1]),
                swing=rng.normal(0, 0.12, 2) * rng.choice([0, 1]),
                swing_hz=float(rng.uniform(0.3, 2.5)),
                spin_per_s=float(rng.normal(0, 1.0) * rng.choice([0, 0, 1])),
                time_s=when_s,
            )
        )
    return out


_NOISE = np.random.default_rng(1).normal(0, 1, 1 << 21).astype(np.float32)


def degrade(clip: Clip, rng: Rng) -> Clip:
    """Change light, contrast, sharpness and noise of a clip as cheap cameras do."""
    frames = len(clip)
    x = clip.astype(np.float32)
    if rng.random() < 0.25:
        for frame in x:
            cv2.GaussianBlur(frame, (0, 0), 0.4 + rng.uniform(0, 0.1), dst=frame)
    if rng.random() < 0.5:
        x = np.float32(255) * (x / np.float32(255)) ** np.float32(np.exp(rng.uniform(-0.5, 0.5)))
    gain = float(rng.uniform(0.5, 1.2)) if rng.random() < 0.7 else float(np.exp(rng.uniform(np.log(0.06), np.log(0.5))))
    gain = max(gain, DARKEST / max(DARKEST, _contrast(x[0])))
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


def _contrast(frame: NDArray[np.uint8] | NDArray[np.float32]) -> float:
    """Standard deviation of a frame (S, S, 3) averaged down to 16x16, in grey levels."""
    return float(np.asarray(cv2.resize(frame, (16, 16), interpolation=cv2.INTER_AREA)).mean(axis=-1).std())


def _overlay(x: NDArray[np.float32], rng: Rng) -> None:
    """Draw something fixed to the camera into the picture: a time stamp, a bonnet, a gripper."""
    side = x.shape[1]
    high, wide = int(rng.integers(3, side // 4)), int(rng.integers(6, side))
    top = int(rng.choice([0, side - high]))
    left = int(rng.integers(0, side - wide + 1))
    x[:, top : top + high, left : left + wide] = rng.uniform(0, 255, 3).astype(np.float32)


def film_many(
    worlds: list[list[World]], weights: list[float], count: int, filming: Filming, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.float32]]:
    """Film `count` clips with the labels in turn.

    Args:
        worlds: groups of worlds.
        weights: share of clips that each group gets.
        count: number of clips.
        filming: the settings.
        seed: the same seed gives the same clips.

    Returns:
        Clips uint8 (count, frames, size, size, 3), class indices (count,), and flows float32 (count, t, h, w, 2).
    """
    clips = np.empty((count, *filming.geometry.clip_shape), np.uint8)
    labels = np.empty(count, np.int64)
    flows = np.empty((count, *filming.geometry.grid, 2), np.float32)
    for index, made in enumerate(films(worlds, weights, count, filming, seed)):
        clips[index], labels[index], flows[index] = made
    return clips, labels, flows


def films(worlds: list[list[World]], weights: list[float], count: int, filming: Filming, seed: int) -> Iterator[Film]:
    """Film clips as `film_many` does, one at a time."""
    rng = np.random.default_rng(seed)
    objects = [world for group in worlds for world in group]
    share = np.array(weights) / np.sum(weights)
    for index in range(count):
        group = worlds[int(rng.choice(len(worlds), p=share))]
        world = group[int(rng.integers(len(group)))]
        yield film(LABELS[index % len(LABELS)], world, objects, filming, rng)
