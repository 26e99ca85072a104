"""A stream that runs long, and many streams on one core, of a streaming model.

    python benchmarks/streaming/endurance.py [BUNDLE] [--steps 100000] [--streams 64] [--seconds 20] [--engine onnxruntime]

Steps: one stream runs on; memory is read, and every tenth of the way the answers of 128 further steps are compared with
those of a fresh state that is given only these. How many of them must be equal follows from the model: an answer depends on
as many steps as its attentions look back together.
Streams: sessions in one thread, on one core, are given decoded frames of 320 x 240 at the model's rate; told is how much of
real time they take.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

import numpy as np
import psutil

from mar_edge.bundle import open_bundle
from mar_edge.runtime.engines.engine import Engine
from mar_edge.runtime.engines.registry import create_engine
from mar_edge.runtime.streams.session import Session

FRESH = 128
"""Time steps that a fresh state is given."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("bundle", nargs="?", default="egomotion")
    arguments.add_argument("--steps", type=int, default=100_000)
    arguments.add_argument("--streams", type=int, default=64)
    arguments.add_argument("--seconds", type=float, default=20)
    arguments.add_argument("--engine", default="onnxruntime")
    options = arguments.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # one core
    bundle = open_bundle(options.bundle)
    engine = create_engine(bundle, bundle.variant(), options.engine, threads=1)
    long_stream(engine, options.steps)
    many_streams(engine, options.streams, options.seconds)


def long_stream(engine: Engine, steps: int) -> None:
    """Run one stream, and compare it with fresh states."""
    spec = engine.spec
    model = spec.architecture
    back = (spec.geometry.grid[0] - 1) * (model["depth"] + model["bridge_depth"])
    shape = (steps // 100, 1, spec.input_frames, *spec.geometry.clip_shape[1:])
    film = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    process, state = psutil.Process(), engine.new_state()
    print(f"| steps | memory MB | ms a step, median | largest difference from a fresh state after {back} steps |")
    print("|---|---|---|---|")
    done = 0
    for _ in range(10):
        times_s = []
        for _ in range(steps // 10 - FRESH):
            began_s = time.perf_counter()
            engine.step(film[done % len(film)], [state])
            times_s.append(time.perf_counter() - began_s)
            done += 1
        done += -done % 4  # a fresh state begins with the mask's first phase
        state.skip(-state.step % 4)
        fresh, differences = engine.new_state(), []
        for number in range(FRESH):
            ours, theirs = (engine.step(film[done % len(film)], [one]) for one in (state, fresh))
            differences.append(float(np.abs(ours - theirs).max() / np.abs(theirs).max()))
            done += 1
            assert number < back or differences[-1] < 1e-4, differences[-1]
        memory_mb = process.memory_info().rss / 1e6
        print(f"| {done} | {memory_mb:.1f} | {1000 * statistics.median(times_s):.3f} | {max(differences[back:]):.1e} |")


def many_streams(engine: Engine, streams: int, seconds: float) -> None:
    """Give sessions frames as fast as they take them, and tell the share of real time."""
    rate_fps = engine.spec.rate_fps
    frames = np.random.default_rng(1).integers(0, 256, (16, 240, 320, 3), dtype=np.uint8)
    sessions = [Session(engine, stream=f"stream {number}") for number in range(streams)]
    answers, began_s = 0, time.perf_counter()
    for index in range(round(seconds * rate_fps)):
        for session in sessions:
            answers += session.push(frames[index % len(frames)], index / rate_fps) is not None
    took_s = time.perf_counter() - began_s
    print(
        f"\n{streams} streams of {seconds:g} s on one core in {engine.name}: {took_s:.1f} s, {took_s / seconds:.0%} of real "
        f"time; {answers} predictions, {1000 * took_s / answers:.2f} ms each with preprocessing and decision"
    )


if __name__ == "__main__":
    main()
