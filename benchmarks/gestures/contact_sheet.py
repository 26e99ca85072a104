"""A picture of drawn clips, a row for every class with 12 frames of one film. Never of real clips, which have no licence.

python benchmarks/gestures/contact_sheet.py OUT.png [--films MODULE:FUNCTION] [--count 200] [--seed N]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from drawn_films import GENERATOR, SEED, GestureFilm, generator
from judging import CLASSES, NONE
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from mar_edge.errors import MarEdgeError, OptionError, OutputError

FRAMES = 12
AROUND_S = 0.3
"""Shown before and after a stroke, seconds."""
GAP_PX = 2
NAME_PX = 110


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--films", default=GENERATOR, metavar="MODULE:FUNCTION")
    arguments.add_argument("--count", type=int, default=200, help="films to draw, in which a row is looked for")
    arguments.add_argument("--seed", type=int, default=SEED + 1)
    arguments.add_argument("--classes", type=int, choices=tuple(CLASSES), default=8)
    arguments.add_argument("--side", type=int, default=96, help="width of a frame on the sheet, pixels")
    options = arguments.parse_args()
    try:
        films = generator(options.films)(options.count, options.seed)
        drawn = track(films, "films", options.count, console=Console(stderr=True))
        sheet = draw_sheet(choose_rows(drawn, CLASSES[options.classes]), options.side)
        if not cv2.imwrite(str(options.out), sheet[..., ::-1]):
            raise OutputError(
                f"{options.out} cannot be written. Give a path that ends in .png, in a folder that exists"
            )
    except MarEdgeError as error:
        sys.exit(str(error))


def choose_rows(films: Iterable[GestureFilm], classes: Sequence[str]) -> dict[str, list[NDArray[np.uint8]]]:
    """Return 12 frames, each uint8 (H, W, 3) RGB, of the first film of each class; of `none` one that shows none of the others.

    Raises:
        OptionError: if the films show no such class.
    """
    rows: dict[str, list[NDArray[np.uint8]]] = {}
    for film in films:
        length_s = float(film.time_s[-1])
        known = [stroke for stroke in film.strokes if stroke[0] in classes and stroke[2] <= length_s]
        for label, start_s, end_s in known or [(NONE, 0.0, length_s)]:
            if label not in rows:
                times_s = np.linspace(max(0.0, start_s - AROUND_S), min(length_s, end_s + AROUND_S), FRAMES)
                rows[label] = [film.clip[int(np.abs(film.time_s - time_s).argmin())] for time_s in times_s.tolist()]
        if len(rows) == len(classes):
            return {label: rows[label] for label in classes}
    missing = [label for label in classes if label not in rows]
    raise OptionError(f"no film shows {', '.join(missing)}. Draw more with --count")


def draw_sheet(rows: dict[str, list[NDArray[np.uint8]]], side_px: int) -> NDArray[np.uint8]:
    """Return the sheet, uint8 (H, W, 3) RGB: a row for each class, with its name at the left."""
    pitch = side_px + GAP_PX
    sheet = np.full((pitch * len(rows) + GAP_PX, NAME_PX + pitch * FRAMES, 3), 255, np.uint8)
    for row, (label, frames) in enumerate(rows.items()):
        top = GAP_PX + row * pitch
        cv2.putText(
            sheet, label, (6, top + side_px // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, lineType=cv2.LINE_AA
        )
        for column, frame in enumerate(frames):
            left = NAME_PX + column * pitch
            resized = cv2.resize(frame, (side_px, side_px), interpolation=cv2.INTER_CUBIC)
            sheet[top : top + side_px, left : left + side_px] = resized
    return sheet


if __name__ == "__main__":
    main()
