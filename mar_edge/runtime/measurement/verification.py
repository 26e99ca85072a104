"""Repeats on the device what export did: every variant in every installed engine, against FP32, with its speed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mar_edge.bundle import Bundle
from mar_edge.errors import BundleError, EngineError, MarEdgeError, MissingExtraError
from mar_edge.manifest import Parity, Variant
from mar_edge.model_spec import PRECISIONS, number_formats
from mar_edge.node_names import part_of
from mar_edge.reporting import Progress, no_progress
from mar_edge.runtime.engines.engine import Engine
from mar_edge.runtime.engines.registry import available_engines, create_engine, engine_version
from mar_edge.runtime.measurement.clip_runner import step_targets
from mar_edge.runtime.measurement.clip_set import ClipSet
from mar_edge.runtime.measurement.parity import Verdict, compare
from mar_edge.runtime.measurement.timing import Turns, run_in_turns

REFERENCE = "graph fp32"


@dataclass(frozen=True)
class Measurement:
    """One variant in one engine on this device.

    Attributes:
        variant: the graph.
        engine: its name.
        engine_version: of the engine; None if it cannot be loaded.
        failure: why it does not run; None if it does, and only then the other values exist.
        median_ms: of an inference: one clip, or one time step of a streaming model.
        speed: relative to FP32 in ONNX Runtime at the same mask, 2 for twice as fast; None without such a graph.
        parity: with FP32 in ONNX Runtime at the same mask; None without such a graph, and for that graph itself.
        missed: the bounds of its precision that it misses.
        remark: notice about labels that changed within the bounds; None if none did.
        products: how many matrix products run in which precision; None if the engine does not report it.
        unkept: why it is not computed in its nominal precision; None if it is, or the engine does not report it.
    """

    variant: Variant
    engine: str
    engine_version: str | None
    failure: str | None = None
    median_ms: float | None = None
    speed: float | None = None
    parity: Parity | None = None
    missed: tuple[str, ...] = ()
    remark: str | None = None
    products: dict[str, int] | None = None
    unkept: str | None = None

    @property
    def title(self) -> str:
        """Readable name, such as `mask 50 int8 in openvino`."""
        return f"{self.variant.title} in {self.engine}"

    @property
    def is_reference(self) -> bool:
        """Whether the others are compared with this."""
        return _is_reference(self.variant, self.engine)

    @property
    def held(self) -> bool:
        """Whether it runs and stays within the bounds of its precision."""
        return self.failure is None and not self.missed and (self.parity is not None or self.is_reference)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON record."""
        return {
            "type": "measurement",
            "mask": self.variant.mask,
            "precision": self.variant.precision,
            "placement": self.variant.placement,
            "file": self.variant.file,
            "engine": self.engine,
            "engine_version": self.engine_version,
            "failure": self.failure,
            "median_ms": self.median_ms,
            "speed": self.speed,
            "held": self.held,
            "missed": list(self.missed),
            "parity": self.parity.model_dump() if self.parity else None,
            "products": self.products,
            "unkept": self.unkept,
        }


def verify(
    bundle: Bundle,
    clips: ClipSet,
    *,
    engines: Sequence[str] | None = None,
    masks: Sequence[int] | None = None,
    precisions: Sequence[str] | None = None,
    threads: int | None = None,
    progress: Progress = no_progress,
) -> list[Measurement]:
    """Compare and time every variant in every engine; FP32 in ONNX Runtime always takes part.

    Args:
        bundle: a checked bundle.
        clips: what they are compared and timed on.
        engines: by name; None for all installed ones.
        masks: mask ratios in percent; None for all.
        precisions: None for all.
        threads: CPU threads for one inference; None for all cores.
        progress: called with the progress so far.

    Raises:
        BundleError: if the bundle has no variant of that kind.
        EngineError: if there is no such engine, or FP32 does not run in ONNX Runtime.
        MissingExtraError: if an engine that was named is not installed.
        SourceError: if a clip cannot be read.
    """
    pairs = choose_pairs(bundle, engines=engines, masks=masks, precisions=precisions)
    found: list[Measurement] = []
    for _, group in groupby(pairs, key=lambda pair: pair[0].mask):
        found += _verify_mask(bundle, clips, list(group), threads=threads, named=engines is not None, progress=progress)
    return found


def choose_pairs(
    bundle: Bundle,
    *,
    engines: Sequence[str] | None = None,
    masks: Sequence[int] | None = None,
    precisions: Sequence[str] | None = None,
) -> list[tuple[Variant, str]]:
    """Return what can be measured: variants with the engines they were made for, by mask and precision.

    FP32 in ONNX Runtime is the first of each mask that has it, whatever is requested.

    Raises:
        BundleError: if the bundle has no variant of that kind.
    """
    names = list(engines) if engines is not None else available_engines()
    have = sorted({variant.mask for variant in bundle.manifest.variants})
    found: list[tuple[Variant, str]] = []
    for mask in [mask for mask in have if masks is None or mask in masks]:
        wanted = [
            (variant, name)
            for name in names
            for variant in bundle.candidates(mask, engine=name)
            if precisions is None or variant.precision in precisions
        ]
        fp32 = next((v for v in bundle.manifest.variants if v.mask == mask and v.precision == "fp32"), None)
        reference = [(fp32, "onnxruntime")] if wanted and fp32 is not None else []
        rest = sorted(wanted, key=lambda pair: PRECISIONS.index(pair[0].precision))
        found += [*reference, *(pair for pair in rest if pair not in reference)]
    if not found:
        kinds = ", ".join(variant.title for variant in bundle.manifest.variants)
        raise BundleError(f"{bundle.manifest.name} has no graph of the requested masks and precisions; it has {kinds}")
    return found


