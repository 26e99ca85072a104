"""Objects that move on their own in front of a virtual camera."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.runtime.sources.demo.camera_path import CameraPath
from mar_edge.runtime.sources.demo.scene import shape_mask
from mar_edge.training.synthetic.worlds import World

Rng = np.random.Generator


@dataclass
class MovingObject:
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


def draw_objects(
    worlds: list[World], path: CameraPath, time_s: NDArray[np.float64], largest: float, rng: Rng
) -> list[MovingObject]:
    """Draw none to three objects, each of which passes through the picture at some time.

    Args:
        worlds: from which their surfaces are cut.
        path: of the camera.
        time_s: capture times of the frames.
        largest: their most radius, in view widths.
        rng: source of all random numbers.
    """
    count = int(rng.choice([0, 1, 2, 3], p=[0.45, 0.3, 0.15, 0.1]))
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
            MovingObject(
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
