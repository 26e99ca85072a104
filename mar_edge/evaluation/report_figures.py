"""The drawn figures of a report, as data URIs: training curves, reliability diagram, large confusion matrices."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.evaluation.metrics import Evaluation
from mar_edge.evaluation.plot_style import BLUE, GREEN, GREY, ORANGE, PURPLE, tidy
from mar_edge.extras import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS = 400
"""Longer curves are averaged to this many points."""

NOT_LOSSES = {"step", "epoch", "lr", "top1", "val_top1", "val_loss", "loss"}

Series = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Steps (N,) and values (N,)."""

Row = Mapping[str, Any]


def training_curves(history: Sequence[Row]) -> str | None:
    """Draw loss, accuracy and learning rate over the steps.

    Args:
        history: rows with `step` and any of `loss, lr, top1, val_top1, val_loss`; every other number is a part of the
            loss.

    Returns:
        A data URI; None if there is nothing to draw.
    """
    parts = list(dict.fromkeys(key for row in history for key in row if key not in NOT_LOSSES))
    losses = [("loss", "training", BLUE), ("val_loss", "validation", ORANGE)]
    losses += [
        # the font has no more than Latin letters
        (key, key.replace("_", " ").encode("ascii", "replace").decode(), color)
        for key, color in zip(parts, [GREEN, PURPLE, GREY] * len(parts), strict=False)
    ]
    panels = [
        ("Loss", losses),
        ("Top-1, %", [("top1", "training", BLUE), ("val_top1", "validation", ORANGE)]),
        ("Learning rate", [("lr", "", BLUE)]),
    ]
    drawn = [
        (title, [(label, color, key, series) for key, label, color in lines if (series := _series(history, key))])
        for title, lines in panels
    ]
    drawn = [(title, lines) for title, lines in drawn if lines]
    if not drawn:
        return None
    figure = _figure(3.75 * len(drawn), 3.3)
    for index, (title, lines) in enumerate(drawn):
        axes = figure.add_subplot(1, len(drawn), index + 1)
        for label, color, key, (steps, values) in lines:
            scale = 100 if "top1" in key else 1
            part = key in parts
            axes.plot(
                steps,
                values * scale,
                color=color,
                label=label,
                linewidth=1.1 if part else 1.7,
                linestyle="--" if part else "-",
                marker="o" if (len(steps) < 30 and key.startswith("val_")) or len(steps) == 1 else None,
                markersize=3.5,
            )
        if title == "Top-1, %":
            axes.set_ylim(0, 102)
            _mark_best(axes, lines)
        if title == "Learning rate":
            axes.yaxis.set_major_formatter(lambda value, _place: f"{value:g}")
        axes.xaxis.set_major_formatter(lambda value, _place: f"{value:,.0f}" if value == round(value) else "")
        axes.locator_params(axis="x", nbins=5)
        axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
        axes.set_xlabel("step", fontsize=9)
        if len(lines) > 1:
            legend = axes.legend(
                fontsize=8, frameon=False, ncols=2, loc="upper left", bbox_to_anchor=(0, -0.2), borderaxespad=0
            )
            for text in legend.get_texts():
                text.set_parse_math(False)
        tidy(axes)
    return _svg(figure)


def reliability_diagram(evaluation: Evaluation) -> str:
    """Draw accuracy over confidence, and how many clips have which confidence; return a data URI."""
    bins = [part for part in evaluation.bins if part.clips]
    figure = _figure(4.2, 4.4)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    width = evaluation.bins[0].high - evaluation.bins[0].low
    middles = [100 * (part.low + part.high) / 2 for part in bins]
    above.bar(middles, [100 * part.accuracy for part in bins], width=94 * width, color="#8fb4dc", label="accuracy")
    above.plot([0, 100], [0, 100], color=GREY, linestyle="--", linewidth=1)
    above.plot(
        [100 * part.confidence for part in bins],
        [100 * part.accuracy for part in bins],
        color=BLUE,
        marker="o",
        markersize=3.5,
        linewidth=0,
    )
    above.set_ylabel("accuracy, %", fontsize=9)
    above.set_xlim(0, 100)
    above.set_ylim(0, 102)
    below.bar(middles, [part.clips for part in bins], width=94 * width, color="#b9c2cd")
    below.set_ylabel("clips", fontsize=9)
    below.locator_params(axis="y", integer=True, nbins=4)
    below.set_xlabel("confidence, %", fontsize=9)
    for axes in (above, below):
        tidy(axes)
    return _svg(figure)