def _verify_mask(
    bundle: Bundle,
    clips: ClipSet,
    pairs: list[tuple[Variant, str]],
    *,
    threads: int | None,
    named: bool,
    progress: Progress,
) -> list[Measurement]:
    """Measure all graphs of a mask; all are loaded at once, so that they can take turns."""
    mask = pairs[0][0].mask
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        progress(f"mask {mask}", done, len(clips))

    progress(f"loading mask {mask}", 0, len(clips))
    loaded = [_load(bundle, variant, name, threads, named) for variant, name in pairs]
    engines = [engine for engine in loaded if isinstance(engine, Engine)]
    try:
        lengths: list[int] = []  # of the clips, in frames

        def noted() -> Iterator[NDArray[np.uint8]]:
            for clip in clips:
                lengths.append(len(clip.frames))
                yield clip.frames

        turns = iter(run_in_turns(engines, noted(), count=len(clips), progress=tick))
        runs = [next(turns) if isinstance(engine, Engine) else Turns(failure=engine) for engine in loaded]
        reference = runs[0] if _is_reference(*pairs[0]) else None
        if reference is not None and reference.failure is not None:
            raise EngineError(
                f"{pairs[0][0].title} does not run in onnxruntime, so nothing can be compared: {reference.failure}"
            )
        return [
            _judge(variant, name, engine, run, reference, clips, lengths)
            for (variant, name), engine, run in zip(pairs, loaded, runs, strict=True)
        ]
    finally:
        for engine in engines:
            engine.close()


def _load(bundle: Bundle, variant: Variant, name: str, threads: int | None, named: bool) -> Engine | str:
    """Return the engine, or why it cannot be loaded."""
    try:
        return create_engine(bundle, variant, name, threads=threads)
    except MarEdgeError as error:
        if named and isinstance(error, MissingExtraError):
            raise
        return str(error)


def _judge(
    variant: Variant,
    name: str,
    engine: Engine | str,
    run: Turns,
    reference: Turns | None,
    clips: ClipSet,
    lengths: Sequence[int],
) -> Measurement:
    version = engine_version(name)
    if isinstance(engine, str) or run.failure is not None:
        return Measurement(variant, name, version, failure=run.failure)
    verdict: Verdict | None = None
    if reference is not None and run is not reference:
        expected = np.stack(reference.logits)
        verdict = compare(
            expected,
            np.stack(run.logits),
            variant.precision,
            source=clips.source,
            reference_name=REFERENCE,
            targets=_targets(clips, lengths, expected),
            noun="answer" if clips.spec.streaming else "clip",
        )
    precisions = engine.layer_precisions()
    return Measurement(
        variant,
        name,
        version,
        median_ms=run.median_ms,
        speed=None if reference is None else reference.median_ms / run.median_ms,
        parity=verdict.parity if verdict else None,
        missed=verdict.missed if verdict else (),
        remark=verdict.remark if verdict else None,
        products=None if precisions is None else _count(precisions),
        unkept=None if precisions is None else broken_promise(variant, precisions),
    )


def _targets(clips: ClipSet, lengths: Sequence[int], expected: NDArray[np.float32]) -> NDArray[np.int64] | None:
    """Return the class of every answer; `lengths` of the clips in frames, and the answers of FP32."""
    labels, spec = clips.labels(), clips.spec
    if not spec.streaming:
        return labels
    return step_targets(labels, [length // spec.geometry.tubelet_frames for length in lengths], expected, spec)


def _is_reference(variant: Variant, engine: str) -> bool:
    return variant.precision == "fp32" and engine == "onnxruntime"


def _count(precisions: dict[str, str]) -> dict[str, int]:
    kinds = list(precisions.values())
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def broken_promise(variant: Variant, precisions: dict[str, str]) -> str | None:
    """Report which matrix products run in another precision than the variant's, except those kept in FP32.

    Args:
        variant: the graph.
        precisions: as returned by `Engine.layer_precisions`.

    Returns:
        One phrase; None if there are none.
    """
    wanted = number_formats(variant.precision)[0]
    other = [name for name, kind in precisions.items() if kind != wanted and not _may_differ(variant, name, kind)]
    if not other:
        return None
    kinds = " and ".join(sorted({precisions[name] for name in other}))
    names = "" if len(other) == len(precisions) else f": {', '.join(other[:3])}{', ...' if other[3:] else ''}"
    return f"{len(other)} of {len(precisions)} matrix products run in {kinds}, not in {wanted}{names}"


def _may_differ(variant: Variant, name: str, kind: str) -> bool:
    part = part_of(name)
    # TensorRT fuses attention in INT8 only up to some number of tokens, so its graphs may leave it out
    if variant.precision == "int8" and variant.placement == "tensorrt" and part.endswith(".attn"):
        return True
    if not _is_named(part, variant.kept):
        return False
    # what is not INT8 in `int8-bf16` is BF16, or FP32 where the export chose that
    in_fp32 = variant.quantisation.get("in_fp32", ())
    return variant.precision != "int8-bf16" or kind == "bf16" or (kind == "fp32" and _is_named(part, in_fp32))


def _is_named(part: str, names: Collection[str]) -> bool:
    """Return whether a part is one of the names, or in one; or holds one, as a step `encoder.blocks.3.attn.scores`."""
    return any(f"{part}.".startswith(f"{name}.") or name.startswith(f"{part}.") for name in names)
