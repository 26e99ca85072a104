"""Draws a mask: the visible and hidden tubelets of every time step of a clip."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import OutputError
from mar_edge.files.atomic_file import write_output
from mar_edge.files.marks import PICTURE, mark_png
from mar_edge.files.ownership import check_replaceable
from mar_edge.geometry import Geometry
from mar_edge.masking import cell_running_mask
from mar_edge.runtime.sources.demo.demo import DemoSource
from mar_edge.runtime.sources.source import Reading

Picture = NDArray[np.uint8]

COLUMNS = 4
"""Time steps in a row: the mask repeats after four."""

MOST_STEPS = 8
PANEL_PX = 280
GAP_PX, MARGIN_PX, TITLE_PX, CAPTION_PX = 16, 28, 64, 30
PAPER, HIDDEN, LINE = (255, 255, 255), (228, 232, 237), (205, 211, 219)
INK, SOFT = (36, 43, 53), (102, 112, 126)


def check_picture_path(path: Path, *, force: bool = False) -> None:
    """Check that a picture may be written to a path.

    Raises:
        OutputError: if the name does not end in .png, or another kind of file exists there.
    """
    if path.suffix.lower() != ".png":
        raise OutputError(f"{path} does not end with .png; choose a name that does")
    check_replaceable(path, PICTURE, force=force)


def save_mask(path: Path, geometry: Geometry, mask: int, *, title: str, force: bool = False) -> None:
    """Write a PNG of a mask, laid over frames of the demo camera.

    Args:
        path: the file, whose name ends with .png.
        geometry: of the clip.
        mask: percent of hidden tubelets, one of the cell running mask's ratios.
        title: whose mask it is.
        force: replace a file that is not a picture of mar-edge.

    Raises:
        GeometryError: if the grid has no cells for the mask.
        OutputError: if the file cannot be written.
    """
    check_picture_path(path, force=force)
    done, data = cv2.imencode(".png", cv2.cvtColor(draw_mask(geometry, mask, title=title), cv2.COLOR_RGB2BGR))
    if not done:
        raise OutputError(f"OpenCV cannot encode the picture {path}")
    write_output(path, mark_png(data.tobytes()), kind=PICTURE, force=force)


def draw_mask(geometry: Geometry, mask: int, *, title: str) -> Picture:
    """Draw a mask; see `save_mask`.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    t, h, w = geometry.grid
    seen = cell_running_mask((t, h, w), mask / 100) if mask else np.ones((t, h, w), np.bool_)
    shown = min(t, MOST_STEPS)
    token_px = max(1, round(PANEL_PX / w))
    panel_h, panel_w = h * token_px, w * token_px
    columns, rows = min(COLUMNS, shown), -(-shown // COLUMNS)
    width = max(2 * MARGIN_PX + columns * panel_w + (columns - 1) * GAP_PX, 640)
    height = 2 * MARGIN_PX + TITLE_PX + rows * (panel_h + CAPTION_PX) + (rows - 1) * GAP_PX
    canvas = np.full((height, width, 3), PAPER, np.uint8)
    counts = f"{int(seen.sum())} of {seen.size} tubelets are visible, the grey ones are hidden"
    if shown < t:
        counts += f"; the first {shown} of {t} time steps"
    _write(canvas, title, (MARGIN_PX, MARGIN_PX + 20), 0.8, INK, cv2.FONT_HERSHEY_DUPLEX)
    _write(canvas, f"mask {mask} %: {counts}", (MARGIN_PX, MARGIN_PX + 46), 0.52, SOFT)
    frames = _demo_frames(shown, panel_w, panel_h)
    for step in range(shown):
        row, column = divmod(step, COLUMNS)
        x = MARGIN_PX + column * (panel_w + GAP_PX)
        y = MARGIN_PX + TITLE_PX + row * (panel_h + CAPTION_PX + GAP_PX)
        first = step * geometry.tubelet_frames + 1
        last = first + geometry.tubelet_frames - 1
        caption = f"time step {step + 1}: " + (f"frames {first}-{last}" if last > first else f"frame {first}")
        _write(canvas, caption, (x, y + 18), 0.45, SOFT)
        y += CAPTION_PX
        canvas[y : y + panel_h, x : x + panel_w] = _panel(frames[step], seen[step], token_px)
        cv2.rectangle(canvas, (x - 1, y - 1), (x + panel_w, y + panel_h), LINE, 1)
    return canvas


def _panel(frame: Picture, seen: NDArray[np.bool_], token_px: int) -> Picture:
    """Lay a time step's mask (h, w) over a frame (h * token_px, w * token_px, 3), with a line around every cell."""
    over = seen.repeat(token_px, axis=0).repeat(token_px, axis=1)[..., None]
    panel = np.where(over, frame, np.array(HIDDEN, np.uint8))
    panel[:: 2 * token_px] = PAPER
    panel[:, :: 2 * token_px] = PAPER
    return panel


def _demo_frames(count: int, width: int, height: int) -> list[Picture]:
    """Return one frame of the demo camera per time step, while it zooms in."""
    script = (("zoom_in", 4.0, 0.3),)
    with Reading(DemoSource(size_px=(width, height), fps=5, realtime=False, script=script)) as frames:
        return [frame.picture for frame, _ in zip(frames, range(count), strict=False)]


def _write(
    canvas: Picture,
    text: str,
    at: tuple[int, int],
    size: float,
    color: tuple[int, int, int],
    font: int = cv2.FONT_HERSHEY_SIMPLEX,
) -> None:
    cv2.putText(canvas, text, at, font, size, color, 1, cv2.LINE_AA)
