"""The paper's claims at our scale, and what streaming costs: masks, ratios, classifiers, losses and time compared under one budget.

    python benchmarks/paper_claims.py egomotion|arid [--seeds 0 1 2] [--only NAME ...] [--out docs/results]

Every variant is one recipe with some keys changed, trained from the same start for the same steps with the same clips in
the same order, once a seed, each in a process of its own with one thread. What a finished run found is a line of OUT/DATASET.csv; a run
that is there is not made again. The table is printed at the end, and by --table alone.

Judged is the model after its last step, never the best one: on ARID its validation videos, on egomotion 1,000 filmed
clips of drawn scenes that training never saw. Test masks: phase 0 for the cell running mask, one draw for the others.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from mar_edge.console import Console
from mar_edge.masking import visible_indices
from mar_edge.model import checkpoint
from mar_edge.model.torch_engine import count_macs
from mar_edge.reporting import no_progress
from mar_edge.training import recipe as recipes
from mar_edge.training.recipe import Recipe
from mar_edge.training.synthetic import camera_moves
from mar_edge.training.synthetic.camera_moves import CameraMovesPart
from mar_edge.training.trainer import train

ROOT = Path(__file__).parent.parent

RECIPES = {"egomotion": "egomotion_window.yaml", "arid": "arid.yaml"}

BASE = {
    # drawn scenes alone, so that nothing need be installed; a smaller model, and no flow to learn from, as in the paper
    "egomotion": [
        "data.weights=[1, 0, 0]", "data.clips=12000", "data.seed=0", "data.pictures=[]", "data.videos=[]",
        "objective.flow_weight=0", "model.width=96", "model.depth=3", "model.heads=3", "model.bridge_width=64",
        "mask.fixed_from=null", "optimiser.schedule=[[0, 0.01], [30, 1], [130, 1], [150, 0.25], [250, 0]]",
        "trainer.steps=250", "trainer.batch=64", "trainer.threads=1",
    ],
    "arid": [
        "data.val=../shared/data/arid/val.csv", "trainer.validate_steps=100000", "objective.flow_weight=0",
        "trainer.steps=120", "trainer.batch=32", "optimiser.ema=null", "trainer.threads=1",
    ],
}  # fmt: skip

VARIANTS = {
    "MAR: cell running 50 %": [],
    "dense": ["mask.ratio=0", "objective.reconstruction_weight=0"],
    "cell running 75 %": ["mask.ratio=0.75"],
    "random 50 %": ["mask.kind=random"],
    "tube 50 %": ["mask.kind=tube"],
    "frame 50 %": ["mask.kind=frame"],
    "linear head": ["model.classifier=mean_pool"],
    "without reconstruction": ["objective.reconstruction_weight=0"],
}

CAUSAL = ["model.temporal=causal", "model.input_norm=step"]

STREAMING = {
    "causal": [*CAUSAL, "streaming.windows=1"],
    "causal, half as many clips, twice as long": [*CAUSAL, "streaming.windows=2"],
    "the same, the state carried over": [*CAUSAL, "streaming.windows=2", "streaming.carry=true"],
}
"""Streaming models of the same frames in a step; clips of two windows, of which half as many are in a batch."""

OF_THE_RECIPE = {
    "egomotion": {},
    "arid": {
        "with optical flow": ["objective.flow_weight=0.3"],
        "without drawn figures": ["data.figures=null"],
        "without background fading": ["augment.fade_background=0"],
        "from fresh weights": ["start.weights=null"],
    },
}
"""What is not the paper's: parts of our own recipes, put in or taken out."""

T95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}
"""Student's t for a 95 % interval, by degrees of freedom."""

