"""The curves of a training: loss, accuracy and learning rate over the steps."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mar_edge.evaluation.plot_style import BLUE, GREEN, GREY, ORANGE, PURPLE, new_figure, tidy
from mar_edge.evaluation.report_figures import to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 400
"""Longer curves are averaged to this many points."""

NOT_LOSSES = {"step", "epoch", "lr", "top1", "val_top1", "val_loss", "loss"}

PANEL_INCHES = (3.75, 2.6)
"""Width and height of a panel without its legend."""

LEGEND_CHARACTERS = 40
"""Characters of a legend's line that fit into the width of a panel."""

LEGEND_LINE_INCHES = 0.17

Row = Mapping[str, Any]


class Line(NamedTuple):
    """A curve.

    Attributes:
        key: in the rows.
        label: in the legend.
        color: of the curve.
        steps, values: float64 (N,).
    """

    key: str
    label: str
    color: str
    steps: NDArray[np.float64]
    values: NDArray[np.float64]


def training_curves(history: Sequence[Row], kept_step: int | None = None) -> str | None:
    """Draw loss, accuracy and learning rate over the steps.

    Legends are below the axes, each line within its panel, so that no label covers a curve or is cut off.

    Args:
        history: rows with `step` and any of `loss, lr, top1, val_top1, val_loss`; every other number is a part of the
            loss.
        kept_step: whose weights were kept by validation, marked with a ring; None for none.

    Returns:
        A data URI; None if there is nothing to draw.
    """
    parts = list(dict.fromkeys(key for row in history for key in row if key not in NOT_LOSSES))
    losses = [("loss", "training", BLUE), ("val_loss", "validation", ORANGE)]
    losses += [
        # the font has only Latin letters
        (key, key.replace("_", " ").encode("ascii", "replace").decode(), color)
        for key, color in zip(parts, [GREEN, PURPLE, GREY] * len(parts), strict=False)
    ]
    wanted = {
        "Loss": losses,
        "Top-1, %": [("top1", "training", BLUE), ("val_top1", "validation", ORANGE)],
        "Learning rate": [("lr", "", BLUE)],
    }
    panels = {title: [line for one in lines if (line := _line(history, *one))] for title, lines in wanted.items()}
    panels = {title: lines for title, lines in panels.items() if lines}
    if not panels:
        return None
    legends = {title: _legend(lines, kept_step) for title, lines in panels.items()}
    rows = max(sum(text.count("\n") + 1 for text in texts) for texts in legends.values())
    width, height = PANEL_INCHES
    figure = new_figure(width * len(panels), height + rows * LEGEND_LINE_INCHES)
    for index, (title, lines) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), index + 1)
        _draw(axes, title, lines, legends[title], parts, kept_step)
    return to_svg(figure)


def _draw(
    axes: Axes, title: str, lines: list[Line], labels: list[str], parts: list[str], kept_step: int | None
) -> None:
    for line, label in zip(lines, labels or [""] * len(lines), strict=True):
        part = line.key in parts
        scale = 100 if "top1" in line.key else 1
        axes.plot(
            line.steps,
            line.values * scale,
            color=line.color,
            label=label,
            linewidth=1.1 if part else 1.7,
            linestyle="--" if part else "-",
            marker="o" if (len(line.steps) < 30 and line.key.startswith("val_")) or len(line.steps) == 1 else None,
            markersize=3.5,
        )
        if (kept := _kept(line, kept_step)) is not None:
            axes.plot(
                line.steps[kept], scale * line.values[kept], color=line.color, marker="o", markersize=8, fillstyle="none",
                linewidth=0, clip_on=False,
            )  # fmt: skip
    if title == "Top-1, %":
        axes.set_ylim(0, 102)
    if title == "Learning rate":
        axes.yaxis.set_major_formatter(lambda value, _place: f"{value:g}")
    axes.xaxis.set_major_formatter(lambda value, _place: f"{value:,.0f}" if value == round(value) else "")
    axes.locator_params(axis="x", nbins=5)
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.set_xlabel("step", fontsize=9)
    if labels:
        legend = axes.legend(
            fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.2), borderaxespad=0, labelspacing=0.25
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    tidy(axes)


def _kept(line: Line, kept_step: int | None) -> int | None:
    """Return the place in a validation's curve of the weights that were kept; None for other curves."""
    if kept_step is None or not line.key.startswith("val_"):
        return None
    return int(np.abs(line.steps - kept_step).argmin())


def _legend(lines: list[Line], kept_step: int | None) -> list[str]:
    """Return a label for every curve; none for a single curve without a name."""
    labels = []
    for line in lines:
        label = line.label
        if (kept := _kept(line, kept_step)) is not None:
            value = f"{100 * line.values[kept]:.1f} %" if line.key == "val_top1" else f"{line.values[kept]:.3f}"
            label += f", kept {value} (ring)"
        labels.append("\n".join(textwrap.wrap(label, LEGEND_CHARACTERS)) or line.key)
    return labels if len(lines) > 1 or lines[0].key == "val_top1" else []


def _line(history: Sequence[Row], key: str, label: str, color: str) -> Line | None:
    """Return a curve, averaged if it has very many points; None if no row has a finite value."""
    pairs = [(row["step"], row[key]) for row in history if _is_number(row.get(key)) and _is_number(row.get("step"))]
    if not pairs:
        return None
    steps, values = np.array(pairs, np.float64).T
    if len(steps) > POINTS:
        steps, values = (np.array([part.mean() for part in np.array_split(line, POINTS)]) for line in (steps, values))
    return Line(key, label, color, steps, values)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and math.isfinite(value)
