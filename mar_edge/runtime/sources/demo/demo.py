"""A camera that needs no hardware: a drawn scene, filmed along a scripted path, with the script as ground truth."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import SourceError, SourceTimeoutError
from mar_edge.reporting import Warnings
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.sources.demo.camera_path import LABELS, CameraPath, motion_of, view_affine
from mar_edge.runtime.sources.demo.scene import dead_leaves
from mar_edge.runtime.sources.source import Connection

SCRIPT: tuple[tuple[str, float, float], ...] = (
    # label, seconds, speed (see `camera_path.motion_of`)
    ("still", 4, 0),
    ("pan_right", 4, 0.45),
    ("still", 4, 0),
    ("tilt_down", 4, 0.35),
    ("zoom_in", 4, 0.30),
    ("pan_left", 4, 0.40),
    ("roll_clockwise", 4, 22),
    ("still", 4, 0),
    ("shake", 4, 0.03),
    ("tilt_up", 4, 0.40),
    ("zoom_out", 4, 0.30),
    ("roll_counter_clockwise", 4, 22),
)

_SCENE_PX = 2048


class DemoSource:
    """Films a procedurally drawn scene along a script.

    Args:
        size_px: (width, height) of the frames.
        fps: frames per second.
        realtime: whether to wait between frames as a camera does, or to give them as fast as possible.
        script: (label, seconds, speed) one after another.
        loops: how often the script runs; None for endless.
        seed: of the scene and of the shake.
    """

    def __init__(
        self,
        *,
        size_px: tuple[int, int] = (640, 480),
        fps: float = 30.0,
        realtime: bool = True,
        script: Sequence[tuple[str, float, float]] = SCRIPT,
        loops: int | None = 1,
        seed: int = 7,
    ) -> None:
        if min(size_px) < 16 or max(size_px) > 8192:
            raise SourceError(f"demo size {size_px[0]}x{size_px[1]} is not between 16 and 8192 px a side")
        if not 0 < fps <= 1000:
            raise SourceError(f"demo rate {fps} is not between 0 and 1000 frames per second")
        if seed < 0 or (loops is not None and loops < 1):
            raise SourceError(f"demo seed {seed} must be 0 or more, and loops {loops} 1 or more")
        unknown = [label for label, _, _ in script if label not in LABELS]
        if unknown or not script:
            raise SourceError(
                f"demo script {f'has unknown labels {unknown}' if unknown else 'is empty'}; use {', '.join(LABELS)}"
            )
        self.name = "demo"
        self.dropped = 0
        self.warnings = Warnings()
        self.size_px, self.fps, self.realtime, self.loops, self.seed = size_px, fps, realtime, loops, seed
        self.live = realtime
        self.script = tuple(script)

    @classmethod
    def parse(cls, spec: str) -> DemoSource:
        """Read `demo` or `demo:size=640x480,fps=30,realtime=no,loops=2,seed=1`.

        Raises:
            SourceError: if an option is unknown or cannot be read.
        """
        values: dict[str, str] = {}
        for part in filter(None, spec.partition(":")[2].split(",")):
            key, _, value = part.partition("=")
            values[key.strip()] = value.strip()
        unknown = sorted(set(values) - {"size", "fps", "realtime", "loops", "seed"})
        if unknown:
            raise SourceError(f"demo has no option '{unknown[0]}'; its options are size, fps, realtime, loops, seed")
        try:
            width, height = (int(side) for side in values.get("size", "640x480").split("x"))
            return cls(
                size_px=(width, height),
                fps=float(values.get("fps", "30")),
                realtime={"yes": True, "no": False}[values.get("realtime", "yes")],
                loops=None if values.get("loops") == "forever" else int(values.get("loops", "1")),
                seed=int(values.get("seed", "7")),
            )
        except (ValueError, KeyError) as error:
            raise SourceError(
                f"cannot read '{spec}'; write for instance demo:size=640x480,fps=30,realtime=no,loops=2,seed=1"
            ) from error

    def connect(self) -> Connection:
        """Draw the scene, and begin to film."""
        rng = np.random.default_rng(self.seed)
        scene = cv2.GaussianBlur(dead_leaves(rng, _SCENE_PX, shapes=900), (0, 0), 1.0)
        path = CameraPath([(seconds, motion_of(label, speed)) for label, seconds, speed in self.script], rng)
        return _Filming(self, np.asarray(scene, dtype=np.uint8), path)

    @property
    def length_s(self) -> float:
        """Length of the script."""
        return sum(seconds for _, seconds, _ in self.script)

    def truth_at(self, time_s: float) -> str:
        """Return the scripted label at a time."""
        time_s %= self.length_s
        for label, seconds, _ in self.script:
            if time_s < seconds:
                return label
            time_s -= seconds
        return self.script[-1][0]


class _Filming:
    """One filming of the script."""

    def __init__(self, demo: DemoSource, scene: NDArray[np.uint8], path: CameraPath) -> None:
        self._demo = demo
        self._scene = scene
        self._path = path
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
            picture=self._picture(time_s % self._demo.length_s),
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

    def _picture(self, script_s: float) -> NDArray[np.uint8]:
        width, height = self._demo.size_px
        matrix = view_affine(
            self._path.at(script_s),
            view_px=(width, height),
            aspect=width / height,
            scene_center_px=(_SCENE_PX / 2, _SCENE_PX / 2),
            scene_px_per_width=640,
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        picture = cv2.warpAffine(self._scene, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
        return np.asarray(picture, dtype=np.uint8)
