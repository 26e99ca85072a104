"""Models of real width, with weights that behave like trained ones: every precision exports, holds, and builds.

Two of the presets' 12 or 24 blocks and 96 px instead of 224, so that it takes seconds: blocks are alike. The presets whole, at every mask and in every
precision: benchmarks/preset_graphs.py, with its results in docs/results/preset_graphs.md.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mar_edge.bundle import Bundle
from mar_edge.export.calibration_options import CalibrationOptions
from mar_edge.export.exporter import export
from mar_edge.geometry import Geometry
from mar_edge.model import checkpoint
from mar_edge.model.checkpoint import CheckpointInfo
from mar_edge.model.config import preset
from tests.fakes.gpu.real_builder import build_engine
from tests.fakes.realistic_model import realistic

CLIPS = 1
"""Of the demo camera, to calibrate and to compare on: enough to fail where numbers overflow or are cut. With more, and all
methods of choosing ranges: benchmarks/preset_graphs.py."""

BLOCKS = 2
GEOMETRY = Geometry(height_px=96, width_px=96)


def export_preset(name: str, mask: int, folder: Path) -> Bundle:
    config = preset(name, geometry=GEOMETRY, depth=BLOCKS, decoder_depth=0)
    info = CheckpointInfo(name=name, labels=[f"class {n}" for n in range(config.classes)], rate_fps=8, mask_ratio=0.5)
    checkpoint.save(folder / "model.safetensors", realistic(config), config, info)
    return export(
        folder / "model.safetensors",
        folder / f"{name}.mar",
        masks=[mask],
        precisions=("fp32", "fp16", "int8"),
        clips=CLIPS,
        calibration=CalibrationOptions(clips=CLIPS, method="minmax"),
    ).bundle


@pytest.mark.parametrize(
    ("name", "mask"),
    [("small", 0), ("small", 50), ("small", 75), ("base", 0), ("base", 50), ("base", 75), ("large", 75)],
)
def test_every_precision_of_a_preset_holds_and_builds_in_tensorrt(name: str, mask: int, tmp_path: Path) -> None:
    bundle = export_preset(name, mask, tmp_path)  # fails where a graph misses the bounds of its precision
    sizes = {variant.title: variant.size_bytes for variant in bundle.manifest.variants}
    fp32 = sizes[f"mask {mask} fp32"]
    assert sizes[f"mask {mask} fp16"] == pytest.approx(fp32 / 2, rel=0.02)
    for variant in bundle.manifest.variants:
        assert variant.gmacs == pytest.approx(bundle.manifest.variants[0].gmacs)
        if variant.precision == "int8":
            assert variant.size_bytes < 0.3 * fp32
        if variant.suits("tensorrt"):
            build_engine(bundle.graph_path(variant), variant.precision, variant.kept)  # and is of that precision
