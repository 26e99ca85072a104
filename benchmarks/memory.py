"""Memory of a session with the built-in model over 100,000 frames.

python benchmarks/memory.py [--frames 100000]
"""

from __future__ import annotations

import argparse
import gc
import threading

import numpy as np
import psutil

import mar_edge

WARM_UP = 5000


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--frames", type=int, default=100_000)
    options = arguments.parse_args()
    process = psutil.Process()
    session = mar_edge.load("egomotion", threads=1).session()
    pictures = np.random.default_rng(0).integers(0, 256, (8, 240, 320, 3), dtype=np.uint8)
    start = 0
    threads = 0
    for index in range(options.frames):
        session.push(pictures[index % 8], index / 60)
        if index == WARM_UP:
            gc.collect()
            start, threads = process.memory_info().rss, threading.active_count()
    gc.collect()
    grown = process.memory_info().rss - start
    print(
        f"{options.frames} frames, {session.inferences} inferences: memory grew by {grown / 1e6:.2f} MB after the first "
        f"{WARM_UP} frames, threads {threads} before and {threading.active_count()} after"
    )


if __name__ == "__main__":
    main()
