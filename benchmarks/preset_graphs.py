"""GMACs, file sizes, parity and builds of the presets, and the memory that exporting them takes.

    python benchmarks/preset_graphs.py [small base large] [--clips 2] [--out runs/preset_graphs.md]

Weights are random and behave like trained ones (tests/fakes/realistic_model.py); every export runs in a process of its own,
so that its peak memory is its own. Each graph placed for TensorRT is parsed and built by TensorRT-RTX.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

MASKS = (0, 50, 75)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("presets", nargs="*", default=["small", "base", "large"])
    arguments.add_argument("--clips", type=int, default=2, help="of the demo camera, to calibrate and compare on")
    arguments.add_argument("--out", type=Path, default=None, help="file for the table")
    arguments.add_argument("--one", nargs=2, metavar=("PRESET", "MASK"), help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], int(options.one[1]), options.clips)))
        return
    lines = [
        f"{options.clips} clips of the demo camera to calibrate and to compare on, one seed.",
        "",
        "| preset | mask | graph | GMACs | MB | cosine | KL (nats) | kept higher | TensorRT-RTX: products | peak of export |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in options.presets:
        for mask in MASKS:
            command = [sys.executable, __file__, "--clips", str(options.clips), "--one", name, str(mask)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            for row in found["rows"]:
                lines.append(f"| {name} | {mask} % | {' | '.join(row)} | {found['peak_gib']:.1f} GiB |")
                print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def measure(name: str, mask: int, clips: int) -> dict[str, object]:
    """Export one preset at one mask, and build what is for TensorRT."""
    from mar_edge.cli.views.bundle_card import shorten
    from mar_edge.export.calibration_options import CalibrationOptions
    from mar_edge.export.exporter import export
    from mar_edge.model import checkpoint
    from mar_edge.model.checkpoint import CheckpointInfo
    from mar_edge.model.config import preset
    from mar_edge.runtime.engines.tensorrt.build import build
    from tests.fakes.realistic_model import realistic

    config = preset(name, decoder_depth=0)
    info = CheckpointInfo(name=name, labels=[f"class {n}" for n in range(config.classes)], rate_fps=8, mask_ratio=0.5)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(Path(folder) / "model.safetensors", realistic(config), config, info)
        exported = export(
            Path(folder) / "model.safetensors",
            Path(folder) / "model.mar",
            masks=[mask],
            precisions=("fp32", "fp16", "bf16", "int8"),
            clips=clips,
            calibration=CalibrationOptions(clips=clips),
            progress=lambda task, _done, _total: print(f"{name} {mask}: {task}", file=sys.stderr),
        )
        peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        for variant in exported.bundle.manifest.variants:
            built = "not placed for it"
            if variant.suits("tensorrt"):
                engine = build(
                    exported.bundle.graph_path(variant),
                    module="tensorrt-rtx",
                    precision=variant.precision,
                    kept=variant.kept,
                )
                assert engine.layers is not None
                built = engine.layers.summary()
            parity = variant.parity
            rows.append(
                [
                    variant.title.split(" ", 2)[2],
                    f"{variant.gmacs:.2f}",
                    f"{variant.size_bytes / 1e6:.1f}",
                    f"{parity.cosine:.6f}",
                    f"{parity.kl:.0e}",
                    ", ".join(shorten(variant.kept)) or "none",
                    built,
                ]
            )
    return {"rows": rows, "peak_gib": peak_gib}


if __name__ == "__main__":
    main()
