"""Statistics of the activations of a graph: extremes, and histograms of magnitudes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import ExportError, OutputError
from mar_edge.files.atomic_file import NewFile
from mar_edge.files.stored_arrays import read_arrays
from mar_edge.files.syncing import make_folder

BINS = 2048
"""Number of bins of a histogram of magnitudes."""

_CHUNK = 1 << 20
"""Values counted at once, so that temporary arrays fit into the processor's cache."""

_NOTHING = -100
"""Exponent of the smallest range; zeros fit into it."""

_LARGEST_EXPONENT = 128
"""Exponent of the largest range: that of float32."""


@dataclass
class TensorStatistics:
    """Statistics of one activation on some clips.

    The histogram covers 0 to 2^exponent. A sum has the larger range, to which the other one is converted by adding
    pairs of bins; as all ranges are powers of two this is exact, and the order of the clips does not matter.

    Attributes:
        low, high: smallest and largest value.
        count: number of values.
        exponent: of the histogram's range.
        histogram: counts of magnitudes, int64 (BINS,).
        channel_max: largest magnitude of each channel, float32 (C,); channels are the last axis.
    """

    low: float = math.inf
    high: float = -math.inf
    count: int = 0
    exponent: int = _NOTHING
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    channel_max: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def largest(self) -> float:
        """Largest magnitude."""
        return max(-self.low, self.high, 0.0)

    @property
    def centres(self) -> NDArray[np.float64]:
        """Middle of each bin (BINS,)."""
        return np.ldexp((np.arange(BINS) + 0.5) / BINS, self.exponent)

    @classmethod
    def of(cls, values: NDArray[np.float32]) -> TensorStatistics:
        """Count values (..., C).

        Raises:
            ValueError: if one is not finite.
        """
        rows = np.abs(values.reshape(-1, values.shape[-1]))
        channels = rows.max(axis=0)
        largest = float(channels.max())
        if not math.isfinite(largest):
            raise ValueError("values that are NaN or infinite")
        # frexp returns the next power of two, so that no value reaches the end of the range
        exponent = max(_NOTHING, math.frexp(largest)[1]) if largest else _NOTHING
        scale = np.float32(math.ldexp(BINS, -exponent))  # a power of two: exact
        flat = rows.reshape(-1)
        histogram = np.zeros(BINS, np.int64)
        for start in range(0, flat.size, _CHUNK):
            places = (flat[start : start + _CHUNK] * scale).astype(np.int64)
            histogram += np.bincount(places, minlength=BINS)
        return cls(float(values.min()), float(values.max()), values.size, exponent, histogram, channels)

    def __add__(self, other: TensorStatistics) -> TensorStatistics:
        """Return the statistics of both."""
        parts = [replace(part) for part in (self, other) if part.count]
        if len(parts) < 2:
            return parts[0] if parts else TensorStatistics()
        exponent = max(part.exponent for part in parts)
        for part in parts:
            part._reach(exponent)
        one, two = parts
        return TensorStatistics(
            low=min(one.low, two.low),
            high=max(one.high, two.high),
            count=one.count + two.count,
            exponent=exponent,
            histogram=one.histogram + two.histogram,
            channel_max=np.maximum(one.channel_max, two.channel_max),
        )

    def _reach(self, exponent: int) -> None:
        while self.exponent < exponent:
            if not self.histogram[1:].any():  # nothing to merge: set the exponent directly
                self.exponent = exponent
                return
            self.histogram = np.concatenate([self.histogram.reshape(-1, 2).sum(axis=1), np.zeros(BINS // 2, np.int64)])
            self.exponent += 1


@dataclass
class Statistics:
    """Statistics of many activations.

    Attributes:
        tensors: by name.
        clips: identities of the counted clips, in order.
    """

    tensors: dict[str, TensorStatistics]
    clips: tuple[str, ...] = ()

    def save(self, path: Path, key: str) -> None:
        """Write a file atomically.

        Args:
            path: the file.
            key: of the graph; a file with another key is not read.

        Raises:
            OutputError: if it cannot be written.
        """
        values: dict[str, Any] = {"key": np.array(key), "clips": np.array(self.clips, dtype=np.str_)}
        values["names"] = np.array(list(self.tensors), dtype=np.str_)
        for name in ("low", "high", "count", "exponent"):
            values[name] = np.array([getattr(tensor, name) for tensor in self.tensors.values()])
        values["histogram"] = np.stack([tensor.histogram for tensor in self.tensors.values()])
        values |= {f"channels/{index}": tensor.channel_max for index, tensor in enumerate(self.tensors.values())}
        try:
            make_folder(path.parent)
            with NewFile(path) as new:
                np.savez(new.file, **values)
                new.finish()
        except OSError as error:
            raise OutputError(
                f"cannot write the statistics {path}: {error}. Choose a folder you can write to"
            ) from error

    @classmethod
    def load(cls, path: Path, key: str) -> Statistics:
        """Read a file of `save`.

        Raises:
            ExportError: if the file is damaged, or belongs to another graph.
        """
        try:
            values = read_arrays(path)
            if str(values["key"]) != key:
                raise ExportError(f"{path} belongs to another graph")
            tensors = {str(name): _tensor(values, index) for index, name in enumerate(values["names"])}
            clips = tuple(map(str, values["clips"]))
        except (OSError, ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
            raise ExportError(f"{path} is damaged: {error}") from error
        return cls(tensors, clips)


def _tensor(values: Mapping[str, NDArray[Any]], index: int) -> TensorStatistics:
    """Return the statistics of one activation.

    Raises:
        ValueError: if they cannot be those of any values.
    """
    histogram, channels = values["histogram"][index], values[f"channels/{index}"]
    if (
        histogram.shape != (BINS,)
        or histogram.dtype.kind not in "iu"
        or channels.ndim != 1
        or channels.dtype != np.float32
    ):
        raise ValueError(f"the histogram of tensor {index} is {histogram.dtype} {histogram.shape}")
    found = TensorStatistics(
        low=float(values["low"][index]),
        high=float(values["high"][index]),
        count=int(values["count"][index]),
        exponent=int(values["exponent"][index]),
        histogram=histogram.astype(np.int64),
        channel_max=channels,
    )
    counted = found.count > 0 and bool((found.histogram >= 0).all()) and int(found.histogram.sum()) == found.count
    bounded = math.isfinite(found.low) and math.isfinite(found.high) and found.low <= found.high
    if not counted or not bounded or not _NOTHING <= found.exponent <= _LARGEST_EXPONENT:
        raise ValueError(f"the statistics of tensor {index} are inconsistent")
    if not np.isfinite(found.channel_max).all():
        raise ValueError(f"a channel of tensor {index} is NaN or infinite")
    return found
