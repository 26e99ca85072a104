"""What the demo camera can film."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import SourceError
from mar_edge.runtime.sources.demo.camera_path import CameraPath, view_affine

Picture = NDArray[np.uint8]
Film = Callable[[float], Picture]
"""Returns the picture at a time of the script, in seconds: uint8 (H, W, 3) RGB."""
Part = tuple[str, float] | tuple[str, float, float]
"""A part of a script: its label, its seconds, and for moves of the camera their speed."""


class Show(Protocol):
    """A script, and how it looks.

    Attributes:
        script: one part after another.
        idle: label of the parts between events, where each other part is one event, as a gesture is; None where each part is a
            state that lasts, as a move of the camera does.
    """

    script: tuple[Part, ...]
    idle: str | None

    def film(self, size_px: tuple[int, int], seed: int) -> Film:
        """Draw the scene.

        Args:
            size_px: (width, height) of the pictures.
            seed: of all that is drawn by chance.
        """
        ...


def seen(scene: Picture, camera: CameraPath, script_s: float, size_px: tuple[int, int], px_per_width: float) -> Picture:
    """Return what a camera sees of a scene that it begins in the middle of.

    Args:
        scene: uint8 (S, S, 3); beyond its edges it is mirrored.
        camera: its path.
        script_s: when.
        size_px: (width, height) of the picture.
        px_per_width: pixels of the scene that the picture's width covers.

    Returns:
        uint8 (height, width, 3).
    """
    matrix = view_affine(
        camera.at(script_s),
        view_px=size_px,
        aspect=size_px[0] / size_px[1],
        scene_center_px=(scene.shape[1] / 2, scene.shape[0] / 2),
        scene_px_per_width=px_per_width,
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    picture = cv2.warpAffine(scene, matrix, size_px, flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(picture, dtype=np.uint8)


def check_labels(script: Sequence[Part], known: Sequence[str]) -> None:
    """Check that a script has parts, all with known labels and a length.

    Raises:
        SourceError: if not.
    """
    unknown = [part[0] for part in script if part[0] not in known]
    if unknown or not script:
        raise SourceError(
            f"demo script {f'has unknown labels {unknown}' if unknown else 'is empty'}; use {', '.join(known)}"
        )
