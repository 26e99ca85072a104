"""Memory and time of a training: what is estimated before step 1, against what the kernel and the clock measure.

    python benchmarks/training_memory.py [--quick]

Every setting is trained for three steps in a process of its own, on films of moving squares that are made here. Measured is
how far the process's resident memory rises from before the model is made to its peak, saving included, and the
faster of the steps after the first.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np
import torch
import yaml

from mar_edge.console import Console
from mar_edge.training import recipe as recipes
from mar_edge.training.loop import Trainer
from mar_edge.training.needs.plan import Place, plan_training
from mar_edge.training.trainer import train
from mar_edge.training.training_data import read_lists

SMALL = "model.width=192 model.heads=3 model.depth=6 model.size_px=96"
SETTINGS = {
    "6 blocks of 192, 96 px, batch 8": f"{SMALL} trainer.batch=8",
    "the same, batch 64": f"{SMALL} trainer.batch=64",
    "batch 32, bf16": f"{SMALL} trainer.batch=32 trainer.precision=bf16",
    "batch 32, Muon, EMA": f"{SMALL} trainer.batch=32 optimiser.kind=muon optimiser.ema=0.9",
    "batch 32, nothing hidden": f"{SMALL} trainer.batch=32 mask.ratio=0",
    "batch 32, flow, drop path": f"{SMALL} trainer.batch=32 objective.flow_weight=0.3 model.drop_path=0.1",
    "batch 16, 224 px": f"{SMALL} model.size_px=224 trainer.batch=16",
    "ViT-B, 224 px, batch 1": "trainer.batch=1",
    "ViT-B, 224 px, batch 4": "trainer.batch=4",
    "ViT-B, 224 px, batch 2, bf16": "trainer.batch=2 trainer.precision=bf16",
    "ViT-B, 64 px, batch 1, no decoder": (
        "trainer.batch=1 model.size_px=64 model.decoder_depth=0 objective.reconstruction_weight=0"
    ),
    "ViT-B, 96 px, batch 2, 2 passes": "trainer.batch=2 trainer.accumulate=2 model.size_px=96",
}
QUICK = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"only the first {QUICK} settings")
    parser.add_argument("--one", nargs=2, metavar=("RECIPE", "OVERRIDES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(Path(options.one[0]), options.one[1].split())))
        return
    print("| training | memory, estimated | measured | estimate too high by | step, estimated | measured |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        recipe = write_recipe(Path(folder))
        for number, (name, overrides) in enumerate(list(SETTINGS.items())[: QUICK if options.quick else None]):
            own = f"{overrides} trainer.out={folder}/run{number}"
            words = [sys.executable, "-W", "ignore", __file__, "--one", str(recipe), own]
            found = json.loads(
                subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
            )
            said, seen = found["estimated_bytes"] / 1e9, found["measured_bytes"] / 1e9
            print(
                f"| {name} | {said:.2f} GB | {seen:.2f} GB | {said / seen - 1:+.0%} | {found['estimated_s']:.2g} s | "
                f"{found['measured_s']:.2g} s |",
                flush=True,
            )


def measure(path: Path, overrides: list[str]) -> dict[str, float]:
    """Train for three steps and return estimates and measurements."""
    recipe = recipes.load(path, overrides)
    plan = plan_training(recipe, read_lists(recipe, lambda *_: None), Place(torch.device("cpu")))
    need = next(line for line in plan.lines if line.startswith("memory"))
    amount, unit = re.findall(r"about ([\d.]+) (MB|GB)", need)[0]
    before: list[int] = []
    times_s: list[float] = []
    made, stepped = Trainer.__init__, Trainer._one_step

    def init(self: Trainer, *arguments: object) -> None:
        before.append(status("VmRSS"))
        made(self, *arguments)  # type: ignore[arg-type]

    def step(self: Trainer, *arguments: object) -> dict[str, float]:
        figures = stepped(self, *arguments)  # type: ignore[arg-type]
        times_s.append(recipe.trainer.clips * recipe.trainer.accumulate / figures["clips_per_s"])
        return figures

    Trainer.__init__, Trainer._one_step = init, step  # type: ignore[method-assign, assignment]
    train(recipe, Console(quiet=True))
    return {
        "estimated_bytes": float(amount) * (1e9 if unit == "GB" else 1e6),
        "measured_bytes": status("VmHWM") - before[0],
        "estimated_s": plan.step_s,
        "measured_s": min(times_s[1:]),
    }


def status(key: str) -> int:
    """Return a line of /proc/self/status in bytes."""
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.findall(rf"{key}:\s+(\d+)", text)[0]) * 1024


def write_recipe(folder: Path) -> Path:
    """Write eight short films and a recipe for them."""
    rows = ["path,label"]
    for index in range(8):
        with av.open(str(folder / f"{index}.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.height = stream.width = 48
            stream.pix_fmt = "yuv420p"
            for left in range(16):
                picture = np.full((48, 48, 3), 60, np.uint8)
                picture[10:22, left : left + 12] = 230
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        rows.append(f"{index}.mp4,{'ab'[index % 2]}")
    (folder / "list.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    values = {
        "name": "n", "description": "d", "licence": "l", "model": {},
        "data": {"kind": "videos", "train": str(folder / "list.csv"), "resize": "stretch", "cache": str(folder / "cache")},
        "trainer": {"steps": 3, "workers": 0, "checkpoint_steps": 2, "out": str(folder / "run")},
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return folder / "recipe.yaml"


if __name__ == "__main__":
    main()
