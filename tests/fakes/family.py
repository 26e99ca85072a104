"""A tiny model as a bundle with a graph of every precision, as export would make it, but in seconds and by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import ModelProto, numpy_helper

from mar_edge import bundle as bundles
from mar_edge.bundle import Bundle
from mar_edge.calibration.collection import collect
from mar_edge.calibration.quantise import quantise
from mar_edge.calibration.ranges import ranges
from mar_edge.export.graph import count_macs, write_graph
from mar_edge.export.half.graph import to_half
from mar_edge.files.graph_files import hash_file
from mar_edge.geometry import Geometry
from mar_edge.manifest import Manifest, Parity, Variant
from mar_edge.model.checkpoint import CheckpointInfo
from mar_edge.model.config import ModelConfig, build
from mar_edge.model.deployed import describe
from mar_edge.model_spec import is_int8
from mar_edge.node_names import part_of
from mar_edge.runtime.measurement.clip_set import open_clips

TINY = ModelConfig(
    geometry=Geometry(frames=8, height_px=32, width_px=64, patch_px=8),
    width=32,
    depth=2,
    heads=2,
    classes=2,
    bridge_width=24,
    bridge_heads=2,
    decoder_width=16,
    decoder_depth=1,
    decoder_heads=2,
)
INFO = CheckpointInfo(name="tiny", labels=["left", "right"], rate_fps=10, resize="stretch", mask_ratio=0.5)
ALL = ("fp32", "fp16", "bf16", "int8")


def write_family(folder: Path, *, masks: Sequence[int] = (50,), precisions: Sequence[str] = ALL) -> Bundle:
    """Write the bundle; `precisions` are those of every mask."""
    torch.manual_seed(0)
    model = build(TINY).eval()
    with bundles.writing(folder) as place:
        variants = []
        for mask in masks:
            base = place / f"mask{mask}-fp32.onnx"
            write_graph(model, mask / 100, base)
            for precision in precisions:
                variants.append(_write_variant(place, base, mask, precision))
            if "fp32" not in precisions:
                base.unlink()
        _write_manifest(place, variants)
    return Bundle(folder)


def damage(bundle: Bundle, file: str, change: Callable[[ModelProto], None]) -> Bundle:
    """Change a graph, and let the manifest say that it is as it should be."""
    model = onnx.load(bundle.path / file)
    change(model)
    onnx.save(model, bundle.path / file)
    variants = [_with_hash(bundle.path, v) if v.file == file else v for v in bundle.manifest.variants]
    _write_manifest(bundle.path, variants)
    return Bundle(bundle.path)


def set_head_weight(value: float) -> Callable[[ModelProto], None]:
    """Return a change of one weight of the last product."""

    def change(model: ModelProto) -> None:
        used = {name for node in model.graph.node if part_of(node.name) == "classifier.head" for name in node.input}
        (weights,) = [
            t for t in model.graph.initializer if t.name in used and TINY.classes in t.dims and len(t.dims) == 2
        ]
        values = numpy_helper.to_array(weights).copy()
        values[0, 0] = value
        weights.CopyFrom(numpy_helper.from_array(values, weights.name))

    return change


def _write_variant(folder: Path, base: Path, mask: int, precision: str) -> Variant:
    file = f"mask{mask}-{precision}.onnx"
    model = onnx.load(base)
    if is_int8(precision):
        manifest = describe(base, TINY, INFO)
        thresholds = ranges(collect(base, open_clips(manifest, count=4), cache=None), "minmax")
        quantised = quantise(model, thresholds, placement="cpu")
        onnx.save(quantised if precision == "int8" else to_half(quantised, "bf16", ()), folder / file)
    elif precision != "fp32":
        onnx.save(to_half(model, precision, ()), folder / file)
    return _variant(folder, file, mask, precision, base)


def _variant(folder: Path, file: str, mask: int, precision: str, base: Path) -> Variant:
    return Variant(
        file=file,
        mask=mask,
        precision=precision,  # type: ignore[arg-type]
        placement="cpu" if precision == "int8-bf16" else "any",
        sha256=hash_file(folder / file),
        size_bytes=(folder / file).stat().st_size,
        gmacs=count_macs(base) / 1e9,
        parity=Parity(max_abs_error=0, bound=1, clips=1, source="not measured"),
    )


def _with_hash(folder: Path, variant: Variant) -> Variant:
    path = folder / variant.file
    return variant.model_copy(update={"sha256": hash_file(path), "size_bytes": path.stat().st_size})


def _write_manifest(folder: Path, variants: list[Variant]) -> None:
    manifest = Manifest.of(describe(folder, TINY, INFO), variants)
    bundles.write_manifest(folder, manifest.model_dump(mode="json", exclude={"format"}))


def clips(count: int, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Random frames, uint8 (count, T, H, W, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (count, *TINY.geometry.clip_shape), dtype=np.uint8)
