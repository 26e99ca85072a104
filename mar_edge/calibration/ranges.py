"""Computes ranges from histograms: the magnitude up to which an activation is represented.

A value is stored as one of 255 multiples of threshold / 127; values beyond are cut. A wide range cuts nothing and
rounds coarsely, a narrow one cuts values that may matter: the methods weigh this differently, and the best depends on the
model, so `calibrate` tries them.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mar_edge.calibration.statistics import BINS, Statistics, TensorStatistics

Method = Literal["minmax", "percentile", "entropy", "mse"]
METHODS: tuple[Method, ...] = ("minmax", "percentile", "entropy", "mse")

LEVELS = 127
"""Positive values of a symmetric int8."""

PERCENTILE = 99.99

_STEP = 8
"""Number of bins between two tried thresholds."""


def ranges(statistics: Statistics, method: Method) -> dict[str, float]:
    """Return the threshold of every activation: |x| above it is cut.

    Args:
        statistics: of the activations.
        method: `minmax` (nothing is cut), `percentile` (0.01 % of the values are cut), `entropy` (least divergence of the
            rounded histogram, as in TensorRT's former calibrator), `mse` (least squared error).
    """
    choose = {"minmax": _minmax, "percentile": _percentile, "entropy": _entropy, "mse": _mse}[method]
    return {name: min(choose(tensor), tensor.largest) for name, tensor in statistics.tensors.items()}


def lost_share(tensor: TensorStatistics, threshold: float) -> float:
    """Return the share of the total magnitude that is below half a step, and so becomes zero."""
    magnitude = tensor.centres * tensor.histogram
    return float(magnitude[tensor.centres < threshold / LEVELS / 2].sum() / max(magnitude.sum(), 1e-12))


def _minmax(tensor: TensorStatistics) -> float:
    return tensor.largest


def _percentile(tensor: TensorStatistics) -> float:
    share = np.cumsum(tensor.histogram) / max(1, tensor.count)
    return _edge(tensor, int(np.searchsorted(share, PERCENTILE / 100)) + 1)


def _mse(tensor: TensorStatistics) -> float:
    """Least squared error: rounding within the threshold, cutting beyond it.

    Rounding to steps of d has the error d^2 / 12, and x^2 where |x| < d / 2, which becomes zero.
    """
    places = _candidates(tensor)
    thresholds = np.array([_edge(tensor, place) for place in places])[:, None]  # (K, 1)
    x, step = tensor.centres[None], thresholds / LEVELS
    inside = np.where(x < step / 2, x**2, np.minimum(x**2, step**2 / 12))
    error = np.where(x <= thresholds, inside, (x - thresholds) ** 2) @ tensor.histogram
    return float(thresholds[int(error.argmin()), 0])


def _entropy(tensor: TensorStatistics) -> float:
    """Least divergence between the histogram, cut at a threshold, and itself rounded to 128 levels.

    Source: S. Migacz, 8-bit inference with TensorRT, GTC 2017, slides 25 to 39. ONNX Runtime's
    `HistogramCollector.get_entropy_threshold` computes the same from a mirrored histogram, but takes 0.9 s per tensor,
    this takes 0.01 s, and ViT-L has 170; a test compares them.
    """
    places = _candidates(tensor)
    divergences = [_divergence(tensor.histogram, place) for place in places]
    return _edge(tensor, places[int(np.argmin(divergences))])


def _divergence(histogram: NDArray[np.int64], place: int) -> float:
    inside = histogram[:place].astype(np.float64)
    reference = inside.copy()
    reference[-1] += histogram[place:].sum()  # cut values are stored as the last level
    starts = np.unique(np.arange(LEVELS + 1) * place // (LEVELS + 1))
    widths = np.diff(np.append(starts, place))
    there = (inside > 0).astype(np.float64)
    level = np.add.reduceat(inside, starts) / np.maximum(1, np.add.reduceat(there, starts))
    rounded = np.repeat(level, widths) * there
    known = reference > 0
    p = reference[known] / reference.sum()
    q = rounded[known] / max(rounded.sum(), 1e-12)
    return float((p * np.log(p / np.maximum(q, 1e-9))).sum())


def _candidates(tensor: TensorStatistics) -> list[int]:
    """Return the bins at whose end a threshold may be; the last one cuts nothing."""
    used = np.flatnonzero(tensor.histogram)
    last = int(used[-1]) + 1 if used.size else 1
    return [*range(LEVELS + 1, last, _STEP), last]


def _edge(tensor: TensorStatistics, place: int) -> float:
    return float(np.ldexp(min(place, BINS) / BINS, tensor.exponent))
