"""A model repository for Triton Inference Server: one folder per graph, with the server's configuration.

Layout and fields: https://github.com/triton-inference-server/server, docs/user_guide/model_repository.md and
model_configuration.md; `model_config.proto` in its `common` repository is the schema. ONNX Runtime is the backend of
all, which builds a TensorRT engine from the graph itself; engines built elsewhere are not used.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mar_edge.bundle import Bundle
from mar_edge.errors import ExportError, OptionError
from mar_edge.files.atomic_folder import written_whole
from mar_edge.files.graph_files import copy_graph
from mar_edge.files.ownership import FolderKind, check_not_input
from mar_edge.files.regular_file import read_text
from mar_edge.manifest import Manifest, Variant

Accelerator = Literal["tensorrt", "openvino", "none"]
"""Execution provider of ONNX Runtime: TensorRT on a GPU, OpenVINO on an x86 CPU, or none, on any CPU."""

MARKER = ".mar-edge-triton"
"""File that marks a folder as ours, and lists the files that we wrote: users may add their own models."""

SCHEMA = "mar-edge/triton-repository/1"

VERSION = "1"
LABELS = "labels.txt"
ENGINES = "/engines"
"""Folder of the server where ONNX Runtime stores engines; with a volume mounted there, a restart builds nothing."""

TENSORRT_MODES = {"fp32": "FP32", "fp16": "FP16", "int8": "INT8"}
"""Names of the precisions in the backend; it has none for bf16."""


@dataclass(frozen=True, kw_only=True)
class Serving:
    """How the server runs the models.

    Attributes:
        accelerator: see `Accelerator`.
        max_batch: maximum clips in one inference.
        queue_delay_ms: maximum time that a clip waits for others to share its inference.
        instances: copies of each model on each GPU, or on the CPU.
        workspace_mib: maximum memory that a layer may use during TensorRT's build.

    Raises:
        OptionError: if a number is invalid.
    """

    accelerator: Accelerator = "tensorrt"
    max_batch: int = 8
    queue_delay_ms: float = 5.0
    instances: int = 1
    workspace_mib: int = 1024

    def __post_init__(self) -> None:
        for name in ("max_batch", "instances", "workspace_mib"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 <= self.queue_delay_ms < math.inf:
            raise OptionError(f"queue_delay_ms is {self.queue_delay_ms}; it must be 0 or more")


def write_triton(
    bundle: Bundle,
    out: Path,
    *,
    variants: Sequence[Variant] | None = None,
    serving: Serving | None = None,
    force: bool = False,
) -> list[str]:
    """Write a model repository.

    Args:
        bundle: a checked bundle.
        out: the repository's folder; replaced completely if it is one of ours, an error if it contains something else.
        variants: graphs to serve; by default all that suit the accelerator. bf16 is left out: the backend does not support it.
        serving: settings; by default with TensorRT.
        force: also replace files that others added; see `files.ownership`.

    Returns:
        Names of the models.

    Raises:
        ExportError: if the model is streaming, no graph suits the accelerator, or a requested one cannot be served.
        OutputError: if the folder cannot be written.
    """
    how = serving or Serving()
    manifest = bundle.manifest
    _check_servable(manifest)
    models = {_model_name(manifest, variant): variant for variant in _suited(bundle, variants, how.accelerator)}
    check_not_input(out, [bundle.path])
    with written_whole(out, REPOSITORY, force=force) as folder:
        for name, variant in models.items():
            model = folder / name
            (model / VERSION).mkdir(parents=True)
            copy_graph(bundle.graph_path(variant), model / VERSION / "model.onnx")
            (model / LABELS).write_text(_label_lines(manifest), encoding="utf-8")
            (model / "config.pbtxt").write_text(_config(name, manifest, variant, how), encoding="utf-8")
        written = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        mark = json.dumps({"schema": SCHEMA, "files": written}, indent=2)
        (folder / MARKER).write_text(mark + "\n", encoding="utf-8")
    return list(models)


def _check_servable(manifest: Manifest) -> None:
    """Check that the server can run a model.

    Raises:
        ExportError: if it is streaming.
    """
    if manifest.streaming:
        raise ExportError(
            f"{manifest.name} is a streaming model, and Triton would have to keep every stream's keys and values between its "
            "requests; serve a windowed model of the same classes, or run this one on the device: mar-edge run"
        )


def _suited(bundle: Bundle, variants: Sequence[Variant] | None, accelerator: Accelerator) -> list[Variant]:
    manifest = bundle.manifest
    if variants is None:
        engine = "onnxruntime" if accelerator == "none" else accelerator
        variants = [v for v in manifest.variants if v.suits(engine) and v.precision != "bf16"]
    if not variants:
        have = ", ".join(v.title for v in manifest.variants)
        raise ExportError(f"{manifest.name} has no graph that Triton can serve with {accelerator}; it has {have}")
    for variant in variants:
        if variant.precision == "bf16":
            raise ExportError(f"Triton's ONNX Runtime backend cannot serve {variant.title}; export fp16 or int8")
    return list(variants)


def _model_name(manifest: Manifest, variant: Variant) -> str:
    """Return a name that is a folder and part of a URL: `egomotion_mask50_int8`."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", manifest.name).strip("._-") or "model"
    placement = "" if variant.placement == "any" else f"_{variant.placement}"
    return f"{name}_mask{variant.mask}_{variant.precision}{placement}"


