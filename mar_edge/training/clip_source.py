"""A source of training clips."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Sample(NamedTuple):
    """One training clip.

    Attributes:
        clip: uint8 (T, H, W, 3) RGB.
        label: class index; -1 without labels.
        flow: float32 (t, h, w, channels), see `Batch.flows`; None if unknown.
        file: its source.
        steps: int64 (t,), class of every time step; None if `label` holds throughout. `label` is that of the last one.
    """

    clip: NDArray[np.uint8]
    label: int
    flow: NDArray[np.float32] | None
    file: str
    steps: NDArray[np.int64] | None = None


class ClipSource(Protocol):
    """A source of training clips.

    Attributes:
        labels: class names; empty for pre-training.
        classes: class index of every clip (N,).
        digest: hash of everything that determines the clips.
        flow_channels: number of flow values per token.
    """

    labels: tuple[str, ...]
    flow_channels: int
    classes: NDArray[np.int64]
    digest: str

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return a clip as training sees it, under random augmentation."""


class Blend:
    """Clips of several sources with the same labels, one after the other."""

    def __init__(self, *sources: ClipSource) -> None:
        self.labels = sources[0].labels
        self.flow_channels = sources[0].flow_channels
        self.classes = np.concatenate([source.classes for source in sources])
        self.digest = " ".join(source.digest for source in sources)
        self._sources = sources

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return a clip of its source."""
        for source in self._sources:
            if index < len(source.classes):
                return source.sample(index, rng)
            index -= len(source.classes)
        raise IndexError(index)
