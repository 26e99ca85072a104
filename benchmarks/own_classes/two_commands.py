"""From a folder of clips to an INT8 bundle in two commands, on sets that were not tuned for. Prints Markdown.

    python benchmarks/own_classes/two_commands.py --minutes 10 --out runs/own [--only arid] [--result FILE.md]

Each set is given to `mar-edge train --data`, and what that says to use to `mar-edge export --precision int8`, as a user
would do who changes nothing. Then the bundle is judged on clips that neither of them saw, beside what needs no network: the
largest class, the regression on optical flow, and the built-in models of which only the last layer is fitted, each fitted to
the same clips. Intervals draw whole groups. Sets: see sets.py; needs ffmpeg.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from sets import MAR_EDGE, ClipSet, make_sets

from mar_edge.console import Console
from mar_edge.evaluation import evaluation
from mar_edge.evaluation.metrics import Evaluation
from mar_edge.model import checkpoint
from mar_edge.reporting import no_progress
from mar_edge.training import recipe as recipes
from mar_edge.training.baselines.baseline import Baseline
from mar_edge.training.baselines.baselines import run_baselines
from mar_edge.training.baselines.comparison import compare, share_interval95
from mar_edge.training.judgement.choice import CHOSEN
from mar_edge.training.training_data import read_lists

HEAD = [
    "set",
    "test clips",
    "train",
    "export",
    "weights",
    "INT8",
    "majority",
    "flow",
    "best probe",
    "against the best of these",
]


@dataclass(frozen=True)
class Outcome:
    """What came of a set.

    Attributes:
        train_s, export_s: time of the two commands, seconds.
        chosen: the weights that the training says to use, in words.
        judged: the INT8 bundle, on the test list.
        baselines: fitted to the same list, judged on the same clips.
    """

    train_s: float
    export_s: float
    chosen: str
    judged: Evaluation
    baselines: list[Baseline]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--minutes", type=float, default=10.0)
    arguments.add_argument("--shared", type=Path, default=Path("../shared"))
    arguments.add_argument("--out", type=Path, default=Path("runs/own_classes"))
    arguments.add_argument("--only", action="append", help="name of a set")
    arguments.add_argument("--result", type=Path, default=None)
    options = arguments.parse_args()
    console = Console()
    rows = [HEAD, ["---"] * len(HEAD)]
    for clips in make_sets(options.shared, options.out):
        if options.only and clips.name not in options.only:
            continue
        console.say(f"{clips.name}: {clips.data}")
        folder = options.out / f"{clips.name}_run"
        rows.append(
            _refusal(clips, folder)
            if clips.test is None
            else _row(clips, _run(clips, clips.test, folder, options.minutes))
        )
    text = "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"
    print(text)
    if options.result is not None:
        options.result.write_text(text)


def _run(clips: ClipSet, test: Path, folder: Path, minutes: float) -> Outcome:
    """Run both commands, and judge what they made."""
    bundle = folder / "own.mar"
    began_s = time.perf_counter()
    _mar_edge("train", "--data", clips.data, "--minutes", f"{minutes:g}", "-o", folder, *clips.options)
    trained_s = time.perf_counter()
    lists = folder / "recipe_lists"
    _mar_edge("export", folder / CHOSEN, "-o", bundle, "--precision", "int8", "--calibrate", lists / "train.csv")
    exported_s = time.perf_counter()
    model = evaluation.open_model(str(bundle), precision="int8")
    videos = evaluation.read_videos(test, model.labels)
    group = clips.options[1] if clips.options else None
    judged = evaluation.evaluate(model, videos, group=group)
    recipe = recipes.load(folder / "recipe.yaml", [f"data.train={clips.data}", f"data.val={test}"], task="classify")
    split = read_lists(recipe, no_progress)
    assert split is not None
    baselines = run_baselines(recipe, split, folder / "baselines_on_test", no_progress, group=group)
    _, _, info = checkpoint.load(folder / CHOSEN)
    chosen = str(info.provenance["chosen"]["of"])
    return Outcome(trained_s - began_s, exported_s - trained_s, chosen, judged, baselines)


def _mar_edge(*words: str | Path) -> None:
    subprocess.run([*MAR_EDGE, *map(str, words)], check=True, stdin=subprocess.DEVNULL)


def _row(clips: ClipSet, outcome: Outcome) -> list[str]:
    """Return the row of a set that was trained on."""
    judged = outcome.judged
    assert judged.grouping is not None
    groups = judged.grouping.groups

    def shown(one: Evaluation | None) -> str:
        assert one is not None
        low, high = share_interval95(one.right, groups)
        return f"{one.top1:.1%} ({low:.1%} to {high:.1%})"

    by_name = {one.name: one.evaluation for one in outcome.baselines}
    found = {name: one for name, one in by_name.items() if one is not None}
    probe = max((name for name in found if name.startswith("probe")), key=lambda name: found[name].top1)
    best = max(found, key=lambda name: found[name].top1)
    difference = compare(judged, found[best], groups)
    low, high = (100 * end for end in difference.interval95)
    return [
        clips.name,
        f"{len(judged.names)} of {len(set(groups))} groups",
        f"{outcome.train_s / 60:.1f} min",
        f"{outcome.export_s / 60:.1f} min",
        outcome.chosen,
        f"**{shown(judged)}**",
        shown(found["majority"]),
        shown(found["flow"]),
        f"{probe}: {shown(found[probe])}",
        f"{100 * difference.gain:+.1f} points against {best} ({low:+.1f} to {high:+.1f})",
    ]


def _refusal(clips: ClipSet, folder: Path) -> list[str]:
    """Return the row of a set on which nothing can be judged."""
    words = [*MAR_EDGE, "train", "--data", str(clips.data), "-o", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    said = " ".join(done.stderr.split())
    return [clips.name, "none", f"refused with exit code {done.returncode}: {said}", *[""] * (len(HEAD) - 3)]


if __name__ == "__main__":
    main()
