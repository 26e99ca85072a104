"""Which engine and precision run on this device: as `mar-edge verify` measured, stored in the device's cache."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mar_edge.bundle import BUILTIN, Bundle
from mar_edge.errors import EngineError, OutputError
from mar_edge.files.atomic_file import write_whole
from mar_edge.files.regular_file import read_text
from mar_edge.manifest import Variant
from mar_edge.model_spec import PRECISIONS, number_formats
from mar_edge.runtime.device import cache as device_cache
from mar_edge.runtime.device.identity import device_key
from mar_edge.runtime.engines.registry import ENGINES, engine_version

if TYPE_CHECKING:
    from mar_edge.runtime.measurement.verification import Measurement

KIND = "measurements"

MAX_THREADS = 64
"""Numbers of threads up to which measurements are looked for, to report which exist."""

MARGIN = 0.05
"""A lower precision must be faster by this share: a smaller gain may be measurement noise."""


class Remembered(BaseModel):
    """What is stored of a measurement.

    Attributes:
        sha256: of the graph and its weights.
        engine, engine_version: the engine that ran it.
        speed: how many times as fast as FP32 in ONNX Runtime at the same mask, in the same run.
        held: whether it stayed within the bounds of its precision.
        day: when it was measured, ISO 8601.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    sha256: str
    engine: str
    engine_version: str
    speed: Annotated[float, Field(gt=0, le=1_000_000)]
    held: bool
    day: date


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    measurements: Annotated[list[Remembered], Field(max_length=10_000)]


@dataclass(frozen=True)
class Choice:
    """What is to run.

    Attributes:
        engine: its name.
        variant: the graph.
        reason: why, in half a sentence for messages.
    """

    engine: str
    variant: Variant
    reason: str


def choose(
    bundle: Bundle,
    *,
    engine: str = "auto",
    mask: int | Literal["auto"] = "auto",
    precision: str = "auto",
    threads: int | None = None,
) -> Choice:
    """Choose the engine and the graph that load takes.

    What is named is used. For what is left to `auto`, the fastest pair that verify measured on this device is used, with
    as many threads, if it stayed within its bounds; among those within `MARGIN` of it the highest precision, so that an
    INT8 graph that is slower than another precision is never used. Without a measurement it is ONNX Runtime and the
    highest precision that it supports, FP32 if it exists; a bundle with nothing but BF16 in its graphs uses OpenVINO, as ONNX
    Runtime does not support BF16.

    Raises:
        BundleError: if the bundle has no such graph.
        EngineError: if there is no such engine.
    """
    if engine not in ENGINES:
        raise EngineError(f"unknown engine '{engine}'; choose from {', '.join(ENGINES)}")
    if "auto" not in (engine, precision):
        return Choice(engine, bundle.variant(mask, precision, engine=engine), "as asked")
    remembered, why_not = recall(bundle, threads=threads)
    wanted = [found for found in remembered if engine in ("auto", found.engine) and _is_current(found)]
    options = [
        (found, variant)
        for found in wanted
        for variant in bundle.candidates(mask, precision, engine=found.engine)
        if variant.digest == found.sha256
    ]
    held = [option for option in options if option[0].held]
    if held:
        fastest = max(found.speed for found, _ in held)
        close = [option for option in held if option[0].speed >= fastest * (1 - MARGIN)]
        best, variant = min(close, key=lambda option: (PRECISIONS.index(option[1].precision), -option[0].speed))
        return Choice(
            best.engine, variant, f"{best.speed:.2f}x the speed of fp32 in onnxruntime here, measured {best.day}"
        )
    variant = _unmeasured(bundle, mask, precision, engine)
    if engine == "auto":
        engine = "openvino" if "bf16" in number_formats(variant.precision) else "onnxruntime"
    if options:
        why_not = "no other graph stayed within its bounds here when mar-edge verify measured it"
    elif remembered:
        why_not = (
            f"measured here, but not this engine, mask and precision as they are now. Run: {_command(bundle, threads)}"
        )
    return Choice(engine, variant, why_not or _why_unmeasured(bundle, threads))


