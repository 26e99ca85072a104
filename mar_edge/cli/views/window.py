"""The windows of `mar-edge run --show`: each stream's picture with the labels drawn on it."""

from __future__ import annotations

import os
import sys

import cv2
import numpy as np

from mar_edge.child_process import run_python
from mar_edge.errors import OutputError
from mar_edge.printable import printable
from mar_edge.runtime.results import Kind, Prediction, Record, ShownFrame
from mar_edge.runtime.sinks.annotation import annotate

LARGEST_PX = 1280
_KEYS_THAT_CLOSE = (27, ord("q"))


class Windows:
    """A sink that keeps the newest picture of each stream, and windows on the desktop that show it.

    `write` may be called by any thread; windows are made and drawn by `draw`, which only the main thread may call.

    Attributes:
        caption: drawn at the bottom of the pictures.
        pressed: the key that was pressed in a window at the last `draw`; empty if none was.

    Raises:
        OutputError: if there is no display.
    """

    wants: frozenset[Kind] = frozenset(("frame", "prediction"))

    def __init__(self) -> None:
        if sys.platform.startswith("linux"):
            _check_display()
        self.name = "the window"
        self.caption = ""
        self.pressed = ""
        self._frames: dict[str, ShownFrame] = {}
        self._predictions: dict[str, Prediction] = {}
        self._drawn: dict[str, ShownFrame] = {}

    def write(self, record: Record) -> None:
        """Take over a picture or what is drawn on it."""
        if isinstance(record, ShownFrame):
            self._frames[record.stream] = record
        elif isinstance(record, Prediction):
            self._predictions[record.stream] = record

    def draw(self) -> bool:
        """Draw new pictures; return False when the user closed a window or pressed q or Escape.

        Raises:
            OutputError: if this OpenCV cannot open windows.
        """
        for stream, shown in list(self._frames.items()):
            if self._drawn.get(stream) is not shown:
                self._show(stream, shown)
                self._drawn[stream] = shown
        if not self._drawn:
            return True
        key = cv2.waitKey(1)  # -1 if there is none
        self.pressed = chr(key & 0xFF) if key >= 0 else ""
        if key & 0xFF in _KEYS_THAT_CLOSE:
            return False
        return all(cv2.getWindowProperty(_title(stream), cv2.WND_PROP_VISIBLE) >= 1 for stream in self._drawn)

    def close(self) -> None:
        """Nothing to close here: `destroy` closes the windows, in the main thread."""

    def destroy(self) -> None:
        """Close the windows."""
        if self._drawn:
            cv2.destroyAllWindows()

    def _show(self, stream: str, shown: ShownFrame) -> None:
        picture = shown.frame.picture
        if shown.frame.color == "rgb":
            picture = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), dtype=np.uint8)
        if stream not in self._drawn:
            _open(_title(stream), *shown.frame.size_px)
        cv2.imshow(_title(stream), annotate(picture, self._predictions.get(stream), caption=self.caption))


def _title(stream: str) -> str:
    return printable(f"mar-edge: {stream}")


def _open(title: str, width_px: int, height_px: int) -> None:
    try:
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
    except cv2.error as error:
        raise OutputError(
            f"this OpenCV cannot open a window: {error.err}. Install opencv-python, not -headless"
        ) from error
    shrink = min(1.0, LARGEST_PX / max(height_px, width_px))
    cv2.resizeWindow(title, round(width_px * shrink), round(height_px * shrink))


def _check_display() -> None:
    """Try the display in another process: OpenCV's Qt ends the entire program if there is none."""
    if not os.environ.get("DISPLAY"):
        raise OutputError("--show needs a display, and DISPLAY is not set; leave out --show")
    tried = run_python("import cv2; cv2.namedWindow('mar-edge')")
    if tried.returncode:
        raise OutputError(f"--show needs a display, and {os.environ['DISPLAY']} cannot be used; leave out --show")
