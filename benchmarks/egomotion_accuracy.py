"""How often egomotion is right, on sets that training never saw. Writes the tables and the confusion matrices.

    python benchmarks/egomotion_accuracy.py [BUNDLE] [--shared ../shared] [--clips 2000] [--out docs]

Sets:
  synthetic   virtual moves over drawn scenes and pictures that training never saw: plain, and with all of training's
              troubles, some of which leave nothing to see (a twentieth of the light, and noise)
  real        virtual moves over real footage that plays meanwhile: ../shared/clips/daily, where the camera stands
              still, and ../shared/data/arid/val, where it often moves by itself (held in a hand, or following). There
              the footage adds a move of its own to the virtual one and the label is not the whole truth; so these
              clips come three times: those whose own camera stands still as far as tracked corners tell, the middle
              frame of every clip held still, and every clip as it is.
  static      untouched clips of a camera that stands still while people move: every window through a runtime session
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from mar_edge.bundle import open_bundle
from mar_edge.runtime.engines.engine import Engine
from mar_edge.runtime.engines.registry import create_engine
from mar_edge.runtime.sources.demo.camera_path import LABELS
from mar_edge.runtime.streams.session import Session
from mar_edge.runtime.video.reader import read_frames
from mar_edge.training.synthetic.virtual_camera import Filming, film_many
from mar_edge.training.synthetic.worlds import World, drawn_worlds, picture_worlds, video_worlds, videos_below

SEED = 987_654
MIN_STRUCTURE = 1.0
"""Grey levels a pixel, see `picture_quality.structure`: the first view must show something that can be seen to move."""

UNSEEN_ASL = ("student", "thanks", "walk", "want", "yes", "sorry")  # videos_held_out of training/egomotion.yaml


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("bundle", nargs="?", default="egomotion")
    arguments.add_argument("--shared", type=Path, default=Path("../shared"))
    arguments.add_argument("--pictures", type=Path, default=Path("/usr/share/backgrounds/gnome"))
    arguments.add_argument("--clips", type=int, default=2000, help="in each of the two sets of virtual moves")
    arguments.add_argument(
        "--out", type=Path, default=None, help="folder with results/egomotion.md and pictures/egomotion_confusion.png"
    )
    options = arguments.parse_args()

    bundle = open_bundle(options.bundle)
    engine = create_engine(bundle, bundle.variant())
    plain = Filming(
        geometry=bundle.manifest.geometry,
        rate_fps=bundle.manifest.rate_fps,
        margin=0.0,
        min_structure=MIN_STRUCTURE,
    )
    clean = replace(plain, clean=True)
    clips, shared = options.clips, options.shared

    drawn, pictures = drawn_worlds(200, SEED), picture_worlds([options.pictures])
    daily = video_worlds(videos_below(shared / "clips" / "daily"))
    arid = video_worlds(videos_below(shared / "data" / "arid" / "val"))
    standing = [world for world in arid if stands_still(world)]
    frozen = [World.of(world.levels[0][len(world.time_s) // 2][None], [0.0], world.name) for world in arid]
    half = clips // 2
    confusions = {
        f"synthetic: {len(drawn)} drawn scenes": confusion(engine, [drawn], clean, clips, SEED),
        f"synthetic: {len(pictures)} pictures": confusion(engine, [pictures], clean, half, SEED + 5),
        "synthetic: the drawn scenes, with objects, light, noise, blur, compression": confusion(
            engine, [drawn], plain, half, SEED + 6
        ),
        "synthetic: the pictures, with objects, light, noise, blur, compression": confusion(
            engine, [pictures], plain, half, SEED + 7
        ),
        f"real: {len(daily)} videos of daily, playing": confusion(engine, [daily], clean, half, SEED + 1),
        f"real: {len(standing)} videos of arid/val whose camera stands still, playing": confusion(
            engine, [standing], clean, half, SEED + 2
        ),
        f"real: {len(frozen)} videos of arid/val, middle frame": confusion(engine, [frozen], clean, half, SEED + 3),
        f"real: {len(arid)} videos of arid/val as they are, playing": confusion(engine, [arid], clean, half, SEED + 4),
    }
    asl = videos_below(shared / "clips" / "asl")
    static = {
        "daily": still_windows(engine, videos_below(shared / "clips" / "daily")),
        "asl, unseen": still_windows(engine, [path for path in asl if path.stem in UNSEEN_ASL]),
        "asl, frames seen in training": still_windows(engine, [path for path in asl if path.stem not in UNSEEN_ASL]),
    }
    text = table(confusions, static)
    print(text)
    if options.out:
        for folder in ("results", "pictures"):
            (options.out / folder).mkdir(parents=True, exist_ok=True)
        (options.out / "results" / "egomotion.md").write_text(text, encoding="utf-8")
        plot(confusions, options.out / "pictures" / "egomotion_confusion.png")


def confusion(engine: Engine, worlds: list[list[World]], filming: Filming, clips: int, seed: int) -> NDArray[np.int64]:
    """Return counts (true class, recognised class)."""
    counts = np.zeros((len(LABELS), len(LABELS)), np.int64)
    chunk = 100
    for start in track(range(0, clips, chunk), description="virtual moves"):
        films, truth, _ = film_many(worlds, [1.0] * len(worlds), chunk, filming, seed * 1000 + start)
        np.add.at(counts, (truth, engine.infer(films).argmax(axis=1)), 1)
    return counts


def stands_still(world: World) -> bool:
    """Whether a video's own camera stands still: corners tracked over half a second fit a similarity close to none."""
    grey = [cv2.cvtColor((255 * np.sqrt(f / 255)).astype(np.uint8), cv2.COLOR_RGB2GRAY) for f in world.levels[0]]
    step = max(1, int(np.searchsorted(world.time_s - world.time_s[0], 0.5)))
    for before, after in zip(grey[::step], grey[step::step], strict=False):
        points = cv2.goodFeaturesToTrack(before, 150, 0.01, 4)
        if points is None or len(points) < 20:
            return False
        moved, found, _ = cv2.calcOpticalFlowPyrLK(before, after, points, np.empty_like(points))
        kept = found.ravel() == 1
        matrix, inliers = cv2.estimateAffinePartial2D(points[kept], moved[kept], ransacReprojThreshold=1.0)
        if matrix is None or inliers.mean() < 0.35:
            return False  # nothing that most corners agree on
        height, width = before.shape
        middle = np.array([width / 2, height / 2])
        shift = np.abs(matrix[:, :2] @ middle + matrix[:, 2] - middle).max() / width
        growth = abs(np.log(np.hypot(matrix[0, 0], matrix[1, 0])))
        turn_deg = abs(np.rad2deg(np.arctan2(matrix[1, 0], matrix[0, 0])))
        if shift > 0.02 or growth > 0.02 or turn_deg > 1.5:  # in half a second
            return False
    return True