def _label_lines(manifest: Manifest) -> str:
    """Return one label per line, the only format of the server."""
    return "".join(_one_line(label) + "\n" for label in manifest.labels)


def _config(name: str, manifest: Manifest, variant: Variant, how: Serving) -> str:
    dims = ", ".join(map(str, manifest.geometry.clip_shape))
    kind = "KIND_GPU" if how.accelerator == "tensorrt" else "KIND_CPU"
    parts = [
        f"# {_one_line(f'{manifest.name}, {variant.title}: {manifest.description}')}",
        f"# A clip is {manifest.geometry.frames} RGB frames at {manifest.rate_fps:g} frames/s, {manifest.resize}.",
        f"name: {quote(name)}",
        'backend: "onnxruntime"',
        f"max_batch_size: {how.max_batch}",
        "version_policy { latest { num_versions: 1 } }",
        f'input [ {{ name: "frames" data_type: TYPE_UINT8 dims: [ {dims} ] }} ]',
        "output [ {",
        f'  name: "logits" data_type: TYPE_FP32 dims: [ {len(manifest.labels)} ] label_filename: {quote(LABELS)}',
        "} ]",
        f"instance_group [ {{ kind: {kind} count: {how.instances} }} ]",
        *_batching(how),
        *_acceleration(variant, how, dims),
        *(_warmup(batch, dims) for batch in sorted({1, how.max_batch})),
    ]
    return "\n".join(parts) + "\n"


def _batching(how: Serving) -> list[str]:
    if how.max_batch == 1:
        return []
    preferred = ", ".join(map(str, sorted({how.max_batch // 2, how.max_batch})))
    delay_us = round(1000 * how.queue_delay_ms)
    return [
        f"dynamic_batching {{ preferred_batch_size: [ {preferred} ] max_queue_delay_microseconds: {delay_us} }}",
    ]


def _acceleration(variant: Variant, how: Serving, dims: str) -> list[str]:
    if how.accelerator == "none":
        return []
    if how.accelerator == "openvino":
        return ['optimization { execution_accelerators { cpu_execution_accelerator [ { name: "openvino" } ] } }']
    shape = dims.replace(", ", "x")
    options = {
        "precision_mode": TENSORRT_MODES[variant.precision],
        "max_workspace_size_bytes": str(how.workspace_mib << 20),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": ENGINES,
        # one engine for all batches, instead of a new one whenever a larger batch arrives
        "trt_profile_min_shapes": f"frames:1x{shape}",
        "trt_profile_opt_shapes": f"frames:{how.max_batch}x{shape}",
        "trt_profile_max_shapes": f"frames:{how.max_batch}x{shape}",
    }
    return [
        "optimization { execution_accelerators { gpu_execution_accelerator [ {",
        '  name: "tensorrt"',
        *(f"  parameters {{ key: {quote(key)} value: {quote(value)} }}" for key, value in options.items()),
        "} ] } }",
    ]


def _warmup(batch: int, dims: str) -> str:
    """Request an inference before the model is ready, so that the first client does not wait for the engine."""
    frames = f'inputs {{ key: "frames" value {{ data_type: TYPE_UINT8 dims: [ {dims} ] zero_data: true }} }}'
    return f'model_warmup [ {{ name: "batch of {batch}" batch_size: {batch} {frames} }} ]'


def quote(text: str) -> str:
    """Return a string literal of protobuf's text format."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else "".join(f"\\{b:03o}" for b in c.encode()) for c in escaped) + '"'


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _contents(folder: Path) -> set[str] | None:
    """Return the files of a repository that we wrote, relative to it; None if our mark is missing."""
    try:
        mark = json.loads(read_text(folder / MARKER))
        return {MARKER, *mark["files"]} if mark["schema"] == SCHEMA else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


REPOSITORY = FolderKind("model repository", MARKER, _contents)
