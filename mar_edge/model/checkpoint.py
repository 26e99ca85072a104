"""mar-edge's own checkpoints: one safetensors file with configuration and labels as JSON metadata."""

from __future__ import annotations

import json
import re
import shlex
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, BinaryIO, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from mar_edge.counting import counted
from mar_edge.errors import CheckpointError, OutputError
from mar_edge.event_settings import EventDefaults
from mar_edge.files.atomic_file import write_output
from mar_edge.files.json_text import parse_json
from mar_edge.files.lost_content import lost_content
from mar_edge.files.ownership import FileKind
from mar_edge.files.regular_file import open_regular, why_special
from mar_edge.model.config import MAX_CLASSES, ModelConfig, build
from mar_edge.model.mar import MAR
from mar_edge.model.stored_shapes import check_shapes
from mar_edge.model_spec import ClipAnswer, RateFps
from mar_edge.printable import plain

FORMAT = 1

_HEADER_BYTES = 100_000_000
"""Longest header that safetensors allows."""


def _is_ours(file: BinaryIO) -> bool:
    """Distinguish our checkpoints from other safetensors files: their header is JSON, after its length."""
    try:
        (size,) = struct.unpack("<Q", file.read(8))
        header = parse_json(file.read(size)) if size <= _HEADER_BYTES else {}
        return re.fullmatch(r"mar-edge \d+", header["__metadata__"]["format"]) is not None
    except (struct.error, ValueError, TypeError, KeyError):
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
        events: when its events begin and end; None for the defaults.
        clip_answer: what it answers to a whole clip, see `ModelSpec`.
        provenance: how it was made.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    name: str = "model"
    description: str = ""
    licence: str = "unknown"
    labels: Annotated[list[str], Field(max_length=MAX_CLASSES)] = field(default_factory=list)
    rate_fps: RateFps = 7.5
    resize: Literal["stretch", "center_crop"] = "center_crop"
    sampling: Literal["dense", "uniform"] = "dense"
    mask_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.5
    idle_label: str | None = None
    events: EventDefaults | None = None
    clip_answer: ClipAnswer = "mean"
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
        "info": json.dumps(_info_checker().dump_python(info, mode="json")),
    }
    try:
        data = to_bytes({key: value.contiguous() for key, value in model.state_dict().items()}, metadata)
    except SafetensorError as error:
        raise OutputError(f"cannot write the checkpoint {path}: {error}") from error
    advice = "Make room, or choose a folder you can write to"
    write_output(path, data, kind=CHECKPOINT, force=force, advice=advice)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a checkpoint once: safetensors opens its path twice, and a newer file may take the place of the first one."""
    with open(open_regular(path), "rb") as file:
        same = Path(f"/proc/self/fd/{file.fileno()}")
        with safe_open(same if same.exists() else path, framework="pt") as tensors:
            yield tensors


def load(path: Path) -> tuple[MAR, ModelConfig, CheckpointInfo]:
    """Read a checkpoint.

    Raises:
        CheckpointError: if the file is missing, damaged, foreign or does not fit its own configuration.
    """
    if not path.is_file():
        raise _missing(path)
    try:
        with _opened(path) as file:
            metadata = file.metadata() or {}
            config, info = _read_metadata(path, metadata)
            names = list(file.keys())
            check_shapes(config, {name: tuple(file.get_slice(name).get_shape()) for name in names}, path)
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error
    model = build(config)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit its own configuration: {error}") from error
    return model.eval(), config, info


def read_config(path: Path) -> ModelConfig:
    """Read the architecture of a checkpoint, without its weights.

    Raises:
        CheckpointError: if the file is missing, damaged or foreign.
    """
    try:
        with _opened(path) as file:
            return _read_metadata(path, file.metadata() or {})[0]
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error


def _missing(path: Path) -> CheckpointError:
    if why := why_special(path):
        return CheckpointError(f"{path} {why}; name a checkpoint")
    return CheckpointError(f"no such checkpoint: {path}")


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    if not path.is_file():
        return _missing(path)
    again = "Copy it again, or use the other checkpoint of its training"
    with suppress(OSError), open(open_regular(path), "rb") as file:
        if (lost := lost_content(path)) is not None:
            return CheckpointError(f"{path} {lost}. {again}")
        if CHECKPOINT.marked(file):
            return CheckpointError(f"{path} is damaged or cut off: {error}. {again}")
    return CheckpointError(
        f"{path} is not a readable safetensors file: {error}. "
        f"For a foreign checkpoint run: mar-edge import {shlex.quote(str(path))} -o OUT.safetensors"
    )


def _read_metadata(path: Path, metadata: dict[str, str]) -> tuple[ModelConfig, CheckpointInfo]:
    if not metadata.get("format", "").startswith("mar-edge"):
        raise CheckpointError(
            f"{path} is not a mar-edge checkpoint. Run: mar-edge import {shlex.quote(str(path))} -o OUT.safetensors"
        )
    if metadata["format"] != f"mar-edge {FORMAT}":
        raise CheckpointError(
            f"{path} has format '{metadata['format'][:40]}', newer than this mar-edge. Update mar-edge"
        )
    try:
        config = ModelConfig.from_dict(parse_json(metadata["config"]))
        info = _info_checker().validate_json(json.dumps(parse_json(metadata["info"])))
    except KeyError as error:
        raise CheckpointError(f"{path} has damaged metadata: it lacks {error}. Copy the file again") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "info"
        raise CheckpointError(
            f"{path} has damaged metadata: {where} is {ascii(first['input'])[:60]}: {first['msg']}"
        ) from error
    except (CheckpointError, ValueError) as error:
        raise CheckpointError(f"{path} has damaged metadata: {error}") from error
    if len(info.labels) != config.classes:
        raise CheckpointError(f"{path} has {counted(len(info.labels), 'label')} for {counted(config.classes, 'class')}")
    return config, info


@cache
def _info_checker() -> TypeAdapter[CheckpointInfo]:
    return TypeAdapter(CheckpointInfo)
