"""How much faster a masked graph is than the dense one, on one core, as the ratio of medians of runs in turns.

    python benchmarks/inference_speed.py [BUNDLE ...]

Without arguments: the built-in egomotion, and the tiny preset at 224 px with random weights. For a bundle, all its graphs.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from mar_edge.bundle import Bundle, open_bundle
from mar_edge.runtime.engines.registry import create_engine

ROUNDS = 30


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("bundles", nargs="*")
    arguments.add_argument("--rounds", type=int, default=ROUNDS)
    options = arguments.parse_args()
    print("| model | mask | GMACs | median ms, one core | against the first |")
    print("|---|---|---|---|---|")
    if options.bundles:
        for name in options.bundles:
            measure(open_bundle(name), options.rounds)
        return
    measure(open_bundle("egomotion"), options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        measure(random_bundle(Path(folder)), options.rounds)


def measure(bundle: Bundle, rounds: int) -> None:
    """Run all graphs of a bundle in turns and print a line for each."""
    variants = sorted(bundle.manifest.variants, key=lambda variant: variant.mask)
    engines = [create_engine(bundle, variant, threads=1) for variant in variants]
    clip = np.random.default_rng(0).integers(0, 256, (1, *bundle.manifest.geometry.clip_shape), dtype=np.uint8)
    times: list[list[float]] = [[] for _ in engines]
    for turn in range(rounds + 2):
        for engine, own in zip(engines, times, strict=True):
            began_s = time.perf_counter()
            engine.infer(clip)
            if turn >= 2:  # the first runs allocate
                own.append(time.perf_counter() - began_s)
    first = statistics.median(times[0])
    for variant, own in zip(variants, times, strict=True):
        median = statistics.median(own)
        print(
            f"| {bundle.manifest.name} | {variant.mask} % | {variant.gmacs:.3g} | {1000 * median:.1f} | {median / first:.2f} |"
        )


def random_bundle(folder: Path) -> Bundle:
    """Export the tiny preset with random weights at masks 0, 50 and 75."""
    from mar_edge.export.exporter import export
    from mar_edge.model import checkpoint
    from mar_edge.model.config import build, preset

    config = preset("tiny", classes=10, decoder_depth=0)
    info = checkpoint.CheckpointInfo(name="tiny preset, 224 px", labels=[str(index) for index in range(10)])
    checkpoint.save(folder / "tiny.safetensors", build(config), config, info)
    return export(folder / "tiny.safetensors", folder / "tiny.mar", masks=[0, 50, 75]).bundle


if __name__ == "__main__":
    main()
