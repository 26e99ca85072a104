"""How much faster lower precisions are on this CPU: a preset at mask 50 %, every graph in every engine, in turns.

    python benchmarks/precision_speed.py [--preset small] [--mask 50] [--clips 8] [--out FILE.md]

Weights are random and behave like trained ones (tests/fakes/realistic_model.py). Times are medians; the ratios count.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--preset", default="small")
    arguments.add_argument("--mask", type=int, default=50)
    arguments.add_argument("--clips", type=int, default=8, help="to calibrate, compare and time on")
    arguments.add_argument("--threads", type=int, default=None)
    arguments.add_argument("--data", type=Path, default=None, help="videos; default: the demo camera")
    arguments.add_argument("--out", type=Path, default=None, help="file for the table")
    options = arguments.parse_args()

    from mar_edge.bundle import Bundle
    from mar_edge.export.calibration_options import CalibrationOptions
    from mar_edge.export.exporter import export
    from mar_edge.model import checkpoint
    from mar_edge.model.checkpoint import CheckpointInfo
    from mar_edge.model.config import preset
    from mar_edge.runtime.device.identity import device_name
    from mar_edge.runtime.measurement.clip_set import open_clips
    from mar_edge.runtime.measurement.verification import verify
    from tests.fakes.realistic_model import realistic

    config = preset(options.preset, decoder_depth=0)
    labels = [f"class {n}" for n in range(config.classes)]
    info = CheckpointInfo(name=options.preset, labels=labels, rate_fps=8, mask_ratio=0.5)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(Path(folder) / "model.safetensors", realistic(config), config, info)
        bundle: Bundle = export(
            Path(folder) / "model.safetensors",
            Path(folder) / "model.mar",
            masks=[options.mask],
            precisions=("fp32", "fp16", "bf16", "int8"),
            data=options.data,
            clips=options.clips,
            calibration=CalibrationOptions(data=options.data, clips=options.clips),
        ).bundle
        clips = open_clips(bundle.manifest, options.data, count=options.clips)
        found = verify(bundle, clips, threads=options.threads)
    best_fp32 = min(m.median_ms for m in found if m.variant.precision == "fp32" and m.median_ms)
    lines = [
        f"{options.preset} at mask {options.mask} %, {device_name()}, {len(clips)} clips in turns, medians.",
        "",
        "| graph | engine | ms | x fp32 in ONNX Runtime | x the faster fp32 | products run in | cosine |",
        "|---|---|---|---|---|---|---|",
    ]
    for m in found:
        if m.failure or m.median_ms is None or m.speed is None:
            why = (m.failure or "not measured").partition(", which")[0]
            lines.append(f"| {m.variant.title} | {m.engine} | does not run: {why} | | | | |")
            continue
        products = ", ".join(f"{count} {kind}" for kind, count in (m.products or {}).items())
        cosine = f"{m.parity.cosine:.5f}" if m.parity else "-"
        lines.append(
            f"| {m.variant.title} | {m.engine} | {m.median_ms:.0f} | {m.speed:.2f} | {best_fp32 / m.median_ms:.2f} "
            f"| {products} | {cosine} |"
        )
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
