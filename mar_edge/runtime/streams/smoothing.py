"""Turns logits into smoothed scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import OptionError


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return probabilities over the last axis."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float64] = shifted / shifted.sum(axis=-1, keepdims=True)
    return probabilities


def energy(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return -log(sum(exp(logits))) over the last axis: high for what the model was not trained on.

    Source: Liu et al. 2020, "Energy-based Out-of-distribution Detection", equation 4 at a temperature of 1.
    """
    most = logits.max(axis=-1, keepdims=True).astype(np.float64)
    sums: NDArray[np.float64] = np.exp(logits.astype(np.float64) - most).sum(axis=-1)
    negated: NDArray[np.float64] = -(most[..., 0] + np.log(sums))
    return negated


@dataclass(frozen=True)
class SmootherState:
    """Where an average stands.

    Attributes:
        mean: the values; None before the first ones.
        last_s: when they were added, seconds.
    """

    mean: tuple[float, ...] | None
    last_s: float


class Smoother:
    """Exponential average of values over time, so that the hop does not change how smooth they are.

    Args:
        time_constant_s: after this many seconds a new state has a weight of 63 %; 0 for no smoothing.
    """

    def __init__(self, time_constant_s: float) -> None:
        given: object = time_constant_s
        if not isinstance(given, Real) or not float(given) >= 0:
            raise OptionError(f"smoothing_s is {time_constant_s!r}; use 0 seconds or more")
        self.time_constant_s = time_constant_s
        self.reset()

    def reset(self) -> None:
        """Reset."""
        self._mean: NDArray[np.float64] | None = None
        self._last_s = 0.0

    def state(self) -> SmootherState:
        """Return where it stands."""
        return SmootherState(None if self._mean is None else tuple(np.ravel(self._mean).tolist()), self._last_s)

    def restore(self, state: SmootherState, shape: tuple[int, ...]) -> None:
        """Go on where another one stood.

        Args:
            state: of the other one.
            shape: of the values.

        Raises:
            ValueError: if they are not so many.
        """
        self._mean = None if state.mean is None else np.array(state.mean, np.float64).reshape(shape)
        self._last_s = state.last_s

    def update(self, values: NDArray[np.float64], time_s: float) -> NDArray[np.float64]:
        """Add the values of a window that ends at `time_s`, such as probabilities (classes,); return the smoothed ones."""
        if self._mean is None or self.time_constant_s == 0:
            self._mean = values
        else:
            share = 1 - math.exp(-(time_s - self._last_s) / self.time_constant_s)
            self._mean = self._mean + share * (values - self._mean)
        self._last_s = time_s
        return self._mean
