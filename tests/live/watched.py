"""A stream of a numbered film in a real runner: when frames and results come, and what is in every window."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from mar_edge.runtime.model import Model
from mar_edge.runtime.results import Kind, Notice, Prediction, Record, ShownFrame
from mar_edge.runtime.sources.source import Source
from mar_edge.runtime.streams.runner import Runner
from mar_edge.testing import FakeEngine
from tests.fakes.numbered_film import FPS, FRAMES, read_number

SIZE_PX = 64
"""Side of the pictures that the engine sees: blocks of 8 pixels."""


@dataclass(frozen=True)
class Return:
    """What came after a server's return.

    Attributes:
        frame_s: from its return to the first frame, seconds.
        result_s: to the first prediction.
    """

    frame_s: float
    result_s: float


@dataclass(frozen=True)
class Held:
    """What this process holds.

    Attributes:
        threads: of the system.
        sockets: open ones.
        files: open files, sockets included.
        rss_mb: resident memory, MB.
    """

    threads: int
    sockets: int
    files: int
    rss_mb: float

    @staticmethod
    def now() -> Held:
        """Look."""
        targets = []
        for name in os.listdir("/proc/self/fd"):
            try:
                targets.append(os.readlink(f"/proc/self/fd/{name}"))
            except OSError:
                continue  # the one of listdir
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return Held(
            threads=len(os.listdir("/proc/self/task")),
            sockets=sum(target.startswith("socket:") for target in targets),
            files=len(targets),
            rss_mb=pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
        )


class Watched:
    """One stream, read and recognised by a runner. Use it as a context manager.

    Args:
        source: what to read; its pictures are those of a numbered film.
        frames: in a film, after which it begins again.
        window: frames in a window of the model.
        stall_s: see `Runner.add`.

    Attributes:
        windows: how many were inferred.
        mixed: those with pictures of two lives, or with a gap that is too long: the numbers in them.
        steps: how often two neighbours in a window are so many pictures of the film apart.
        notices: codes, in order.
    """

    name: str = "watched"
    wants: frozenset[Kind] = frozenset(("frame", "prediction", "notice"))

    def __init__(self, source: str | Source, *, frames: int = FRAMES, window: int = 16, stall_s: float = 5.0) -> None:
        self.windows = 0
        self.mixed: list[list[tuple[int, int]]] = []
        self.steps: Counter[int] = Counter()
        self.notices: list[str] = []
        self._frames = frames
        self._came = threading.Condition()
        self._frame: tuple[int, float] = (-1, 0.0)
        self._result_s = 0.0
        engine = FakeEngine(answer=self._check, size_px=SIZE_PX, frames=window, keep=False)
        self.runner = Runner(sinks=[self])
        self.stream = self.runner.add(source, Model(engine), stall_s=stall_s)

    def __enter__(self) -> Watched:
        """Start."""
        self.runner.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.runner.stop()

    def returned(self, since_s: float, *, life: int, timeout_s: float = 60.0) -> Return:
        """Wait for a frame and a result of a server's life, both since its return.

        Args:
            since_s: `time.monotonic()` of the return.
            life: number in its film.
            timeout_s: after which it is an error.
        """
        with self._came:
            assert self._came.wait_for(lambda: self._frame[0] == life and self._frame[1] > since_s, timeout_s), (
                f"no frame of life {life} in {timeout_s:g} s; notices: {self.notices[-5:]}"
            )
            frame_s = self._frame[1] - since_s
            first_s = self._frame[1]
            assert self._came.wait_for(lambda: self._result_s > first_s, timeout_s), f"no result of life {life}"
            return Return(frame_s, self._result_s - since_s)

    def until_told(self, code: str, timeout_s: float = 20.0) -> None:
        """Wait until the newest notice has a code."""
        with self._came:
            assert self._came.wait_for(lambda: self.notices[-1:] == [code], timeout_s), self.notices

    def write(self, record: Record) -> None:
        """Note what comes."""
        with self._came:
            if isinstance(record, ShownFrame):
                arrived_s = record.frame.arrived_s or time.monotonic()
                self._frame = (read_number(record.frame.picture)[0], arrived_s)
            elif isinstance(record, Prediction):
                self._result_s = time.monotonic()
            elif isinstance(record, Notice):
                self.notices.append(record.code)
            self._came.notify_all()

    def close(self) -> None:
        """Nothing to do."""

    def _check(self, clip: NDArray[np.uint8]) -> str:
        """Look what is in a window, uint8 (T, H, W, 3); return some label."""
        numbers = [read_number(picture) for picture in clip]
        steps = [(after[1] - before[1]) % self._frames for before, after in pairwise(numbers)]
        self.windows += 1
        self.steps.update(steps)
        longest = round(0.5 * FPS) + 1  # the longest gap that a window may bridge is half a second
        if len({life for life, _ in numbers}) > 1 or max(steps) > longest:
            self.mixed.append(numbers)
        return "dark"
