"""What augmentation costs a clip on one core, against only bringing the clip to the model's size.

    python benchmarks/augmentation_speed.py

Source clips are 4:3 with a short side one seventh longer than the model's, 16 frames. All rows run in turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import cv2
import numpy as np

from mar_edge.training.augmentation.augmentation import Augmentation, AugmentPart
from mar_edge.training.augmentation.mixing import MixPart, mix

SIZES = (64, 112, 224)
CROP: dict[str, Any] = {"crop_scale": [0.3, 1], "flip": 0.5}
ROWS: dict[str, dict[str, Any]] = {
    "resize only": {},
    "crop, flip": CROP,
    "rotation, shear, shift": {"rotation_deg": 10, "shear": 0.1, "shift": 0.1},
    "RandAugment, 2 operations": {"rand_augment": {"ops": 2, "probability": 1}},
    "RandAugment, 4 operations at 0.5": {"rand_augment": {"ops": 4}},
    "saturation, hue, gamma, brightness, contrast": {
        "saturation": 0.4, "hue": 0.1, "gamma": [0.5, 2], "brightness": 0.4, "contrast": 0.4,
    },
    "blur": {"blur": 1},
    "noise": {"noise": 10},
    "erasing": {"erase": 1},
}  # fmt: skip


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=60)
    rounds = arguments.parse_args().rounds
    cv2.setNumThreads(1)
    rows = ROWS | {"all of it": {key: value for row in ROWS.values() for key, value in row.items()}}
    rows["all of it"]["rand_augment"] = {"ops": 4}
    print("| mean ms a clip (against resize only) | " + " | ".join(f"16x{size}x{size}" for size in SIZES) + " |")
    print("|---|" + "---|" * len(SIZES))
    columns = [measure(size, rows, rounds) for size in SIZES]
    for name in [*rows, "mixup or cutmix of a batch of 8"]:
        cells = [f"{column[name]:.2f} ({column[name] / column['resize only']:.1f})" for column in columns]
        print(f"| {name} | " + " | ".join(cells) + " |")


def measure(size: int, rows: dict[str, dict[str, Any]], rounds: int) -> dict[str, float]:
    """Return milliseconds a clip for each row; a mean, as the operations drawn differ in cost."""
    short = size * 8 // 7
    clip = np.random.default_rng(0).integers(0, 256, (16, short, short * 4 // 3, 3), dtype=np.uint8)
    made = {
        name: Augmentation(
            AugmentPart.model_validate(values), height_px=size, width_px=size, labels=(), resize="center_crop"
        )
        for name, values in rows.items()
    }
    batch = np.random.default_rng(0).integers(0, 256, (8, 16, size, size, 3), dtype=np.uint8)
    targets, both = np.eye(8, dtype=np.float32), MixPart(mixup_alpha=0.8, cutmix_alpha=1)
    times: dict[str, list[float]] = {}
    for turn in range(rounds + 2):
        for name, augmentation in made.items():
            began_s = time.perf_counter()
            augmentation(clip, 0, np.random.default_rng(turn))
            times.setdefault(name, []).append(time.perf_counter() - began_s)
        began_s = time.perf_counter()
        mix(batch, targets, both, [np.random.default_rng([turn, index]) for index in range(8)])
        times.setdefault("mixup or cutmix of a batch of 8", []).append((time.perf_counter() - began_s) / 8)
    return {name: 1000 * statistics.mean(own[2:]) for name, own in times.items()}  # the first turns make tables


if __name__ == "__main__":
    main()
