"""Draws a trade-off: gain and cost of each block that stays FP32."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from mar_edge.calibration.trade_off import Row
from mar_edge.evaluation.plot_style import BLUE, ORANGE, new_figure, tidy
from mar_edge.files.atomic_file import write_output
from mar_edge.files.marks import PICTURE, mark_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot(
    rows: Sequence[Row], path: Path, *, target_drop: float | None = None, title: str = "", force: bool = False
) -> None:
    """Draw the loss, the divergence and the share of INT8 over the blocks kept in FP32.

    Args:
        rows: from `trade_off`; the last one is marked as the choice.
        path: of the PNG.
        target_drop: drawn as a line.
        title: of the picture, such as the name of the model and the mask.
        force: replace a file that is not a picture of mar-edge.

    Raises:
        MissingExtraError: if matplotlib is not installed.
        OutputError: if the file cannot be written.
    """
    figure = new_figure(10.4, 3.9)
    panels = figure.subplots(1, 3)
    labelled = rows[0].parity.top1 is not None
    said = "Loss of top-1, points" if labelled else "Clips that differ, %"
    said += "" if target_drop is None else f" (dashed: target {target_drop:g})"
    _curve(panels[0], [row.loss for row in rows], said)
    if target_drop is not None:
        # the line is visible even if nothing is lost
        panels[0].set_ylim(top=1.2 * max(target_drop, *(row.loss for row in rows)) or 1.0)
        panels[0].axhline(target_drop, color=ORANGE, linestyle="--", linewidth=1.2)
    _curve(panels[1], [row.parity.kl or 0.0 for row in rows], "Divergence from FP32, nats")
    _curve(panels[2], [100 * row.int8_share for row in rows], "Work in INT8, %")
    panels[2].set_ylim(0, 102)
    for index, axes in enumerate(panels):
        axes.set_xticks(
            range(len(rows)), [_label(row) for row in rows], rotation=40, ha="right", fontsize=8, parse_math=False
        )
        axes.set_xlabel("kept in higher precision" if index == 1 else "", fontsize=9)
    if title:  # literally: a name may contain $
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold", parse_math=False)
    picture = BytesIO()
    figure.savefig(picture, dpi=110, format="png")
    write_output(path, mark_png(picture.getvalue()), kind=PICTURE, force=force)


def _label(row: Row) -> str:
    return f"+ {row.kept[-1]}" if row.kept else "nothing"


def _curve(axes: Axes, values: list[float], title: str) -> None:
    axes.plot(range(len(values)), values, color=BLUE, marker="o", markersize=4, linewidth=1.7)
    axes.plot([len(values) - 1], values[-1:], color=ORANGE, marker="o", markersize=8, linewidth=0, clip_on=False)
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.margins(x=0.08)
    axes.set_ylim(bottom=min(0.0, min(values)))
    tidy(axes)
