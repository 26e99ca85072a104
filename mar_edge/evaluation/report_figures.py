"""The drawn figures of an evaluation, as data URIs: reliability diagram, large confusion matrices, film strips."""

from __future__ import annotations

import base64
import io
import math
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.evaluation.metrics import Evaluation
from mar_edge.evaluation.plot_style import BLUE, GREY, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def reliability_diagram(evaluation: Evaluation) -> str:
    """Draw accuracy over confidence, and how many clips have which confidence; return a data URI."""
    bins = [part for part in evaluation.bins if part.clips]
    figure = new_figure(4.2, 4.4)
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
        clip_on=False,  # a confident, correct bin lies in the corner
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
    return to_svg(figure)


def confusion_picture(shares: NDArray[np.float64]) -> str:
    """Draw a confusion matrix without names.

    Args:
        shares: (C, C), every row the shares of a true class's clips.

    Returns:
        A data URI.
    """
    classes = len(shares)
    figure = new_figure(7.4, 6.4)
    axes = figure.add_subplot()
    # the square root makes rare mistakes visible
    image = axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xlabel("predicted class, by number", fontsize=9)
    axes.set_ylabel("true class, by number", fontsize=9)
    axes.tick_params(labelsize=8)
    bar = figure.colorbar(image, ax=axes, shrink=0.7, ticks=[math.sqrt(share) for share in (0, 0.05, 0.25, 0.5, 1)])
    bar.ax.set_yticklabels(["0 %", "5 %", "25 %", "50 %", "100 %"], fontsize=8)
    bar.set_label("share of the true class's clips", fontsize=9)
    return _png(figure, dpi=max(110, min(300, 2 * classes)))


def film_strip(frames: NDArray[np.uint8], *, count: int = 8, height_px: int = 108) -> str:
    """Put frames side by side as a JPEG data URI.

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


def to_svg(figure: Figure) -> str:
    """Return a figure as a data URI."""
    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return _uri("image/svg+xml", out.getvalue())


def _png(figure: Figure, dpi: int) -> str:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=dpi)
    return _uri("image/png", out.getvalue())


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
