"""A picture and when it was taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mar_edge.reporting import Warnings
from mar_edge.runtime.clips.preprocess import Color


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One picture of a source.

    Attributes:
        picture: uint8 (H, W, 3); the source does not change it afterwards.
        time_s: when it was taken, in seconds from the source's start.
        color: order of its channels.
        truth: label of a scripted source; None for real recordings.
        arrived_s: `time.monotonic()` when a live frame was taken; None for a file.
        held: whether it repeats the picture before, which the recording still shows: it is not a frame of its own.
    """

    picture: NDArray[np.uint8]
    time_s: float
    color: Color = "rgb"
    truth: str | None = None
    arrived_s: float | None = None
    held: bool = False


class Source(Protocol):
    """Something that yields frames: a camera, a file, the demo.

    Attributes:
        name: for messages and for the `stream` field of results.
        dropped: frames of a live source that were not read.
        warnings: the newest 100 warnings that were not read yet.
    """

    name: str
    dropped: int
    warnings: Warnings

    def __enter__(self) -> Source:
        """Open it."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it and end its threads."""
        ...

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames until the source ends or is closed."""
        ...


@runtime_checkable
class Stoppable(Protocol):
    """A source that may wait for a long time and can be woken; others are stopped between two frames."""

    def stop(self) -> None:
        """End the iteration soon; any thread may call it."""
        ...
