"""Cut-outs of hands: pictures with landmarks, from a folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import RecipeError

LANDMARKS = "landmarks.json"

WRIST, INDEX, MIDDLE, RING, LITTLE = 0, 5, 9, 13, 17
"""Landmarks of the wrist, and of the first joint of each finger; the further three of a finger follow."""

_BONES = (
    (0, 1, 2, 3, 4),
    (0, 5, 6, 7, 8),
    (0, 9, 10, 11, 12),
    (0, 13, 14, 15, 16),
    (0, 17, 18, 19, 20),
    (5, 9, 13, 17),
)

OTHER_COLOURS = 0.12
"""Largest share of a cut-out whose colour is not that of its palm: remains of the background between the fingers."""

OUTSIDE = 0.22
"""Largest share of a cut-out that lies beside all bones."""

SPARE = 2.0
"""A hand is as long as this many times its palm, wrist to middle finger."""


@dataclass(frozen=True)
class Cutout:
    """A hand.

    Attributes:
        rgba: uint8 (H, W, 4), colours times their alpha.
        palm: (x, y) of the middle finger's first joint, in pixels.
        wrist: (x, y) of the wrist.
        skin: mean colour of the palm (3,).
        points: whether the index finger alone is stretched.
        width_px: of the wrist.
    """

    rgba: NDArray[np.uint8]
    palm: NDArray[np.float64]
    wrist: NDArray[np.float64]
    skin: NDArray[np.float64]
    points: bool
    width_px: float

    @property
    def length_px(self) -> float:
        """From the wrist to the tip of the stretched middle finger."""
        return SPARE * float(np.hypot(*(self.palm - self.wrist)))


def read_cutouts(folder: Path) -> list[Cutout]:
    """Read the hands of a folder; ragged ones are left out.

    Args:
        folder: RGBA pictures, and `landmarks.json`: a list of {"file", "landmarks": 21 of [x, y] in pixels}, in the order
            wrist, then four of the thumb, index, middle, ring and little finger each.

    Raises:
        RecipeError: if it has no hands, or a file cannot be read.
    """
    hands = []
    for name, landmarks in listed_cutouts(folder):
        picture = cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED)
        if picture is None or picture.ndim != 3 or picture.shape[2] != 4:
            raise RecipeError(
                f"{folder / name} cannot be read as a picture with an alpha channel; data.hands needs cut-outs"
            )
        rgba = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGRA2RGBA), np.uint8)
        if hand := cutout(rgba, landmarks):
            hands.append(hand)
    if not hands:
        raise RecipeError(f"no usable hands in {folder}; all of its cut-outs are ragged")
    return hands


def cutout(rgba: NDArray[np.uint8], landmarks: NDArray[np.float64]) -> Cutout | None:
    """Return a hand; None if it is ragged.

    Args:
        rgba: uint8 (H, W, 4).
        landmarks: (21, 2) in pixels.
    """
    alpha = rgba[..., 3]
    palm = np.zeros(alpha.shape, np.uint8)
    cv2.fillConvexPoly(palm, cv2.convexHull(landmarks[[0, 1, 5, 9, 13, 17]].astype(np.int32)), 1)
    seen = alpha > 128
    sure = (palm > 0) & seen
    if np.count_nonzero(sure) < 30 or _is_ragged(rgba, landmarks, palm, seen, sure):
        return None
    across = float(np.hypot(*(landmarks[INDEX] - landmarks[LITTLE])))
    return Cutout(
        rgba=np.dstack([rgba[..., :3] * (alpha[..., None] / 255), alpha]).astype(np.uint8),
        palm=landmarks[MIDDLE],
        wrist=landmarks[WRIST],
        skin=rgba[sure][:, :3].mean(axis=0),
        points=_is_stretched(landmarks, INDEX)
        and not any(_is_stretched(landmarks, finger) for finger in (MIDDLE, RING, LITTLE)),
        width_px=max(0.8 * across, 0.25 * float(np.hypot(*(landmarks[MIDDLE] - landmarks[WRIST])))),
    )


def _is_ragged(
    rgba: NDArray[np.uint8],
    landmarks: NDArray[np.float64],
    palm: NDArray[np.uint8],
    seen: NDArray[np.bool_],
    sure: NDArray[np.bool_],
) -> bool:
    """Return whether a cut-out shows other things than its hand."""
    chroma = np.asarray(cv2.cvtColor(rgba[..., :3], cv2.COLOR_RGB2LAB))[..., 1:].astype(np.float64)
    other = seen & (np.linalg.norm(chroma - np.median(chroma[sure], axis=0), axis=-1) > 14)
    bones = palm.copy()
    thickness = max(2, int(0.28 * np.hypot(*(landmarks[MIDDLE] - landmarks[WRIST]))))
    for bone in _BONES:
        cv2.polylines(bones, [landmarks[list(bone)].astype(np.int32)], False, 1, thickness)
    area = np.count_nonzero(seen)
    beside = np.count_nonzero(seen & (bones == 0))
    return bool(np.count_nonzero(other) > OTHER_COLOURS * area or beside > OUTSIDE * area)


def _is_stretched(landmarks: NDArray[np.float64], finger: int) -> bool:
    tip, middle = (np.hypot(*(landmarks[finger + joint] - landmarks[WRIST])) for joint in (3, 1))
    return bool(tip > 1.15 * middle)


def listed_cutouts(folder: Path) -> list[tuple[str, NDArray[np.float64]]]:
    """Return (file, landmarks (21, 2) in pixels) of a folder's list, see `read_cutouts`.

    Raises:
        RecipeError: if there is no such list.
    """
    try:
        entries = json.loads((folder / LANDMARKS).read_text(encoding="utf-8"))
        out = [(str(entry["file"]), np.array(entry["landmarks"], np.float64)) for entry in entries]
    except OSError as error:
        raise RecipeError(
            f"cannot read {folder / LANDMARKS}: {error}. data.hands needs a folder of cut-outs with it"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"{folder / LANDMARKS} is no list of files with landmarks: {error!r}") from error
    if wrong := [name for name, landmarks in out if landmarks.shape != (21, 2) or "/" in name]:
        raise RecipeError(
            f"{folder / LANDMARKS}: {wrong[0]} does not have 21 landmarks of [x, y], or lies in another folder"
        )
    return out
