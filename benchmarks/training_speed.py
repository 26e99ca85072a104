"""Time of a training step: masked against dense, bf16 against fp32; and how long the model waits for clips.

    python benchmarks/training_speed.py [--data LIST] [--rounds N]

Steps (forward and backward, no optimiser) of two variants are taken in turns, medians compared. For the waiting, a small
model is trained for some steps on a list of videos, once to fill the cache and once more with it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mar_edge.console import Console
from mar_edge.geometry import Geometry
from mar_edge.masking import masked_indices, training_mask, visible_indices
from mar_edge.model.config import build, preset
from mar_edge.training.objective import Batch, Objective, ObjectivePart
from mar_edge.training.recipe import Recipe
from mar_edge.training.trainer import train

CLIPS = 8
SIZE_PX = 96
WIDE = {"width": 160, "depth": 4, "heads": 5, "bridge_width": 96, "bridge_heads": 4}
SMALL = {**WIDE, "size_px": 96, "decoder_width": 64, "decoder_depth": 1, "decoder_heads": 2, "input_norm": "clip"}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", type=Path, default=Path("../shared/data/arid/train.csv"))
    arguments.add_argument("--rounds", type=int, default=7)
    options = arguments.parse_args()
    steps = {
        "mask 50 %, fp32": step_of(0.5, bf16=False),
        "dense, fp32": step_of(0.0, bf16=False),
        "mask 75 %, fp32": step_of(0.75, bf16=False),
        "mask 50 %, bf16": step_of(0.5, bf16=True),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(options.rounds + 1):
        for name, step in steps.items():
            began_s = time.perf_counter()
            step()
            if turn:  # the first allocates
                times[name].append(time.perf_counter() - began_s)
    medians = {name: statistics.median(own) for name, own in times.items()}
    print(f"preset tiny at {SIZE_PX} px, {CLIPS} clips, with reconstruction where something is hidden\n")
    print("| step | median s | against dense fp32 |\n|---|---|---|")
    for name, median in medians.items():
        print(f"| {name} | {median:.2f} | {median / medians['dense, fp32']:.2f} |")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("filling the cache first", "with a warm cache"):
            result = train(waiting(options.data, Path(folder), name), Console(quiet=True))
            print(
                f"\n{name}: {100 * (1 - result.data_wait):.1f} % of {result.step} steps busy, the rest waiting for clips"
            )


def step_of(ratio: float, *, bf16: bool) -> Callable[[], None]:
    """Return a function that does one step at a mask ratio."""
    torch.manual_seed(0)
    config = preset("tiny", classes=10, geometry=Geometry(height_px=SIZE_PX, width_px=SIZE_PX))
    config = replace(config, decoder_depth=config.decoder_depth if ratio else 0)
    objective = Objective(build(config), ObjectivePart(reconstruction_weight=0.1 if ratio else 0.0))
    rng = np.random.default_rng(0)
    masks = [training_mask(config.geometry.grid, ratio, rng) for _ in range(CLIPS)]
    batch = Batch(
        clips=torch.randint(0, 256, (CLIPS, *config.geometry.clip_shape), dtype=torch.uint8),
        targets=torch.eye(10)[torch.arange(CLIPS) % 10],
        flows=torch.zeros(CLIPS, 0, 2),
        visible=torch.from_numpy(np.stack([visible_indices(mask) for mask in masks])),
        masked=torch.from_numpy(np.stack([masked_indices(mask) for mask in masks])),
        files=("",) * CLIPS,
    )

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = objective(batch).total
        loss.backward()
        objective.zero_grad()

    return step


def waiting(data: Path, folder: Path, name: str) -> Recipe:
    """Return a recipe of a model as small as those that ship, with all augmentation on."""
    return Recipe.model_validate(
        {
            "name": name,
            "description": "a benchmark",
            "licence": "none",
            "model": SMALL,
            "data": {"kind": "videos", "train": str(data), "cache": str(folder / "cache"), "resize": "stretch"},
            "augment": {
                "crop_scale": [0.5, 1], "flip": 0.5, "rotation_deg": 5, "gamma": [0.5, 2], "noise": 5, "erase": 0.25,
            },
            "mix": {"mixup_alpha": 0.8, "cutmix_alpha": 1.0},
            "trainer": {"steps": 20, "batch": 32, "out": str(folder / name)},
        }
    )  # fmt: skip


if __name__ == "__main__":
    main()
