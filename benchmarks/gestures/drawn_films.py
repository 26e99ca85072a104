"""The drawn films that gestures are measured on: what a film must tell, and where the generator is plugged in."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import OptionError

GENERATOR = "mar_edge.training.synthetic.gestures:films"
"""THE PLUG: `MODULE:FUNCTION` of the generator, called with the number of films and a seed, which yields `GestureFilm`s."""

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
