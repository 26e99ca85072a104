"""Ranges from histograms, held against the values themselves and against ONNX Runtime's calibrator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from onnxruntime.quantization.calibrate import HistogramCollector

from mar_edge.calibration.ranges import LEVELS, METHODS, PERCENTILE, Method, ranges
from mar_edge.calibration.statistics import BINS, Statistics, TensorStatistics


def threshold(values: NDArray[np.float32], method: Method) -> float:
    """The threshold of one activation."""
    return ranges(Statistics({"x": TensorStatistics.of(values[:, None])}), method)["x"]


def error(values: NDArray[np.float32], limit: float) -> float:
    """Squared error of symmetric int8."""
    scale = limit / LEVELS
    return float(np.square(np.clip(np.rint(values / scale), -LEVELS, LEVELS) * scale - values).sum())


@pytest.fixture
def bell(rng: np.random.Generator) -> NDArray[np.float32]:
    """Values of a bell curve with some far from all others, as activations have them."""
    values = rng.standard_normal(200_000).astype(np.float32)
    values[:20] *= 12
    return values


def test_what_each_method_is_for(bell: NDArray[np.float32]) -> None:
    magnitudes = np.abs(bell)
    assert threshold(bell, "minmax") == magnitudes.max()
    assert threshold(bell, "percentile") == pytest.approx(np.percentile(magnitudes, PERCENTILE), rel=0.02)
    best = min(error(bell, limit) for limit in np.linspace(0.1, 1, 200) * magnitudes.max())
    assert error(bell, threshold(bell, "mse")) <= 1.01 * best
    assert error(bell, threshold(bell, "minmax")) > 1.2 * best


@pytest.mark.parametrize("kind", ["normal", "laplace", "uniform"])
def test_entropy_is_that_of_onnx_runtime(kind: str, rng: np.random.Generator) -> None:
    draws: dict[str, Callable[[int], NDArray[np.float64]]] = {
        "normal": rng.standard_normal,
        "laplace": lambda n: rng.laplace(size=n),
        "uniform": rng.random,
    }
    values = draws[kind](100_000).astype(np.float32)
    tensor = TensorStatistics.of(values[:, None])
    edges = np.ldexp(np.arange(-BINS, BINS + 1, 4) / BINS, tensor.exponent).astype(np.float32)
    quarter = tensor.histogram.reshape(-1, 4).sum(axis=1)  # theirs takes a second for all bins
    mirrored = np.concatenate([quarter[::-1], quarter])
    calibrator = HistogramCollector("entropy", True, 2 * len(quarter), 2 * LEVELS + 2, PERCENTILE, "same")
    low, high = np.float32(-tensor.largest), np.float32(tensor.largest)
    theirs = calibrator.get_entropy_threshold((mirrored, edges, low, high, edges[-1]), 2 * LEVELS + 2)[1]
    assert threshold(values, "entropy") == pytest.approx(float(theirs), rel=0.2)  # the optimum is flat


@pytest.mark.parametrize("method", METHODS)
def test_odd_activations_have_a_range(method: Method) -> None:
    assert threshold(np.zeros(100, np.float32), method) == 0
    assert threshold(np.full(100, -3, np.float32), method) == 3
    sparse = np.zeros(10_000, np.float32)
    sparse[0] = 5
    assert 0 < threshold(sparse, method) <= 5