def _unmeasured(bundle: Bundle, mask: int | Literal["auto"], precision: str, engine: str) -> Variant:
    """Return the graph of the highest precision; for ONNX Runtime one without BF16, if there is one."""
    if engine not in ("auto", "onnxruntime"):
        return bundle.variant(mask, precision, engine=engine)
    options = bundle.candidates(mask, precision, engine="onnxruntime")
    return next((option for option in options if "bf16" not in number_formats(option.precision)), options[0])


def remember(bundle: Bundle, measurements: Collection[Measurement], *, threads: int | None = None) -> Path:
    """Store a run for `choose`; it replaces all earlier measurements at its masks.

    Two runs are never compared: other load on the device changes speeds by more than `MARGIN`.

    Args:
        bundle: what was measured.
        measurements: of one run, of each of its masks every graph in every engine; those that could not be compared with FP32 are left out.
        threads: CPU threads that one inference had; None for all cores.

    Returns:
        The file.

    Raises:
        OutputError: if the cache cannot be written.
    """
    new = [
        Remembered(
            sha256=found.variant.digest,
            engine=found.engine,
            engine_version=found.engine_version or "",
            speed=found.speed,
            held=found.held,
            day=date.today(),
        )
        for found in measurements
        if found.speed is not None
    ]
    masks = {found.variant.mask for found in measurements}
    replaced = {variant.digest for variant in bundle.manifest.variants if variant.mask in masks}
    old = [found for found in recall(bundle, threads=threads)[0] if found.sha256 not in replaced]
    path = device_cache.folder(KIND) / _file_name(bundle, threads)
    text = _File(measurements=[*old, *new]).model_dump_json(indent=2)
    write_whole(path, f"{text}\n".encode(), advice=f"Set {device_cache.VARIABLE} to a folder you can write to")
    return path


def recall(bundle: Bundle, *, threads: int | None = None) -> tuple[list[Remembered], str | None]:
    """Return what was measured of a bundle on this device, and why it cannot be read if it exists but is unreadable."""
    try:
        path = device_cache.location(KIND) / _file_name(bundle, threads)
        text = read_text(path)
    except FileNotFoundError:
        return [], None
    except (OSError, OutputError, UnicodeDecodeError) as error:
        return [], f"the measurements of this device cannot be read: {error}"
    try:
        return _File.model_validate_json(text).measurements, None
    except ValidationError:
        return [], f"{path} is damaged, so the measurements of this device are lost. Run: {_command(bundle, threads)}"


def _why_unmeasured(bundle: Bundle, threads: int | None) -> str:
    """Report what was measured with other numbers of threads, if anything, and what to run."""
    others = [other for other in (None, *range(1, MAX_THREADS + 1)) if other != threads]
    measured = [other for other in others if _is_measured(bundle, other)]
    command = _command(bundle, threads)
    if not measured:
        return f"not measured here yet. Run: {command}"
    there = " and ".join(_with(other) for other in measured[:3])
    return f"measured here with {there}, not with {_with(threads)}. Run: {command}"


def _is_measured(bundle: Bundle, threads: int | None) -> bool:
    try:
        return (device_cache.location(KIND) / _file_name(bundle, threads)).exists()
    except OutputError:
        return False


def _command(bundle: Bundle, threads: int | None) -> str:
    """Return what measures a bundle with some number of threads."""
    option = "" if threads is None else f" --threads {threads}"
    return f"mar-edge verify {shlex.quote(called(bundle))}{option}"


def _with(threads: int | None) -> str:
    return "all cores" if threads is None else f"{threads} thread{'s' * (threads > 1)}"


def _file_name(bundle: Bundle, threads: int | None) -> str:
    """Name the file by everything that makes a measurement invalid when it changes."""
    graphs = sorted(variant.digest for variant in bundle.manifest.variants)
    key = json.dumps([device_key(), threads, graphs])
    return f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"


def _is_current(found: Remembered) -> bool:
    return found.engine in ENGINES and engine_version(found.engine) == found.engine_version


def called(bundle: Bundle) -> str:
    """Return how a command names a bundle."""
    return bundle.path.stem if bundle.path.parent == BUILTIN else str(bundle.path)
