"""A tiny streaming model as a bundle of step graphs, and what torch answers after every step of a clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from mar_edge import bundle as bundles
from mar_edge.bundle import Bundle
from mar_edge.export.graph import count_macs, write_graph
from mar_edge.files.graph_files import hash_file
from mar_edge.geometry import Geometry
from mar_edge.manifest import Manifest, Parity, Variant
from mar_edge.model.checkpoint import CheckpointInfo
from mar_edge.model.config import ModelConfig, build
from mar_edge.model.deployed import describe
from mar_edge.model.streaming import StreamingMAR, running_tokens

STEPPING = ModelConfig(
    geometry=Geometry(height_px=32, width_px=32, patch_px=8),
    width=32,
    depth=1,
    heads=2,
    classes=5,
    bridge_width=24,
    bridge_depth=1,
    bridge_heads=3,
    decoder_depth=0,
    input_norm="step",
    positions="grid",
    temporal="causal",
)
"""Its encoder and its bridge keep keys and values of different sizes."""

RECEPTIVE_STEPS = 15
"""Time steps that an answer depends on: seven before its own for each of the two blocks."""

INFO = CheckpointInfo(name="steps", labels=list("abcde"), rate_fps=10, resize="stretch", mask_ratio=0.5)


def stepping_model() -> StreamingMAR:
    """Return the model."""
    torch.manual_seed(0)
    model = build(STEPPING).eval()
    assert isinstance(model, StreamingMAR)
    return model


def write_steps(folder: Path, *, masks: Sequence[int] = (50,), kept: Sequence[str] = ()) -> Bundle:
    """Write a bundle with an FP32 graph of every mask.

    Args:
        folder: of the bundle.
        masks: mask ratios in percent.
        kept: other number formats, `float16` or `bfloat16`, in which further graphs at the first mask keep keys and values, and
            compute in FP32. They are called `fp16` and `bf16`.
    """
    model = stepping_model()
    with bundles.writing(folder) as place:
        variants = []
        for mask in masks:
            path = place / f"mask{mask}-fp32.onnx"
            write_graph(model, mask / 100, path)
            variants.append(_variant(path, mask, "fp32"))
        for kind in kept:
            precision = {"float16": "fp16", "bfloat16": "bf16"}[kind]
            path = place / f"mask{masks[0]}-{precision}.onnx"
            onnx.save(_keep_in(onnx.load(place / f"mask{masks[0]}-fp32.onnx"), kind), path)
            variants.append(_variant(path, masks[0], precision, kept=("encoder", "classifier")))
        manifest = Manifest.of(describe(place, STEPPING, INFO), variants)
        bundles.write_manifest(place, manifest.model_dump(mode="json", exclude={"format"}))
    return Bundle(folder)


def _variant(path: Path, mask: int, precision: str, kept: tuple[str, ...] = ()) -> Variant:
    return Variant(
        file=path.name,
        mask=mask,
        precision=precision,  # type: ignore[arg-type]
        kept=kept,
        sha256=hash_file(path),
        size_bytes=path.stat().st_size,
        gmacs=count_macs(path) / 1e9,
        parity=Parity(max_abs_error=0, bound=1, clips=1, source="not measured"),
    )


def _keep_in(model: onnx.ModelProto, kind: str) -> onnx.ModelProto:
    """Return a step graph that takes and returns keys and values in another number format."""
    graph, to = model.graph, {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}[kind]
    casts = []
    for value in graph.input:
        if value.name.startswith("past_"):
            value.type.tensor_type.elem_type = to
            casts.append(helper.make_node("Cast", [value.name], [f"{value.name}.wide"], to=TensorProto.FLOAT))
    narrow = []
    for value in graph.output:
        if value.name.startswith("new_"):
            value.type.tensor_type.elem_type = to
            narrow.append(helper.make_node("Cast", [f"{value.name}.wide"], [value.name], to=to))
    for node in graph.node:
        for names, prefix in ((node.input, "past_"), (node.input, "new_"), (node.output, "new_")):
            for index, name in enumerate(names):
                if name.startswith(prefix) and not name.endswith(".wide"):
                    names[index] = f"{name}.wide"
    nodes = [*casts, *graph.node, *narrow]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return model


def films(count: int, steps: int, seed: int = 0) -> NDArray[np.uint8]:
    """Random frames of time steps, uint8 (count, 2 * steps, H, W, 3)."""
    shape = (count, 2 * steps, *STEPPING.geometry.clip_shape[1:])
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def torch_answers(
    frames: NDArray[np.uint8], mask: int = 50, skipped: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Return what torch answers in one pass with a mask over time, logits (B, steps, classes).

    Args:
        frames: uint8 (B, 2 * steps, H, W, 3), of whole bands.
        mask: ratio in percent.
        skipped: bool (B, steps), steps that later ones do not see.
    """
    visible = running_tokens(STEPPING.geometry, mask / 100, frames.shape[1] // 2).expand(len(frames), -1)
    with torch.no_grad():
        found = stepping_model().joint(
            torch.from_numpy(frames),
            visible,
            torch.zeros(len(frames), 0, dtype=torch.int64),
            skipped=None if skipped is None else torch.from_numpy(skipped),
        )
    assert found.logits is not None
    logits: NDArray[np.float32] = found.logits.numpy()
    return logits
