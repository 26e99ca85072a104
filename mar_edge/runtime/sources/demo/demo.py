"""A camera that needs no hardware: it films a drawn scene by a script, which is the ground truth."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from mar_edge.errors import SourceError, SourceTimeoutError
from mar_edge.printable import printable
from mar_edge.reporting import Warnings
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.sources.demo.camera_show import CameraShow
from mar_edge.runtime.sources.demo.gesture_show import GestureShow
from mar_edge.runtime.sources.demo.show import Film, Part, Show
from mar_edge.runtime.sources.source import Connection

SHOWS: dict[str, Callable[..., Show]] = {"camera": CameraShow, "gestures": GestureShow}


class DemoSource:
    """Films a procedurally drawn scene by a script.

    Args:
        show: what happens: `camera`, which moves over a still scene, or `gestures`, a hand before a camera that stands.
        size_px: (width, height) of the frames.
        fps: frames per second.
        realtime: whether to wait between frames as a camera does, or to give them as fast as possible.
        script: one part after another, (label, seconds, speed) for the camera and (label, seconds) for gestures; by default
            everything that the show has.
        loops: how often the script runs; None for endless.
        seed: of the scene and of all that differs by chance.

    Attributes:
        script: as given.
        idle_truth: label of the script between its events; None if its parts are states that last.

    Raises:
        SourceError: if there is no such show, or an argument is out of its range.
    """

    def __init__(
        self,
        *,
        size_px: tuple[int, int] = (640, 480),
        fps: float = 30.0,
        realtime: bool = True,
        show: str = "camera",
        script: Sequence[Part] | None = None,
        loops: int | None = 1,
        seed: int = 7,
    ) -> None:
        if min(size_px) < 16 or max(size_px) > 8192:
            raise SourceError(f"demo size {size_px[0]}x{size_px[1]} is not between 16 and 8192 px a side")
        if not 0 < fps <= 1000:
            raise SourceError(f"demo rate {fps} is not between 0 and 1000 frames per second")
        if seed < 0 or (loops is not None and loops < 1):
            raise SourceError(f"demo seed {seed} must be 0 or more, and loops {loops} 1 or more")
        if show not in SHOWS:
            raise SourceError(f"demo has no show '{printable(show)}'; use {' or '.join(SHOWS)}")
        self.name = "demo"
        self.dropped = 0
        self.warnings = Warnings()
        self.size_px, self.fps, self.realtime, self.loops, self.seed = size_px, fps, realtime, loops, seed
        self.live = realtime
        self.show = SHOWS[show]() if script is None else SHOWS[show](script)
        self.script, self.idle_truth = self.show.script, self.show.idle

    @classmethod
    def parse(cls, spec: str) -> DemoSource:
        """Read `demo` or `demo:show=gestures,size=640x480,fps=30,realtime=no,loops=2,seed=1`.

        Raises:
            SourceError: if an option is unknown or cannot be read.
        """
        values: dict[str, str] = {}
        for part in filter(None, spec.partition(":")[2].split(",")):
            key, _, value = part.partition("=")
            values[key.strip()] = value.strip()
        options = ("show", "size", "fps", "realtime", "loops", "seed")
        unknown = sorted(set(values) - set(options))
        if unknown:
            raise SourceError(f"demo has no option '{printable(unknown[0])}'; its options are {', '.join(options)}")
        try:
            width, height = (int(side) for side in values.get("size", "640x480").split("x"))
            return cls(
                show=values.get("show", "camera"),
                size_px=(width, height),
                fps=float(values.get("fps", "30")),
                realtime={"yes": True, "no": False}[values.get("realtime", "yes")],
                loops=None if values.get("loops") == "forever" else int(values.get("loops", "1")),
                seed=int(values.get("seed", "7")),
            )
        except (ValueError, KeyError) as error:
            raise SourceError(
                f"cannot read '{printable(spec)}'; write for instance demo:show=gestures,size=640x480,realtime=no,loops=2,seed=1"
            ) from error

    def connect(self) -> Connection:
        """Draw the scene, and begin to film."""
        return _Filming(self, self.show.film(self.size_px, self.seed))

    @property
    def length_s(self) -> float:
        """Length of the script."""
        return sum(part[1] for part in self.script)

    def truth_at(self, time_s: float) -> str:
        """Return the scripted label at a time."""
        time_s %= self.length_s
        for part in self.script:
            if time_s < part[1]:
                return part[0]
            time_s -= part[1]
        return self.script[-1][0]


class _Filming:
    """One filming of the script."""

    def __init__(self, demo: DemoSource, film: Film) -> None:
        self._demo = demo
        self._film = film
        self._frames = None if demo.loops is None else round(demo.loops * demo.length_s * demo.fps)
        self._index = 0
        self._began_s = time.monotonic()
        self._closed = threading.Event()

    def read(self, timeout_s: float) -> Frame | None:
        """Return the next frame, in real time when it is due; one that nobody took in time is dropped."""
        if self._demo.realtime and not self._wait(timeout_s):
            raise SourceTimeoutError(f"{self._demo.name}: no frame is due for {timeout_s:g} s")
        if self._closed.is_set() or self._index == self._frames:
            return None
        time_s = self._index / self._demo.fps
        self._index += 1
        return Frame(
            picture=self._film(time_s % self._demo.length_s),
            time_s=time_s,
            color="rgb",
            truth=self._demo.truth_at(time_s),
            arrived_s=time.monotonic() if self._demo.realtime else None,
        )

    def close(self) -> None:
        """End the filming."""
        self._closed.set()

    def _wait(self, timeout_s: float) -> bool:
        """Wait until the next frame is due, without those that are too late; return whether there is one or the end."""
        step_s = 1 / self._demo.fps
        passed_s = time.monotonic() - self._began_s
        while self._index != self._frames and passed_s - self._index * step_s > step_s:
            self._demo.dropped += 1  # a camera would have continued; so do we
            self._index += 1
        if self._index == self._frames:
            return True
        due_s = self._index * step_s - passed_s
        return self._closed.wait(max(0.0, min(due_s, timeout_s))) or due_s <= timeout_s
