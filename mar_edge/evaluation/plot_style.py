"""The style of plots: mar-edge's colours, and plain axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
