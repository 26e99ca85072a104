"""How much faster lower precisions are on this CPU: a preset at some masks, every graph in every engine, in turns.

    python benchmarks/precision_speed.py [--preset small] [--mask 50 --mask 75] [--precision bf16 --precision int8]
        [--clips 8] [--threads 1] [--out FILE.md]

Weights are random and behave like trained ones (tests/fakes/realistic_model.py). Times are medians; the ratios count.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mar_edge.runtime.measurement.verification import Measurement

sys.path.insert(0, str(Path(__file__).parent.parent))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--preset", default="small")
    arguments.add_argument("--mask", type=int, action="append", help="repeat for more; default 50")
    arguments.add_argument(
        "--precision", action="append", help="beside fp32; repeat for more; default fp16, bf16, int8-bf16 and int8"
    )
    arguments.add_argument("--clips", type=int, default=8, help="to calibrate, compare and time on")
    arguments.add_argument("--threads", type=int, default=None)
    arguments.add_argument("--data", type=Path, default=None, help="videos; default: the demo camera")
    arguments.add_argument("--out", type=Path, default=None, help="file for the table")
    options = arguments.parse_args()

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
        exported = export(
            Path(folder) / "model.safetensors",
            Path(folder) / "model.mar",
            masks=options.mask or [50],
            precisions=("fp32", *(options.precision or ("fp16", "bf16", "int8-bf16", "int8"))),
            data=options.data,
            clips=options.clips,
            calibration=CalibrationOptions(data=options.data, clips=options.clips, placements=("cpu",)),
        )
        for failure in exported.failures:
            print(failure, file=sys.stderr)
        clips = open_clips(exported.bundle.manifest, options.data, count=options.clips)
        found = verify(exported.bundle, clips, threads=options.threads)
    threads = f"{options.threads or 'all'} thread{'' if options.threads == 1 else 's'}"
    lines = [f"{options.preset}, {device_name()}, {threads}, {len(clips)} clips in turns, medians.", "", *table(found)]
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def table(found: Sequence[Measurement]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [
        "| graph | engine | ms | x fp32 in ONNX Runtime | x the faster fp32 | x int8 in OpenVINO | products run in | cosine |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for m in found:
        if m.failure or m.median_ms is None or m.speed is None:
            why = (m.failure or "not measured").partition(", which")[0]
            lines.append(f"| {m.variant.title} | {m.engine} | does not run: {why} | | | | | |")
            continue
        same = [other for other in found if other.variant.mask == m.variant.mask and other.median_ms]
        fp32 = min(other.median_ms or 0 for other in same if other.variant.precision == "fp32")
        int8 = [o.median_ms or 0 for o in same if (o.variant.precision, o.engine) == ("int8", "openvino")]
        against_int8 = f"{int8[0] / m.median_ms:.2f}" if int8 else "-"
        products = ", ".join(f"{count} {kind}" for kind, count in (m.products or {}).items())
        cosine = f"{m.parity.cosine:.5f}" if m.parity else "-"
        lines.append(
            f"| {m.variant.title} | {m.engine} | {m.median_ms:.1f} | {m.speed:.2f} | {fp32 / m.median_ms:.2f} "
            f"| {against_int8} | {products} | {cosine} |"
        )
    return lines


if __name__ == "__main__":
    main()
