"""What a frame costs beside decoding and inference, for the built-in model: the old formula against the present one, in turns.

python benchmarks/frame_overhead.py [--runs 9] [--seconds 20]

The old formula resized with OpenCV alone, changed the order of colours in a view, and copied twice. Both must give the same
bytes. Conversion is that of a decoded frame, yuv420p, to BGR, a sampled frame what a window does with it then; a prediction
contains a sampled frame. The last column is processor time in all threads of a runner for each sampled frame, with
everything around it. Exits with 1 if at 1280x720 a sampled frame with its conversion takes more than 1 ms, or a prediction
with it more than 2 ms.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from mar_edge.bundle import open_bundle
from mar_edge.model_spec import ModelSpec
from mar_edge.runtime.clips import windows
from mar_edge.runtime.clips.windows import Window
from mar_edge.runtime.engines.engine import Engine
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.model import Model
from mar_edge.runtime.streams.runner import Runner
from mar_edge.runtime.streams.session import Session

SIZES_PX = ((1280, 720), (1920, 1080))
FPS = 30
MOST_FRAME_MS, MOST_PREDICTION_MS = 1.0, 2.0


class FreeEngine(Engine):
    """Answers at once."""

    name = "free"

    def __init__(self) -> None:
        bundle = open_bundle("egomotion")
        variant = bundle.manifest.variants[0]
        super().__init__(bundle.manifest, variant, bundle.graph_path(variant))
        self._logits = np.zeros((1, len(bundle.manifest.labels)), np.float32)

    def _infer(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._logits


def old_to_model(frame: NDArray[np.uint8], spec: ModelSpec, *, color: str, **_: object) -> NDArray[np.uint8]:
    """The formula before."""
    size = (spec.geometry.width_px, spec.geometry.height_px)
    small = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return np.stack([small if color == "rgb" else small[..., ::-1]])


@contextmanager
def formula(name: str) -> Iterator[None]:
    """Use the old formula or the present one."""
    if name == "new":
        yield
        return
    with patch.object(windows, "to_model", old_to_model):
        yield


def scene(width: int, height: int) -> list[VideoFrame]:
    """Return some decoded frames, yuv420p, with the detail of real ones."""
    noise = np.random.default_rng(0).integers(0, 256, (height // 4, width // 4 + 40, 3), np.uint8)
    wide = (width + 160, height)
    large = np.asarray(cv2.resize(noise, wide, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    pictures = (np.ascontiguousarray(large[:, 16 * index : 16 * index + width]) for index in range(10))
    return [VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="yuv420p") for picture in pictures]


def convert(decoded: VideoFrame) -> NDArray[np.uint8]:
    """Return a decoded frame as uint8 (H, W, 3) BGR, as a camera's driver does."""
    return np.asarray(decoded.to_ndarray(format="bgr24"), dtype=np.uint8)


def film(scene: list[VideoFrame], seconds: int) -> Iterator[Frame]:
    """Yield frames that are converted when they are asked for."""
    for index in range(seconds * FPS):
        decoded = scene[index % len(scene)]
        size_px = (decoded.width, decoded.height)
        yield Frame(picture=partial(convert, decoded), size_px=size_px, time_s=index / FPS, color="bgr")


def window_ms(scene: list[VideoFrame], spec: ModelSpec, seconds: int) -> tuple[float, float, float, bytes]:
    """Return the time to convert a frame, to add a sampled one to a window, and one between two samples; and the clip."""
    window = Window(spec)
    converted: list[float] = []
    sampled: list[float] = []
    skipped: list[float] = []
    for index, frame in enumerate(film(scene, seconds)):
        began_s = time.perf_counter()
        if index * spec.rate_fps % FPS == 0:
            assert frame.picture.size
            converted.append(1000 * (time.perf_counter() - began_s))
            began_s = time.perf_counter()
        step = window.add(frame)
        (sampled if step.places else skipped).append(1000 * (time.perf_counter() - began_s))
    assert len(converted) == len(sampled)
    medians = statistics.median(converted), statistics.median(sampled), statistics.median(skipped)
    return *medians, window.clip.tobytes()


def prediction_ms(scene: list[VideoFrame], engine: Engine, seconds: int) -> float:
    """Return the time of a push that returns a prediction; the sampled frame is part of it, its conversion is not."""
    session = Session(engine)
    taken = []
    for frame in film(scene, seconds):
        picture = frame.picture
        began_s = time.perf_counter()
        result = session.push(picture, frame.time_s)
        if result is not None:
            result.to_json()
            taken.append(1000 * (time.perf_counter() - began_s))
    return statistics.median(taken)


def live_path_ms(scene: list[VideoFrame], engine: Engine, seconds: int) -> float:
    """Return the processor time of all threads of a runner for each sampled frame, with everything around it."""
    began_s = time.process_time()
    with Runner() as runner:
        runner.add(film(scene, seconds), Model(engine))
        predictions = sum(record.kind == "prediction" for record in runner)
    assert predictions > seconds
    return 1000 * (time.process_time() - began_s) / (seconds * engine.spec.rate_fps)


def processor() -> str:
    """Return the name of the processor."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


def main() -> None:
    """Measure, print a table, and exit with 1 if a bound is missed."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=9)
    arguments.add_argument("--seconds", type=int, default=20, help="of video in a run")
    options = arguments.parse_args()
    engine = FreeEngine()
    print(f"{processor()}; OpenCV {cv2.__version__}, {cv2.getNumThreads()} threads; median of {options.runs} runs")
    print("| size | formula | conversion | sampled frame | other frame | prediction | in all threads |")
    print("|---|---|---|---|---|---|---|")
    missed = False
    for width, height in SIZES_PX:
        decoded = scene(width, height)
        figures: dict[str, list[tuple[float, ...]]] = {"old": [], "new": []}
        clips = set()
        for _ in range(options.runs):
            for name, rows in figures.items():
                with formula(name):
                    *window, clip = window_ms(decoded, engine.spec, options.seconds)
                    predicted_ms = prediction_ms(decoded, engine, options.seconds)
                    live_ms = live_path_ms(decoded, engine, options.seconds)
                clips.add(clip)
                rows.append((*window, predicted_ms, live_ms))
        assert len(clips) == 1, "the two formulas give different bytes"
        for name, rows in figures.items():
            converted, sampled, skipped, predicted, live = map(statistics.median, zip(*rows, strict=True))
            print(
                f"| {width}x{height} | {name} | {converted:.2f} ms | {sampled:.2f} ms | {1000 * skipped:.0f} us "
                f"| {predicted:.2f} ms | {live:.2f} ms |"
            )
            if name == "new" and (width, height) == SIZES_PX[0]:
                missed = converted + sampled > MOST_FRAME_MS or converted + predicted > MOST_PREDICTION_MS
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
