"""Checkpoint in, bundle out; a graph that does not compute what torch computes never gets there."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

import mar_edge
from mar_edge import bundle as bundles
from mar_edge.bundle import Bundle, Parity, Variant
from mar_edge.errors import ExportError
from mar_edge.export.graph import count_macs, write_graph
from mar_edge.masking import MASK_RATIOS
from mar_edge.model import checkpoint
from mar_edge.model.checkpoint import CheckpointInfo
from mar_edge.model.config import ModelConfig
from mar_edge.model.deployed import DeployedGraph, check_classifier, describe, nearest_mask
from mar_edge.model.mar import MAR
from mar_edge.runtime.clip_set import open_clips
from mar_edge.runtime.engines import create_engine
from mar_edge.runtime.parity import compare, misses

PARITY_CLIPS = 8

Progress = Callable[[str], None]


def export(
    checkpoint_path: Path,
    out: Path,
    *,
    masks: Sequence[int] | None = None,
    precisions: Sequence[str] = ("fp32",),
    data: Path | None = None,
    progress: Progress = lambda _message: None,
) -> Bundle:
    """Export a checkpoint to a bundle.

    Args:
        checkpoint_path: mar-edge's own checkpoint.
        out: the bundle's folder; replaced whole if it is one already.
        masks: mask ratios in percent; by default the one it was trained with.
        precisions: `fp32`.
        data: a video or a folder of videos for the parity check; by default the demo camera.
        progress: told what is being done.

    Raises:
        CheckpointError: if the checkpoint cannot be read or has no classifier.
        ExportError: if a graph misses its parity, or a mask or precision is not there.
        SourceError: if `data` has no video.
        OutputError: if the bundle cannot be written.
    """
    model, config, info = checkpoint.load(checkpoint_path)
    check_classifier(checkpoint_path, config)
    wanted = list(dict.fromkeys(masks)) if masks else [nearest_mask(info.mask_ratio)]
    _check_asked(wanted, precisions)
    if any(wanted):
        config.geometry.check_cells()
    with bundles.writing(out) as folder:
        variants = []
        for mask in wanted:
            progress(f"mask {mask} fp32")
            variants.append(_write_variant(model, mask, folder))
        bundle = Bundle(folder)
        _write_manifest(folder, config, info, variants, checkpoint_path)
        clips = open_clips(bundle.manifest, data, count=PARITY_CLIPS)
        pictures = clips.stacked()
        for index, variant in enumerate(variants):
            progress(f"parity of mask {variant.mask} {variant.precision}")
            variants[index] = variant.model_copy(
                update={"parity": _parity(model, bundle, variant, pictures, clips.source)}
            )
        _write_manifest(folder, config, info, variants, checkpoint_path)
    return Bundle(out)


def _write_variant(model: MAR, mask: int, folder: Path) -> Variant:
    file = f"mask{mask}-fp32.onnx"
    write_graph(model, mask / 100, folder / file)
    return Variant(
        file=file,
        mask=mask,
        precision="fp32",
        sha256=bundles.hash_file(folder / file),
        size_bytes=(folder / file).stat().st_size,
        gmacs=count_macs(folder / file) / 1e9,
        parity=Parity(max_abs_error=0, bound=1, clips=1, source="not measured yet"),
    )


def _parity(model: MAR, bundle: Bundle, variant: Variant, clips: NDArray[np.uint8], source: str) -> Parity:
    """Compare torch with the graph as the runtime runs it."""
    engine = create_engine(bundle, variant, "onnxruntime")
    graph = DeployedGraph(model, variant.mask / 100).eval()
    with torch.no_grad():
        expected = np.concatenate([graph(torch.from_numpy(clip[None])).numpy() for clip in clips])
    got = np.concatenate([engine.infer(clip[None]) for clip in clips])
    parity = compare(expected, got, variant.precision, source=source, reference_name="torch fp32")
    if missed := misses(parity, variant.precision):
        raise ExportError(f"{variant.title} does not compute what torch computes: {'; '.join(missed)}")
    return parity


def _write_manifest(
    folder: Path, config: ModelConfig, info: CheckpointInfo, variants: list[Variant], checkpoint_path: Path
) -> None:
    provenance = {
        "command": shlex.join(["mar-edge", *sys.argv[1:]]),
        "checkpoint_sha256": bundles.hash_file(checkpoint_path),
        "versions": {
            "mar_edge": mar_edge.__version__,
            "torch": torch.__version__,
            "onnxruntime": onnxruntime.__version__,
            "python": platform.python_version(),
        },
    }
    manifest = describe(checkpoint_path, config, info, variants, {**info.provenance, "export": provenance})
    bundles.write_manifest(folder, manifest.model_dump(mode="json", exclude={"format"}))


def _check_asked(masks: Sequence[int], precisions: Sequence[str]) -> None:
    known = [round(100 * ratio) for ratio in MASK_RATIOS]
    for mask in masks:
        if mask not in known:
            raise ExportError(f"mask {mask} is not one of {', '.join(map(str, known))} percent")
    for precision in precisions:
        if precision not in bundles.PRECISIONS:
            raise ExportError(f"precision '{precision}' is not one of {', '.join(bundles.PRECISIONS)}")