FIELDS = ["variant", "seed", "top1", "clips", "steps", "step_s", "peak_gib"]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("dataset", choices=sorted(BASE))
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments.add_argument("--only", nargs="+", metavar="VARIANT")
    arguments.add_argument("--out", type=Path, default=ROOT / "docs" / "results")
    arguments.add_argument("--table", action="store_true", help="only print what is there")
    arguments.add_argument("--one", nargs=2, metavar=("VARIANT", "SEED"), help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.one:
        print(json.dumps(one_run(options.dataset, options.one[0], int(options.one[1]))))
        return
    file = options.out / f"{options.dataset}.csv"
    rows = read(file)
    if not options.table:
        file.parent.mkdir(parents=True, exist_ok=True)
        for seed in options.seeds:
            for variant in options.only or variants(options.dataset):
                if (variant, str(seed)) not in {(row["variant"], row["seed"]) for row in rows}:
                    command = [sys.executable, __file__, options.dataset, "--one", variant, str(seed)]
                    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                    rows.append({key: str(value) for key, value in json.loads(done.stdout.splitlines()[-1]).items()})
                    write(file, rows)
                    print(rows[-1], file=sys.stderr)
    print_table(options.dataset, rows)


def variants(dataset: str) -> dict[str, list[str]]:
    """Return the overrides of every variant."""
    return {**VARIANTS, **STREAMING, **OF_THE_RECIPE[dataset]}


def load(dataset: str, variant: str, seed: int) -> Recipe:
    """Return the recipe of a run."""
    out = ROOT / "runs" / "claims" / dataset / f"{variant.replace(' ', '_').replace(':', '')}-{seed}"
    overrides = [*BASE[dataset], *variants(dataset)[variant], f"seed={seed}", f"trainer.out={out}"]
    recipe = recipes.load(ROOT / "training" / RECIPES[dataset], overrides)
    if recipe.streaming is not None and recipe.streaming.windows > 1:
        longer = recipe.streaming.windows
        fewer = [f"trainer.batch={recipe.trainer.clips // longer}"]
        if isinstance(recipe.data, CameraMovesPart):
            fewer.append(f"data.clips={recipe.data.clips // longer}")
        recipe = recipes.load(ROOT / "training" / RECIPES[dataset], [*overrides, *fewer])
    return recipe


def one_run(dataset: str, variant: str, seed: int) -> dict[str, object]:
    """Train one variant with one seed and judge it."""
    recipe = load(dataset, variant, seed)
    result = train(recipe, Console(quiet=True))
    if result.validation is not None:
        top1, clips = result.validation.top1, len(result.validation.targets)
    else:
        top1, clips = unseen_films(recipe, result.checkpoint)
    log = [json.loads(line) for line in (result.checkpoint.parent / "log.jsonl").read_text().splitlines()]
    rates = [row["clips_per_s"] for row in log[len(log) // 5 :] if "clips_per_s" in row]
    return {
        "variant": variant,
        "seed": seed,
        "top1": round(top1, 4),
        "clips": clips,
        "steps": result.step,
        "step_s": round(recipe.trainer.batch / statistics.median(rates), 4),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


@torch.no_grad()
def unseen_films(recipe: Recipe, path: Path) -> tuple[float, int]:
    """Return top-1 over 1,000 clips of drawn scenes of another seed, and their number."""
    assert isinstance(recipe.data, CameraMovesPart)
    data = recipe.data.model_copy(update={"clips": 1000, "chunk": 1000, "drawn_per_chunk": 200, "seed": 999})
    films = camera_moves.prepare(data, geometry=recipe.model.geometry, progress=no_progress)
    model, config, _ = checkpoint.load(path)
    visible = torch.from_numpy(visible_indices(recipe.mask.test_mask(config.geometry.grid)))
    right = 0
    for index in range(len(films.classes)):
        sample = films.sample(index, np.random.default_rng(index))
        right += int(model(torch.from_numpy(sample.clip.copy())[None], visible).argmax()) == sample.label
    return right / len(films.classes), len(films.classes)


def print_table(dataset: str, rows: list[dict[str, str]]) -> None:
    """Print mean and 95 % interval of every variant, and time and memory against dense."""
    by_variant = {name: [row for row in rows if row["variant"] == name] for name in variants(dataset)}
    dense = by_variant["dense"]

    def against(name: str, own: list[dict[str, str]]) -> str:
        if not dense:
            return ""
        return (
            f"{statistics.median(float(r[name]) for r in own) / statistics.median(float(r[name]) for r in dense):.2f}"
        )

    print(
        "| variant | seeds | top-1, mean and 95 % interval | GMACs | step time against dense | peak memory against dense |"
    )
    print("|---|---|---|---|---|---|")
    for name, own in by_variant.items():
        if own:
            shares = [100 * float(row["top1"]) for row in own]
            reach = T95[len(shares) - 1] * statistics.stdev(shares) / len(shares) ** 0.5 if len(shares) > 1 else None
            spread = "" if reach is None else f" ± {reach:.1f}"
            print(
                f"| {name} | {len(own)} | {statistics.mean(shares):.1f}{spread} ({', '.join(f'{s:.1f}' for s in shares)}) | "
                f"{gmacs(dataset, name):.3f} | {against('step_s', own)} | {against('peak_gib', own)} |"
            )
    print(f"\n{rows[0]['clips'] if rows else 0} test clips; {rows[0]['steps'] if rows else 0} steps")


def gmacs(dataset: str, variant: str) -> float:
    """Return the GMACs of an inference; masks of other kinds cost what the cell running mask of their ratio does."""
    recipe = load(dataset, variant, 0)
    return count_macs(recipe.model.config(classes=10 if dataset == "egomotion" else 6), recipe.mask.ratio) / 1e9


def read(file: Path) -> list[dict[str, str]]:
    """Read the runs that are there."""
    if not file.exists():
        return []
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def write(file: Path, rows: list[dict[str, str]]) -> None:
    """Write all runs."""
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, FIELDS)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