def confusion_picture(shares: NDArray[np.float64]) -> str:
    """Draw a confusion matrix without names.

    Args:
        shares: (C, C), every row the shares of a true class's clips.

    Returns:
        A data URI.
    """
    classes = len(shares)
    figure = _figure(7.4, 6.4)
    axes = figure.add_subplot()
    # the root lifts the rare mistakes, which are what one looks for
    image = axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xlabel("predicted class, by number", fontsize=9)
    axes.set_ylabel("true class, by number", fontsize=9)
    axes.tick_params(labelsize=8)
    bar = figure.colorbar(image, ax=axes, shrink=0.7, ticks=[math.sqrt(share) for share in (0, 0.05, 0.25, 0.5, 1)])
    bar.ax.set_yticklabels(["0 %", "5 %", "25 %", "50 %", "100 %"], fontsize=8)
    bar.set_label("share of the true class's clips", fontsize=9)
    return _png(figure, dpi=max(110, min(300, 2 * classes)))


def film_strip(frames: NDArray[np.uint8], *, count: int = 8, height_px: int = 108) -> str:
    """Lay frames side by side as a JPEG data URI.

    Args:
        frames: uint8 (T, h, w, 3) RGB, T at least 1.
        count: how many of them, evenly spread.
        height_px: of the strip.
    """
    chosen = frames[np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)]
    height, width = chosen.shape[1:3]
    size = (max(1, round(width * height_px / height)), height_px)
    gap = np.full((height_px, 3, 3), 255, np.uint8)
    parts: list[NDArray[Any]] = []
    for frame in chosen:
        parts += [gap, cv2.resize(frame, size, interpolation=cv2.INTER_AREA)]
    strip = np.ascontiguousarray(np.concatenate(parts[1:], axis=1)[..., ::-1])
    return _uri("image/jpeg", cv2.imencode(".jpg", strip, [cv2.IMWRITE_JPEG_QUALITY, 82])[1].tobytes())


def _series(history: Sequence[Row], key: str) -> Series | None:
    """Return a curve, averaged where it has very many points; None if no row has a finite value."""
    pairs = [(row["step"], row[key]) for row in history if _is_number(row.get(key)) and _is_number(row.get("step"))]
    if not pairs:
        return None
    steps, values = np.array(pairs, np.float64).T
    if len(steps) > POINTS:
        steps, values = (np.array([part.mean() for part in np.array_split(line, POINTS)]) for line in (steps, values))
    return steps, values


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and math.isfinite(value)


def _mark_best(axes: Axes, lines: list[tuple[str, str, str, Series]]) -> None:
    """Write the best validation accuracy beside its point."""
    for _, color, key, (steps, values) in lines:
        if key == "val_top1":
            best = int(values.argmax())
            right = steps[best] > (steps[0] + steps[-1]) / 2
            axes.annotate(
                f"best {100 * values[best]:.1f} %",
                (steps[best], 100 * values[best]),
                textcoords="offset points",
                xytext=(-4 if right else 4, -13 if values[best] > 0.85 else 7),
                ha="right" if right else "left",
                fontsize=8,
                color=color,
            )


def _figure(width: float, height: float) -> Figure:
    """Return a figure of its own, without pyplot and its global state."""
    require("matplotlib", "train")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Figure) -> str:
    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return _uri("image/svg+xml", out.getvalue())


def _png(figure: Figure, dpi: int) -> str:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=dpi)
    return _uri("image/png", out.getvalue())


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
