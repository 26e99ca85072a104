"""The style of plots: a new figure, mar-edge's colours, and plain axes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mar_edge.child_process import clean_library_path
from mar_edge.extras import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PURPLE, GREY = "#2563a8", "#d97706", "#2f8f5b", "#7c4fa3", "#6b7280"


def tidy(axes: Axes) -> None:
    """Give axes a faint grid behind the data, small tick labels, and no box."""
    axes.tick_params(labelsize=8, color=GREY)
    axes.grid(True, color="#e3e7ec", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#b9c2cd")


def new_figure(width: float, height: float) -> Figure:
    """Return a new figure, without pyplot and its global state.

    Args:
        width: in inches.
        height: in inches.

    Raises:
        MissingExtraError: if matplotlib is not installed.
    """
    require("matplotlib", "train")
    clean_library_path()  # matplotlib starts fc-list
    with _no_settings_of_the_working_folder():
        from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


@contextmanager
def _no_settings_of_the_working_folder() -> Iterator[None]:
    """Hide `matplotlibrc` of the working folder from matplotlib, which reads it first when it is imported.

    Versions before 3.11, the only ones for Python 3.10, evaluate its `axes.prop_cycle` as Python. There is no option against
    it, and to change the working folder is not safe while other threads run.
    """
    exists = os.path.exists
    if "matplotlib" not in sys.modules:
        os.path.exists = lambda path: path != "matplotlibrc" and exists(path)
    try:
        yield
    finally:
        os.path.exists = exists
