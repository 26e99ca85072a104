"""Measures time and memory: every variant in every engine of this device, in total and by block of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mar_edge.bundle import Bundle
from mar_edge.errors import MarEdgeError, MissingExtraError
from mar_edge.manifest import Variant
from mar_edge.node_names import block_of, is_ours
from mar_edge.reporting import Progress, no_progress
from mar_edge.runtime.engines.engine import Engine
from mar_edge.runtime.engines.registry import create_engine
from mar_edge.runtime.engines.stream_state import StateLayout
from mar_edge.runtime.measurement.clip_set import open_clips
from mar_edge.runtime.measurement.memory import Memory, measure_memory
from mar_edge.runtime.measurement.timing import ROUNDS, run_in_turns
from mar_edge.runtime.measurement.verification import choose_pairs

PIXELS = "pixels"
"""The part before the encoder: frames to normalised tubelets."""


@dataclass(frozen=True)
class Profile:
    """One variant in one engine on this device.

    Attributes:
        variant: the graph.
        engine: its name.
        failure: why it does not run; None if it does, and only then the other values exist.
        median_ms: of an inference: one clip, or one time step of a streaming model.
        layout: what a streaming model keeps of a stream; None for a windowed model.
        memory: of a process that does nothing else.
        blocks: milliseconds by block of the model, in order; None if the engine does not report them.
    """

    variant: Variant
    engine: str
    failure: str | None = None
    median_ms: float | None = None
    layout: StateLayout | None = None
    memory: Memory | None = None
    blocks: dict[str, float] | None = None

    @property
    def gmacs_per_s(self) -> float | None:
        """Multiply-accumulates per second / 1e9."""
        return None if self.median_ms is None else 1000 * self.variant.gmacs / self.median_ms

    def to_json(self) -> dict[str, Any]:
        """Return a JSON record."""
        return {
            "type": "profile",
            "mask": self.variant.mask,
            "precision": self.variant.precision,
            "placement": self.variant.placement,
            "file": self.variant.file,
            "engine": self.engine,
            "failure": self.failure,
            "median_ms": self.median_ms,
            "gmacs": self.variant.gmacs,
            "gmacs_per_s": self.gmacs_per_s,
            "held_mb": self.memory.held_mb if self.memory else None,
            "peak_mb": self.memory.peak_mb if self.memory else None,
            "state_bytes": self.layout.bytes if self.layout else None,
            "step_bytes": self.layout.step_bytes if self.layout else None,
            "blocks_ms": self.blocks,
        }


def profile(
    bundle: Bundle,
    *,
    engines: Sequence[str] | None = None,
    masks: Sequence[int] | None = None,
    precisions: Sequence[str] | None = None,
    threads: int | None = None,
    rounds: int = ROUNDS,
    progress: Progress = no_progress,
) -> list[Profile]:
    """Measure time, memory and the blocks' shares, on a clip of the demo camera.

    Args:
        bundle: a checked bundle.
        engines: by name; None for all installed ones.
        masks: mask ratios in percent; None for all.
        precisions: None for all; FP32 in ONNX Runtime always takes part.
        threads: CPU threads for one inference; None for all cores.
        rounds: inferences that the median is taken over.
        progress: called with the current step.

    Raises:
        BundleError: if the bundle has no variant of that kind.
        MissingExtraError: if an engine that was named is not installed.
    """
    pairs = choose_pairs(bundle, engines=engines, masks=masks, precisions=precisions)
    (clip,) = (clip.frames for clip in open_clips(bundle.manifest, count=1))
    found: list[Profile] = []
    for mask, group in groupby(pairs, key=lambda pair: pair[0].mask):
        profiles: list[Profile] = []
        for variant, engine in group:
            progress(f"memory of {variant.title} in {engine}", len(profiles), 0)
            profiles.append(_with_memory(bundle, Profile(variant, engine), threads, named=engines is not None))
        progress(f"timing mask {mask}", 0, 0)
        found += _with_times(bundle, profiles, clip, threads, rounds, progress)
    return found


def _with_memory(bundle: Bundle, found: Profile, threads: int | None, *, named: bool) -> Profile:
    """Measure before anything is loaded in this process, so that the device need not hold it twice."""
    try:
        return replace(found, memory=measure_memory(bundle, found.variant, found.engine, threads=threads))
    except MarEdgeError as error:
        if named and isinstance(error, MissingExtraError):
            raise
        return replace(found, failure=str(error))


def _with_times(
    bundle: Bundle,
    profiles: list[Profile],
    clip: NDArray[np.uint8],
    threads: int | None,
    rounds: int,
    progress: Progress,
) -> list[Profile]:
    """Time all graphs of a mask in turns."""
    loaded: dict[int, Engine] = {}
    found = list(profiles)
    try:
        for place, one in enumerate(profiles):
            try:
                if one.failure is None:
                    loaded[place] = create_engine(bundle, one.variant, one.engine, threads=threads)
            except MarEdgeError as error:
                found[place] = replace(one, failure=str(error))
        turns = run_in_turns(list(loaded.values()), [clip], count=1, rounds=rounds)
        for (place, engine), turn in zip(loaded.items(), turns, strict=True):
            one = found[place]
            if turn.failure is not None:
                found[place] = replace(one, failure=turn.failure)
                continue
            progress(f"blocks of {one.variant.title} in {one.engine}", 0, 0)
            times = engine.layer_times(clip[None])
            blocks = None if times is None else block_times(times)
            found[place] = replace(one, median_ms=turn.median_ms, layout=engine.layout, blocks=blocks)
    finally:
        for engine in loaded.values():
            engine.close()
    return found


def block_times(times: Mapping[str, float]) -> dict[str, float] | None:
    """Sum the times of each block.

    A step that an engine added, whose name contains no part, counts for the next block: it most often prepares
    the input of that block.

    Args:
        times: as returned by `Engine.layer_times`.

    Returns:
        Milliseconds by block, in order; None if no name contains a part, as in graphs of old bundles.
    """
    found: dict[str, float] = {}
    waiting = 0.0
    block = ""
    for name, took_ms in times.items():
        if not is_ours(name):
            waiting += took_ms
            continue
        block = block_of(name) or PIXELS
        found[block] = found.get(block, 0.0) + took_ms + waiting
        waiting = 0.0
    if not set(found) - {PIXELS}:
        return None
    found[block] += waiting
    return found