def still_windows(engine: Engine, files: Sequence[Path]) -> tuple[int, int, int]:
    """Return (windows that say still, windows, files), without smoothing."""
    still = total = 0
    for file in files:
        session = Session(engine, smoothing_s=0)
        for frame, time_s in read_frames(file):
            result = session.push(frame, time_s, color="rgb")
            if result:
                total += 1
                still += result.label == "still"
    return still, total, len(files)


def table(confusions: dict[str, NDArray[np.int64]], static: dict[str, tuple[int, int, int]]) -> str:
    """Return the results as Markdown."""
    lines = ["| set | clips | top-1 | 95 % interval | worst class |", "|---|---|---|---|---|"]
    for name, counts in confusions.items():
        total, right = int(counts.sum()), int(np.trace(counts))
        low, high = wilson(right, total)
        per_class = np.diag(counts) / counts.sum(axis=1)
        worst = f"{LABELS[int(per_class.argmin())]} {per_class.min():.1%}"
        lines.append(f"| {name} | {total} | **{right / total:.1%}** | {low:.1%} to {high:.1%} | {worst} |")
    lines += ["", "| static clips | files | windows | say `still` |", "|---|---|---|---|"]
    for name, (still, total, files) in static.items():
        lines.append(f"| {name} | {files} | {total} | **{still / max(1, total):.1%}** |")
    for name, counts in confusions.items():
        lines += ["", f"Confusion, {name} (rows: truth, columns: recognised, in percent):", ""]
        short = [label.replace("counter_clockwise", "ccw").replace("clockwise", "cw") for label in LABELS]
        lines += ["| | " + " | ".join(short) + " |", "|---" * (len(LABELS) + 1) + "|"]
        for label, row in zip(short, counts / counts.sum(axis=1, keepdims=True), strict=True):
            lines.append(f"| {label} | " + " | ".join(f"{100 * value:.1f}" if value else "·" for value in row) + " |")
    return "\n".join(lines) + "\n"


def wilson(right: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927)."""
    z, share = 1.96, right / total
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z * np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2)) / (1 + z**2 / total)
    return float(middle - half), float(middle + half)


def plot(confusions: dict[str, NDArray[np.int64]], path: Path) -> None:
    """Draw the confusion matrices side by side."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = {name: counts for name, counts in confusions.items() if "drawn" in name or "playing" in name}
    shown = dict(list(shown.items())[:4])
    figure, axes = plt.subplots(1, len(shown), figsize=(6.2 * len(shown), 7.6), layout="constrained")
    for axis, (name, counts) in zip(axes, shown.items(), strict=True):
        share = counts / counts.sum(axis=1, keepdims=True)
        axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
        axis.set_title(f"{textwrap.fill(name, 44)}\ntop-1 {np.trace(counts) / counts.sum():.1%} of {counts.sum()}")
        axis.set_xticks(range(len(LABELS)), LABELS, rotation=60, ha="right")
        axis.set_yticks(range(len(LABELS)), LABELS)
        axis.set_xlabel("recognised")
        axis.set_ylabel("truth")
        for (row, column), value in np.ndenumerate(share):
            if value >= 0.005:
                axis.text(
                    column, row, f"{100 * value:.0f}", ha="center", va="center", color="w" if value > 0.5 else "k"
                )
    figure.savefig(path, dpi=70)


if __name__ == "__main__":
    main()
