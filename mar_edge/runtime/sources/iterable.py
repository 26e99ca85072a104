"""Frames that a program of the user's provides."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import FrameError, MarEdgeError, SourceError
from mar_edge.reporting import Warnings
from mar_edge.runtime.clips.preprocess import check_frame
from mar_edge.runtime.frame import Color, Frame
from mar_edge.runtime.sources.iterator import Frames, IteratorConnection, ThreadConnection

Item = Frame | tuple[NDArray[np.uint8], float]
"""A `Frame`, or uint8 (H, W, 3) and its time in seconds."""


class IterableSource:
    """The frames of any Python iterable: a list, a generator, an object with `__iter__` that reads a camera.

    One that waits is iterated over in the thread that reads, and cannot be interrupted while it makes a frame. A live
    one is iterated over in a thread of its own; a thread that hangs in it is abandoned when the connection is closed,
    and a warning says so. An iterator, such as a generator, can be read once, anything else again from its beginning.

    Args:
        iterable: gives `Frame`s, or pairs of a picture, uint8 (H, W, 3), and its time in seconds. Pictures are not copied,
            and must not be changed afterwards.
        name: for messages and results.
        live: whether frames come at their own pace, and are lost if nobody takes them.
        color: order of the channels of pictures in pairs; `bgr` as OpenCV gives it.
    """

    def __init__(
        self, iterable: Iterable[Item], *, name: str = "frames", live: bool = False, color: Color = "bgr"
    ) -> None:
        if color not in ("bgr", "rgb"):
            raise SourceError(f"color must be 'bgr' or 'rgb', not {color!r}", retry=False)
        self.name = name
        self.live = live
        self.dropped = 0
        self.warnings = Warnings()
        self._iterable = iterable
        self._color: Color = color
        self._used_up = False

    def connect(self) -> IteratorConnection | ThreadConnection:
        """Begin to iterate.

        Raises:
            SourceError: if it is an iterator that was read before, or its `__iter__` fails.
        """
        try:
            items = iter(self._iterable)
        except MarEdgeError:
            raise
        except Exception as error:
            raise self._failed(error) from error
        if items is self._iterable:
            if self._used_up:
                raise SourceError(
                    f"{self.name} is an iterator, which can be read once; give an object whose __iter__ begins again",
                    code="ended",
                    retry=False,
                )
            self._used_up = True
        frames = self._frames(items)
        if self.live:
            return ThreadConnection(frames, name=self.name, warn=self.warnings)
        return IteratorConnection(frames)

    def _frames(self, items: Iterator[Item]) -> Frames:
        number = 0
        while True:
            try:
                item = next(items)
            except StopIteration:
                return
            except MarEdgeError:
                raise
            except Exception as error:  # any exception of the user's code is told as one of this source
                raise self._failed(error) from error
            try:
                frame = self._frame(item)
            except FrameError as error:
                raise SourceError(f"{self.name}, item {number}: {error}", retry=False) from error
            if self.live and frame.arrived_s is None:
                frame.arrived_s = time.monotonic()
            yield frame
            number += 1

    def _frame(self, item: object) -> Frame:
        if isinstance(item, Frame):
            return item
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise FrameError(f"expected a Frame or a pair (picture, time in seconds), not {type(item).__name__}")
        picture, time_s = item
        if not isinstance(time_s, Real) or not math.isfinite(time_s):
            raise FrameError(f"its time is {time_s!r}; give seconds")
        return Frame(picture=check_frame(picture), time_s=float(time_s), color=self._color)

    def _failed(self, error: Exception) -> SourceError:
        again = self.live and not self._used_up
        return SourceError(f"{self.name} failed: {type(error).__name__}: {error}", retry=again)
