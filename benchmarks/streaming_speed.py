"""What a prediction costs: Hugging Face's VideoMAE in torch, the dense graph, the masked window, and the step of a streaming model.

    pip install transformers
    python benchmarks/streaming_speed.py [--preset small] [--mask 50 --mask 75] [--precision bf16 --precision int8]
        [--threads 1] [--rounds 15] [--out FILE.md]

All run in one process, in turns; times are medians, the ratios count. Weights are random and behave like trained ones
(tests/fakes/realistic_model.py); a graph that does not pass the gate of its precision is named and not timed. A step is
timed in a stream that runs: every step reads and writes the state. Without `transformers` its row is left out.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mar_edge.bundle import Bundle

sys.path.insert(0, str(Path(__file__).parent.parent))

STEPS = 3
"""Steps in one turn of a streaming model; a window takes several times as long."""


@dataclass
class Candidate:
    """Something that predicts.

    Attributes:
        kind: `hf`, `dense`, `window` or `step`.
        mask: in percent.
        precision, engine: of its graph.
        gmacs: of a prediction.
        predict: makes one prediction.
        times_ms: of the predictions.
    """

    kind: str
    mask: int
    precision: str
    engine: str
    gmacs: float
    predict: Callable[[], object]
    times_ms: list[float] = field(default_factory=list)

    @property
    def median_ms(self) -> float:
        """Median time of a prediction."""
        return statistics.median(self.times_ms)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--preset", default="small")
    arguments.add_argument("--mask", type=int, action="append", help="repeat for more; default 50 and 75")
    arguments.add_argument("--precision", action="append", help="beside fp32; default bf16, int8-bf16 and int8")
    arguments.add_argument("--engine", action="append", help="default onnxruntime and openvino")
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("--clips", type=int, default=4, help="to calibrate and check on")
    arguments.add_argument("--folder", type=Path, default=None, help="where bundles are kept between runs")
    arguments.add_argument("--out", type=Path, default=None, help="file for the table")
    options = arguments.parse_args()

    import torch

    from mar_edge.runtime.device.identity import device_name

    torch.set_num_threads(options.threads)
    masks, engines = options.mask or [50, 75], options.engine or ["onnxruntime", "openvino"]
    precisions = ["fp32", *(options.precision or ["bf16", "int8-bf16", "int8"])]
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        candidates = hugging_face(options.preset)
        for temporal, shown in (("window", [0, *masks]), ("causal", masks)):
            bundle = bundle_of(options.preset, temporal, shown, precisions, options.clips, folder)
            candidates += of_bundle(bundle, shown, precisions, engines, options.threads)
        for turn in range(options.rounds + 1):
            for candidate in candidates:
                run(candidate, warm=turn > 0)
    threads = f"{options.threads} thread{'' if options.threads == 1 else 's'}"
    lines = [f"{options.preset}, {device_name()}, {threads}, {options.rounds} rounds in turns, medians.", ""]
    lines += table(candidates)
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def run(candidate: Candidate, *, warm: bool) -> None:
    """Predict; the first turn allocates and does not count."""
    for _ in range(STEPS if candidate.kind == "step" else 1):
        began_s = time.perf_counter()
        candidate.predict()
        if warm:
            candidate.times_ms.append(1000 * (time.perf_counter() - began_s))


def hugging_face(name: str) -> list[Candidate]:
    """Return Hugging Face's VideoMAE of a preset's size in torch, FP32, as its users run it."""
    if find_spec("transformers") is None:
        print("transformers is not installed; its row is left out", file=sys.stderr)
        return []
    import torch
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification  # type: ignore[import-not-found]

    from mar_edge.model.config import preset
    from mar_edge.model.torch_engine import count_macs

    ours = preset(name)
    config = VideoMAEConfig(
        hidden_size=ours.width,
        num_hidden_layers=ours.depth,
        num_attention_heads=ours.heads,
        intermediate_size=4 * ours.width,
        num_labels=ours.classes,
    )
    model = VideoMAEForVideoClassification(config).eval()
    pixels = torch.rand(1, 16, 3, 224, 224)

    def predict() -> Any:
        with torch.inference_mode():
            return model(pixel_values=pixels).logits

    dense = preset(name, classifier="mean_pool", decoder_depth=0)
    return [Candidate("hf", 0, "fp32", "torch", count_macs(dense, 0) / 1e9, predict)]


def bundle_of(
    preset_name: str, temporal: Any, masks: Sequence[int], precisions: Sequence[str], clips: int, folder: Path
) -> Bundle:
    """Return a bundle of a preset with random weights; made unless the folder has it."""
    from mar_edge.bundle import open_bundle
    from mar_edge.export.calibration_options import CalibrationOptions
    from mar_edge.export.exporter import export
    from mar_edge.model import checkpoint
    from mar_edge.model.checkpoint import CheckpointInfo
    from mar_edge.model.config import preset
    from tests.fakes.realistic_model import realistic

    path = folder / f"{preset_name}_{temporal}.mar"
    if path.exists():
        return open_bundle(path)
    config = preset(preset_name, decoder_depth=0, temporal=temporal)
    info = CheckpointInfo(
        name=path.stem, labels=[f"class {n}" for n in range(config.classes)], rate_fps=8, mask_ratio=0.5
    )
    weights = path.with_suffix(".safetensors")
    checkpoint.save(weights, realistic(config), config, info)
    exported = export(
        weights,
        path,
        masks=list(masks),
        precisions=tuple(precisions),
        clips=clips,
        calibration=CalibrationOptions(data=None, clips=clips, placements=("cpu",)),
    )
    for failure in exported.failures:
        print(failure, file=sys.stderr)
    return exported.bundle


def of_bundle(
    bundle: Bundle, masks: Sequence[int], precisions: Sequence[str], engines: Sequence[str], threads: int
) -> list[Candidate]:
    """Return every graph of a bundle in every engine that runs it."""
    from mar_edge.errors import EngineError
    from mar_edge.runtime.engines.registry import create_engine

    spec = bundle.manifest
    rng = np.random.default_rng(0)
    shape = (1, spec.input_frames, *spec.geometry.clip_shape[1:])
    frames = rng.integers(0, 256, shape, dtype=np.uint8)
    found = []
    for variant in spec.variants:
        for name in engines:
            if variant.mask not in masks or variant.precision not in precisions or not variant.suits(name):
                continue
            try:
                engine = create_engine(bundle, variant, name, threads=threads)
            except EngineError as error:
                print(f"{variant.title} in {name}: {error}", file=sys.stderr)
                continue
            if spec.streaming:
                kind, predict = "step", partial(engine.step, frames, [engine.new_state()])
            else:
                kind, predict = "window" if variant.mask else "dense", partial(engine.infer, frames)
            found.append(Candidate(kind, variant.mask, variant.precision, name, variant.gmacs, predict))
    return found


def table(candidates: Sequence[Candidate]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [
        "| prediction | mask | engine | precision | GMACs | ms | x Hugging Face | x dense, same engine and precision "
        "| x own window |",
        "|---|---|---|---|---|---|---|---|---|",
    ]

    def against(candidate: Candidate, kind: str, mask: int) -> str:
        wanted = (kind, mask, candidate.engine, candidate.precision)
        if kind == "hf":
            wanted = ("hf", 0, "torch", "fp32")
        for other in candidates:
            if (other.kind, other.mask, other.engine, other.precision) == wanted and other is not candidate:
                return f"{other.median_ms / candidate.median_ms:.1f}"
        return "-"

    names = {"hf": "VideoMAE of Hugging Face", "dense": "window, dense", "window": "window", "step": "step"}
    for one in candidates:
        lines.append(
            f"| {names[one.kind]} | {one.mask} % | {one.engine} | {one.precision} | {one.gmacs:.2f} | {one.median_ms:.1f} "
            f"| {against(one, 'hf', 0)} | {against(one, 'dense', 0) if one.kind != 'hf' else '-'} "
            f"| {against(one, 'window', one.mask) if one.kind == 'step' else '-'} |"
        )
    return lines


if __name__ == "__main__":
    main()
