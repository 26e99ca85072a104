"""Films worlds with a virtual camera: clips whose camera motion is known exactly.

All random numbers come from the generator passed in, so the same seed gives the same clips.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.geometry import Geometry
from mar_edge.runtime.clips.sampler import Sampler
from mar_edge.runtime.sources.demo.camera_path import LABELS, CameraPath, content_flow, view_affine
from mar_edge.training.synthetic.moves import LARGEST_ZOOM, Moves, draw_moves, draw_path
from mar_edge.training.synthetic.moving_objects import draw_objects
from mar_edge.training.synthetic.picture_quality import DARKEST, contrast, degrade, structure
from mar_edge.training.synthetic.symmetry import Film
from mar_edge.training.synthetic.worlds import World

Rng = np.random.Generator

RENDER = 2
"""Views are rendered at this multiple of the clip's size and averaged down, as a real camera's picture is."""

MIN_CONTRAST = 6.0
"""A first view whose low-pass standard deviation is below this shows nothing that could move; another place is tried."""


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
        changing: share of the clips whose move changes. Zooms are then bounded, so that clips may be long.
    """

    geometry: Geometry
    rate_fps: float = 10.0
    min_structure: float = 0.0
    clean: bool = False
    margin: float = 0.12
    changing: float = 0.0


@dataclass(frozen=True)
class Shot:
    """A world as a camera films it.

    Attributes:
        world: what it looks at.
        path: of the camera.
        level: of the world's pictures.
        center_px: where the camera starts, in pixels of that level.
        px_per_width: of that level, that one view width covers at zoom 1.
        aspect: width / height of the camera's picture, which is squashed into a square.
        start_s: moment of the world at which the clip starts.
        exposure_s: how long the shutter is open.
        filming: the settings.
    """

    world: World
    path: CameraPath
    level: int
    center_px: tuple[float, float]
    px_per_width: float
    aspect: float
    start_s: float
    exposure_s: float
    filming: Filming

    def view(self, time_s: float) -> NDArray[np.uint8]:
        """Return the view (S, S, 3) at a time, blurred by the camera's motion while the shutter is open."""
        picture = self.world.at(self.start_s + time_s, self.level)
        return _view(
            picture,
            self.path,
            time_s,
            self.exposure_s,
            self.aspect,
            self.center_px,
            self.px_per_width,
            self.filming,
        )


def draw_shot(
    world: World, path: CameraPath, time_s: NDArray[np.float64], aspect: float, filming: Filming, rng: Rng
) -> Shot:
    """Draw how a world is filmed along a path.

    Args:
        world: what the camera looks at.
        path: of the camera.
        time_s: capture times of the frames.
        aspect: width / height of the camera's picture.
        filming: the settings.
        rng: source of all random numbers.
    """
    middle_zoom = _middle_zoom(path, time_s) if filming.changing else 1.0
    level, center_px, px_per_width = _place(world, path, middle_zoom, aspect, filming, rng)
    start_s = float(rng.uniform(0, 10))
    exposure_s = float(rng.choice([0, 0, 0, 0, rng.uniform(0.005, 0.05)]))
    return Shot(world, path, level, center_px, px_per_width, aspect, start_s, exposure_s, filming)


def film(label: str, world: World, objects: list[World], filming: Filming, rng: Rng) -> Film:
    """Film one clip.

    Args:
        label: the camera's move, one of `LABELS`; its first, if the move changes.
        world: what it looks at.
        objects: worlds from which the surfaces of moving objects are cut.
        filming: the settings.
        rng: source of all random numbers.

    Returns:
        The clip, the class of its frames, and the motion of the world at every token.
    """
    time_s = frame_times(filming, rng)
    aspect = float(rng.choice([1.0, 4 / 3, 1.5, 16 / 9, 3 / 4]))
    moves = _moves(label, float(time_s[-1]), filming, rng)
    path = draw_path(moves, filming.margin, rng, largest_zoom=LARGEST_ZOOM if filming.changing else None)
    shot = draw_shot(world, path, time_s, aspect, filming, rng)
    largest = 0.75 if set(moves.labels) == {"still"} else 0.5
    scene_objects = [] if filming.clean else draw_objects(objects, path, time_s, largest, rng)

    frames = []
    for t in time_s:
        view = shot.view(t)
        for item in scene_objects:
            item.paint(view, path.at(t), t, aspect)
        frames.append(view)
    clip = np.stack(frames)
    flow = token_flow(path, time_s, aspect, filming.geometry)
    return Film(clip if filming.clean else degrade(clip, rng), moves.classes(time_s), flow)


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


def _moves(first: str, duration_s: float, filming: Filming, rng: Rng) -> Moves:
    """Return the moves of a clip; the last one goes on a little longer."""
    changes = filming.changing and rng.random() < filming.changing
    moves = draw_moves(first, duration_s, rng) if changes else Moves((first,), (duration_s,))
    return Moves(moves.labels, (*moves.durations_s[:-1], moves.durations_s[-1] + 0.2))


def _middle_zoom(path: CameraPath, time_s: NDArray[np.float64]) -> float:
    zooms = [path.at(t)[2] for t in time_s]
    return float(np.sqrt(min(zooms) * max(zooms)))


def _place(
    world: World, path: CameraPath, middle_zoom: float, aspect: float, filming: Filming, rng: Rng
) -> tuple[int, tuple[float, float], float]:
    """Choose where and how near the camera starts: pyramid level, centre and pixels per view width in that level.

    The level has the detail that is seen at `middle_zoom`: a long zoom in starts wider, and one out nearer.
    """
    width, height = world.size_px
    nearest = min(width, 1.5 * filming.geometry.width_px)
    for _ in range(30 if filming.min_structure else 6):
        px_per_width = float(np.exp(rng.uniform(np.log(nearest), np.log(max(nearest, 0.8 * width)))))
        center = (float(rng.uniform(0.1, 0.9)) * width, float(rng.uniform(0.1, 0.9)) * height)
        fineness = px_per_width / (RENDER * filming.geometry.width_px)
        level = int(np.clip(np.round(np.log2(fineness)), 0, len(world.levels) - 1))
        scale = world.levels[level].shape[2] / width
        placed = level, (center[0] * scale, center[1] * scale), px_per_width * middle_zoom * scale
        first = _view(world.at(0, level), path, 0.0, 0.0, aspect, placed[1], placed[2], filming)
        enough = contrast(first) >= (DARKEST if filming.clean else MIN_CONTRAST)
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


def film_many(
    worlds: list[list[World]], weights: list[float], count: int, filming: Filming, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.float32]]:
    """Film `count` clips with the labels, or first labels, in turn.

    Args:
        worlds: groups of worlds.
        weights: share of clips that each group gets.
        count: number of clips.
        filming: the settings.
        seed: the same seed gives the same clips.

    Returns:
        Clips uint8 (count, frames, size, size, 3), class indices of their last frames (count,), and flows float32 (count, t, h, w, 2).
    """
    clips = np.empty((count, *filming.geometry.clip_shape), np.uint8)
    labels = np.empty(count, np.int64)
    flows = np.empty((count, *filming.geometry.grid, 2), np.float32)
    for index, made in enumerate(films(worlds, weights, count, filming, seed)):
        clips[index], labels[index], flows[index] = made.clip, made.label, made.flow
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
