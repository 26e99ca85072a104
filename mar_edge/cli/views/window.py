"""The window of `mar-edge run --show`: the picture with the labels drawn on it."""

from __future__ import annotations

import os
import sys

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.child_process import run_python
from mar_edge.errors import OutputError
from mar_edge.printable import printable
from mar_edge.runtime.results import Prediction
from mar_edge.runtime.sources.source import Frame

LARGEST_PX = 1280
_KEYS_THAT_CLOSE = (27, ord("q"))


class Window:
    """A window on the desktop.

    Args:
        title: of the window.

    Raises:
        OutputError: if there is no display.
    """

    def __init__(self, title: str) -> None:
        if sys.platform.startswith("linux"):
            _check_display()
        self._title = title = printable(title)
        self._prediction: Prediction | None = None
        self._sized = False
        try:
            cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        except cv2.error as error:
            raise OutputError(
                f"this OpenCV cannot open a window: {error.err}. Install opencv-python, not -headless"
            ) from error

    def draw(self, frame: Frame, prediction: Prediction | None) -> bool:
        """Draw a frame; return False when the user closed the window or pressed q or Escape."""
        self._prediction = prediction or self._prediction
        picture = frame.picture if frame.color == "bgr" else frame.picture[..., ::-1]
        if not self._sized:
            self._sized = True
            height, width = picture.shape[:2]
            shrink = min(1.0, LARGEST_PX / max(height, width))
            cv2.resizeWindow(self._title, round(width * shrink), round(height * shrink))
        cv2.imshow(self._title, annotate(picture, self._prediction))
        pressed = cv2.waitKey(1) & 0xFF
        return pressed not in _KEYS_THAT_CLOSE and cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1

    def close(self) -> None:
        """Close the window."""
        cv2.destroyAllWindows()


def _check_display() -> None:
    """Try the display in another process: OpenCV's Qt ends the entire program if there is none."""
    if not os.environ.get("DISPLAY"):
        raise OutputError("--show needs a display, and DISPLAY is not set; leave out --show")
    tried = run_python("import cv2; cv2.namedWindow('mar-edge')")
    if tried.returncode:
        raise OutputError(f"--show needs a display, and {os.environ['DISPLAY']} cannot be used; leave out --show")


def annotate(picture: NDArray[np.uint8], prediction: Prediction | None, *, lines: int = 3) -> NDArray[np.uint8]:
    """Draw the best labels and their bars onto a copy of a BGR picture."""
    out = np.ascontiguousarray(picture).copy()
    if prediction is None:
        return out
    unit = max(12, out.shape[0] // 20)
    scale = unit / 30
    for row, (label, score) in enumerate(prediction.top[:lines]):
        top = unit // 2 + row * (unit + unit // 3)
        color = (80, 220, 80) if row == 0 else (200, 200, 200)
        cv2.rectangle(out, (unit // 2, top), (unit // 2 + 12 * unit, top + unit), (30, 30, 30), -1)
        cv2.rectangle(
            out, (unit // 2, top), (unit // 2 + int(12 * unit * score), top + unit), tuple(c // 2 for c in color), -1
        )
        text = f"{label} {score:.0%}"
        cv2.putText(out, text, (unit, top + int(unit * 0.75)), cv2.FONT_HERSHEY_SIMPLEX, scale, color, 1, cv2.LINE_AA)
    return out
