"""What is drawn onto a picture: the best labels with their bars, open events, and a caption."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.printable import printable
from mar_edge.runtime.frame import Color
from mar_edge.runtime.results import Prediction

_DARK = (30, 30, 30)
_WHITE = (255, 255, 255)
_BEST = (80, 220, 80)
_OTHERS = (200, 200, 200)
_RED: dict[Color, tuple[int, int, int]] = {"bgr": (60, 60, 240), "rgb": (240, 60, 60)}
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def annotate(
    picture: NDArray[np.uint8],
    prediction: Prediction | None,
    *,
    color: Color = "bgr",
    lines: int = 3,
    events: Iterable[str] = (),
    caption: str = "",
) -> NDArray[np.uint8]:
    """Draw onto a copy of a picture.

    OpenCV's letters are ASCII: other characters appear as question marks.

    Args:
        picture: uint8 (H, W, 3).
        prediction: its best labels are drawn at the top, with bars as long as their scores; None for none.
        color: order of its channels.
        lines: number of labels.
        events: labels of the open events, drawn below in red.
        caption: drawn at the bottom.

    Returns:
        The copy.
    """
    out = np.array(picture, order="C")
    row = 0
    for label, score in prediction.top[:lines] if prediction is not None else ():
        _bar(out, row, f"{label} {score:.0%}", score, _OTHERS if row else _BEST)
        row += 1
    for label in events:
        _bar(out, row, f"event: {label}", 1.0, _RED[color], text_color=_WHITE)
        row += 1
    if caption:
        unit = _unit(out)
        at = (unit // 2, out.shape[0] - unit // 2)
        for shade, width in ((_DARK, 3), (_WHITE, 1)):  # readable on bright and on dark pictures
            cv2.putText(out, printable(caption), at, _FONT, unit / 30, shade, width, cv2.LINE_AA)
    return out


def _unit(picture: NDArray[np.uint8]) -> int:
    return max(12, int(picture.shape[0]) // 20)


def _bar(
    out: NDArray[np.uint8],
    row: int,
    text: str,
    share: float,
    color: tuple[int, int, int],
    *,
    text_color: tuple[int, int, int] | None = None,
) -> None:
    unit = _unit(out)
    left, top = unit // 2, unit // 2 + row * (unit + unit // 3)
    at = (unit, top + int(unit * 0.75))
    cv2.rectangle(out, (left, top), (left + 12 * unit, top + unit), _DARK, -1)
    cv2.rectangle(out, (left, top), (left + int(12 * unit * share), top + unit), tuple(c // 2 for c in color), -1)
    cv2.putText(out, printable(text), at, _FONT, unit / 30, text_color or color, 1, cv2.LINE_AA)
