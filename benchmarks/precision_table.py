"""What FP16 and INT8 cost egomotion in accuracy: every variant of a bundle on the labelled sets of egomotion_accuracy.

    mar-edge export egomotion -o runs/egomotion.mar --mask 50 --mask 75 --precision fp32 --precision fp16 --precision bf16 \
        --precision int8 --calibrate ../shared/clips/daily
    python benchmarks/precision_table.py runs/egomotion.mar [--clips 1000] [--out runs/precision.md]

All variants see the same clips. Half-precision graphs run with every tensor rounded to half, because engines on a CPU may
compute them in FP32; the others run in ONNX Runtime.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from egomotion_accuracy import MIN_STRUCTURE, SEED, stands_still
from numpy.typing import NDArray
from rich.progress import track

from mar_edge.bundle import Bundle, open_bundle
from mar_edge.export.gate import emulated_logits
from mar_edge.manifest import Variant
from mar_edge.runtime.engines.registry import create_engine
from mar_edge.runtime.measurement.clip_set import open_clips
from mar_edge.runtime.measurement.parity import compare
from mar_edge.training.synthetic.virtual_camera import Filming, film_many
from mar_edge.training.synthetic.worlds import World, drawn_worlds, video_worlds, videos_below


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("bundle")
    arguments.add_argument("--shared", type=Path, default=Path("../shared"))
    arguments.add_argument("--clips", type=int, default=1000, help="in each set")
    arguments.add_argument("--out", type=Path, default=None, help="file for the table")
    options = arguments.parse_args()

    bundle = open_bundle(options.bundle)
    lines = [
        "| set | clips | mask | precision | size | top-1 | points from fp32 | same class as fp32 | KL (nats) | kept in fp32 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    sets = [
        (name, *film(worlds, filming, options.clips, seed))
        for name, worlds, filming, seed in labelled_sets(bundle, options.shared)
    ]
    sets += [
        (f"untouched: {folder}", *untouched(bundle, options.shared / "clips" / folder)) for folder in ("daily", "asl")
    ]
    for name, frames, truth in sets:
        references = {
            variant.mask: logits_of(bundle, variant, frames)
            for variant in bundle.manifest.variants
            if variant.precision == "fp32"
        }
        for variant in bundle.manifest.variants:
            reference = references[variant.mask]
            logits = reference if variant.precision == "fp32" else logits_of(bundle, variant, frames)
            parity = compare(
                reference, logits, variant.precision, source=name, reference_name="graph fp32", targets=truth
            ).parity
            assert parity.top1 is not None and parity.reference_top1 is not None and parity.top1_agreement is not None
            kept = f"{len(variant.kept)} parts" if variant.kept else "none"
            lines.append(
                f"| {name} | {parity.clips} | {variant.mask} % | {variant.title.partition(' ')[2].partition(' ')[2]} "
                f"| {variant.size_bytes / 1e6:.1f} MB | {100 * parity.top1:.1f} % "
                f"| {100 * (parity.top1 - parity.reference_top1):+.1f} | {100 * parity.top1_agreement:.1f} % "
                f"| {parity.kl:.1e} | {kept} |"
            )
            print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def labelled_sets(bundle: Bundle, shared: Path) -> list[tuple[str, list[World], Filming, int]]:
    """Return name, worlds, how they are filmed, and seed of each set."""
    plain = Filming(
        geometry=bundle.manifest.geometry,
        rate_fps=bundle.manifest.rate_fps,
        margin=0.0,
        min_structure=MIN_STRUCTURE,
    )
    clean = replace(plain, clean=True)
    drawn = drawn_worlds(200, SEED)
    daily = video_worlds(videos_below(shared / "clips" / "daily"))
    arid = video_worlds(videos_below(shared / "data" / "arid" / "val"))
    standing = [world for world in arid if stands_still(world)]
    frozen = [World.of(world.levels[0][len(world.time_s) // 2][None], [0.0], world.name) for world in arid]
    return [
        ("drawn scenes", drawn, clean, SEED),
        ("drawn scenes with all troubles", drawn, plain, SEED + 6),
        ("daily, playing", daily, clean, SEED + 1),
        ("arid/val whose camera stands still", standing, clean, SEED + 2),
        ("arid/val, middle frame", frozen, clean, SEED + 3),
        ("arid/val as they are", arid, clean, SEED + 4),
    ]


def film(worlds: list[World], filming: Filming, clips: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return clips (N, T, H, W, 3) and their classes (N,), the same as egomotion_accuracy sees."""
    films, truths = [], []
    for start in track(range(0, clips, 100), description="virtual moves"):
        made, truth, _ = film_many([worlds], [1.0], 100, filming, seed * 1000 + start)
        films.append(made)
        truths.append(truth)
    return np.concatenate(films), np.concatenate(truths)


def untouched(bundle: Bundle, folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return windows of videos whose camera stands still: ten of each on average, fewer where they are short."""
    videos = videos_below(folder)
    frames = open_clips(bundle.manifest, folder, count=10 * len(videos)).stacked()
    return frames, np.full(len(frames), bundle.manifest.labels.index("still"), np.int64)


def logits_of(bundle: Bundle, variant: Variant, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Run a variant."""
    if variant.precision in ("fp16", "bf16"):
        return emulated_logits(onnx.load(str(bundle.graph_path(variant))), frames)
    engine = create_engine(bundle, variant)
    return np.concatenate([engine.infer(frames[start : start + 50]) for start in range(0, len(frames), 50)])


if __name__ == "__main__":
    main()
