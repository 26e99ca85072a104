"""The drawn films that gestures are measured on: what a film must tell, and where the generator is plugged in."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import OptionError
from mar_edge.geometry import Geometry
from mar_edge.training.synthetic.gestures.clips import SHAPES
from mar_edge.training.synthetic.gestures.cutouts import read_cutouts
from mar_edge.training.synthetic.gestures.film import film_gestures
from mar_edge.training.synthetic.virtual_camera import Filming
from mar_edge.training.synthetic.worlds import World, drawn_worlds, picture_worlds, video_worlds, videos_below

GENERATOR = "drawn_films:films"
"""`MODULE:FUNCTION` of the generator, called with the number of films and a seed, which yields `GestureFilm`s."""

NEGATIVE_EVERY = 6
"""Every so many films show a hand that makes no gesture."""

SHARED = Path("../shared")

PICTURES = Path("/usr/share/backgrounds/gnome")
"""Wallpapers that no model was trained on; of Debian's package gnome-backgrounds."""

SEED = 555_014
"""Of the films that are measured on; training must not use it."""


class GestureFilm(Protocol):
    """A drawn film with its truth.

    Attributes:
        clip: uint8 (T, H, W, 3) RGB.
        strokes: (label, start in seconds, end in seconds) of every shape that is drawn, in order; empty for a negative.
        time_s: when each frame was taken, float64 (T,) seconds; the first at 0, and the strokes' times on the same clock. A
            frame that a slow camera shows twice has one time.
    """

    @property
    def clip(self) -> NDArray[np.uint8]:
        """The film."""
        ...

    @property
    def strokes(self) -> tuple[tuple[str, float, float], ...]:
        """Its gestures."""
        ...

    @property
    def time_s(self) -> NDArray[np.float64]:
        """When its frames were taken."""
        ...


Generator = Callable[[int, int], Iterator[GestureFilm]]


def generator(name: str = GENERATOR) -> Generator:
    """Return the function that draws films.

    Args:
        name: `MODULE:FUNCTION`.

    Raises:
        OptionError: if there is no such function.
    """
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise OptionError(
            f"there is no generator {name}: {error}. Give MODULE:FUNCTION with --films; it is called with the number of "
            "films and a seed"
        ) from error
    drawn: Generator = found
    return drawn


def films(count: int, seed: int) -> Iterator[GestureFilm]:
    """Draw films before scenes, wallpapers and footage that training has not seen; hands are those of training."""
    footage = video_worlds(videos_below(SHARED / "clips" / "daily"))
    yield from _before([*drawn_worlds(40, seed), *picture_worlds([PICTURES]), *footage], count, seed)


def before_drawn_scenes(count: int, seed: int) -> Iterator[GestureFilm]:
    """Draw films before drawn scenes alone, which may be shown to anybody."""
    yield from _before(drawn_worlds(40, seed), count, seed)


def _before(worlds: list[World], count: int, seed: int) -> Iterator[GestureFilm]:
    rng = np.random.default_rng([seed, 2])
    hands = read_cutouts(SHARED / "data" / "hands")
    filming = Filming(geometry=Geometry(frames=96, height_px=64, width_px=64), rate_fps=15)  # of 6.4 s
    for number in range(count):
        world = worlds[int(rng.integers(len(worlds)))]
        yield film_gestures(worlds, world, hands, filming, SHAPES, rng, negative=number % NEGATIVE_EVERY == 0)
