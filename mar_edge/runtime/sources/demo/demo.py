"""A camera that needs no hardware: a drawn scene, filmed along a scripted path, with the script as ground truth."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from types import TracebackType

import cv2
import numpy as np

from mar_edge.errors import SourceError
from mar_edge.reporting import Warnings
from mar_edge.runtime.sources.demo.camera_path import LABELS, CameraPath, motion_of, view_affine
from mar_edge.runtime.sources.demo.scene import dead_leaves
from mar_edge.runtime.sources.source import Frame

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
        realtime: whether to wait between frames as a camera does, or to yield them as fast as possible.
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
        self.script = tuple(script)
        self._stopped = threading.Event()

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

    def __enter__(self) -> DemoSource:
        """Nothing to open."""
        self._stopped.clear()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""

    def stop(self) -> None:
        """End the iteration; any thread may call it."""
        self._stopped.set()

    def truth_at(self, time_s: float) -> str:
        """Return the scripted label at a time."""
        time_s %= sum(seconds for _, seconds, _ in self.script)
        for label, seconds, _ in self.script:
            if time_s < seconds:
                return label
            time_s -= seconds
        return self.script[-1][0]

    def __iter__(self) -> Iterator[Frame]:
        """Film."""
        rng = np.random.default_rng(self.seed)
        scene = cv2.GaussianBlur(dead_leaves(rng, _SCENE_PX, shapes=900), (0, 0), 1.0)
        path = CameraPath([(seconds, motion_of(label, speed)) for label, seconds, speed in self.script], rng)
        width, height = self.size_px
        length_s = sum(seconds for _, seconds, _ in self.script)
        frames = None if self.loops is None else round(self.loops * length_s * self.fps)
        began_s = time.monotonic()
        index = 0
        while frames is None or index < frames:
            time_s = index / self.fps
            if self.realtime:
                behind_s = time.monotonic() - began_s - time_s
                if behind_s < 0:
                    if self._stopped.wait(-behind_s):
                        return
                elif behind_s > 1 / self.fps:  # a camera would have continued; so do we
                    self.dropped += 1
                    index += 1
                    continue
            matrix = view_affine(
                path.at(time_s % length_s),
                view_px=self.size_px,
                aspect=width / height,
                scene_center_px=(_SCENE_PX / 2, _SCENE_PX / 2),
                scene_px_per_width=640,
            )
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            picture = cv2.warpAffine(scene, matrix, self.size_px, flags=flags, borderMode=cv2.BORDER_REFLECT_101)
            yield Frame(
                picture=np.asarray(picture, dtype=np.uint8),
                time_s=time_s,
                color="rgb",
                truth=self.truth_at(time_s),
                arrived_s=time.monotonic() if self.realtime else None,
            )
            index += 1
