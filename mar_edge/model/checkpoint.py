"""mar-edge's own checkpoints: one safetensors file with configuration and labels as JSON metadata."""

from __future__ import annotations

import json
import re
import shlex
import struct
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from mar_edge.errors import CheckpointError, OutputError
from mar_edge.files.atomic_file import write_output
from mar_edge.files.ownership import FileKind
from mar_edge.model.config import ModelConfig, build
from mar_edge.model.mar import MAR
from mar_edge.printable import plain

FORMAT = 1

_HEADER_BYTES = 100_000_000
"""Longest header that safetensors allows."""


def _is_ours(file: BinaryIO) -> bool:
    """Distinguish our checkpoints from other safetensors files: their header is JSON, after its length."""
    try:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size)) if size <= _HEADER_BYTES else {}
        return re.fullmatch(r"mar-edge \d+", header["__metadata__"]["format"]) is not None
    except (struct.error, ValueError, TypeError, KeyError, RecursionError):
        return False


CHECKPOINT = FileKind("checkpoint", _is_ours)


@dataclass(frozen=True, kw_only=True)
class CheckpointInfo:
    """What a checkpoint states about its model in addition to the architecture.

    Attributes:
        name: of the model.
        description: one line.
        licence: SPDX identifier or a sentence.
        labels: class names in order of the logits.
        rate_fps: frames per second at which clips are sampled.
        resize: `stretch` or `center_crop`.
        sampling: `dense` or `uniform`, see `runtime.clips.segments`.
        mask_ratio: share of hidden tokens it was trained with.
        idle_label: class that is never an event; None for none.
        provenance: how it was made.
    """

    name: str = "model"
    description: str = ""
    licence: str = "unknown"
    labels: list[str] = field(default_factory=list)
    rate_fps: float = 7.5
    resize: str = "center_crop"
    sampling: str = "dense"
    mask_ratio: float = 0.5
    idle_label: str | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the texts that are names.

        Raises:
            CheckpointError: if one contains control characters.
        """
        try:
            for name in (self.name, self.idle_label, *self.labels):
                plain(name or "")
        except ValueError as error:
            raise CheckpointError(f"the name or label {error}") from error


def save(path: Path, model: MAR, config: ModelConfig, info: CheckpointInfo, *, force: bool = False) -> None:
    """Write a checkpoint; an existing one is replaced only by a complete one.

    Args:
        path: the file.
        model: its weights.
        config: its architecture.
        info: its other metadata.
        force: replace a file that is not a checkpoint of mar-edge.

    Raises:
        OutputError: if the file cannot be written, or is of another kind.
    """
    metadata = {
        "format": f"mar-edge {FORMAT}",
        "config": json.dumps(config.to_dict()),
        "info": json.dumps(asdict(info)),
    }
    try:
        data = to_bytes({key: value.contiguous() for key, value in model.state_dict().items()}, metadata)
    except SafetensorError as error:
        raise OutputError(f"cannot write the checkpoint {path}: {error}") from error
    advice = "Make room, or choose a folder you can write to"
    write_output(path, data, kind=CHECKPOINT, force=force, advice=advice)


def load(path: Path) -> tuple[MAR, ModelConfig, CheckpointInfo]:
    """Read a checkpoint.

    Raises:
        CheckpointError: if the file is missing, damaged, foreign or does not fit its own configuration.
    """
    if not path.is_file():
        raise CheckpointError(f"no such checkpoint: {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a readable safetensors file: {error}. "
            f"For a foreign checkpoint run: mar-edge import {shlex.quote(str(path))} -o OUT.safetensors"
        ) from error
    if not metadata.get("format", "").startswith("mar-edge"):
        raise CheckpointError(
            f"{path} is not a mar-edge checkpoint. Run: mar-edge import {shlex.quote(str(path))} -o OUT.safetensors"
        )
    if metadata["format"] != f"mar-edge {FORMAT}":
        raise CheckpointError(f"{path} has format '{metadata['format']}', newer than this mar-edge. Update mar-edge")
    try:
        config = ModelConfig.from_dict(json.loads(metadata["config"]))
        info = CheckpointInfo(**json.loads(metadata["info"]))
    except (CheckpointError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} has damaged metadata: {error}") from error
    if len(info.labels) != config.classes:
        raise CheckpointError(f"{path} has {len(info.labels)} labels for {config.classes} classes")
    try:
        model = build(config)
        model.load_state_dict(tensors)
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path} does not fit its own configuration: {error}") from error
    return model.eval(), config, info
