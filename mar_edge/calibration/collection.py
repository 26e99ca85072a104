"""Runs an FP32 graph on real clips and collects statistics of its activations."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Collection
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from mar_edge.calibration.placement import sites
from mar_edge.calibration.statistics import Statistics, TensorStatistics
from mar_edge.calibration.trial import open_session
from mar_edge.counting import counted
from mar_edge.errors import ExportError, SourceError
from mar_edge.files.graph_files import hash_graph
from mar_edge.model.graph_view import GraphView, block_of
from mar_edge.reporting import Progress, Warn, no_progress
from mar_edge.runtime.measurement.clip_runner import FRESH, ClipRunner, Input
from mar_edge.runtime.measurement.clip_set import Clip, ClipSet

SAVE_EVERY_S = 2.0
"""A killed collection loses at most this, and the current clip."""

SEGMENT_BYTES = 256 << 20
"""Maximum bytes of activations held at once, except for a block that has more."""

STREAM_PASSES = 2
"""Times that a step graph sees a clip in a row."""

_FORMAT = 1
"""Version of the statistics; other versions are collected again."""

ADVISED_CLIPS = 64
"""With more clips, neither ranges nor agreement of egomotion changed, see docs/how-to/int8.md."""


def too_few(clips: int) -> str | None:
    """Return a warning if the number of clips is small."""
    if clips >= ADVISED_CLIPS:
        return None
    return f"{counted(clips, 'clip', 'is', 'are')} few for calibration: activations outside their range will be cut. Use {ADVISED_CLIPS} or more"


def watched(view: GraphView) -> list[str]:
    """Return the activations that any placement quantises, in the graph's order."""
    everything = [*sites(view, "cpu"), *sites(view, "tensorrt")]
    names = {site.tensor for site in everything}
    return [name for node in view.nodes for name in node.output if name in names]


def collect(
    graph_path: Path,
    clips: ClipSet,
    *,
    cache: Path | None,
    progress: Progress = no_progress,
    threads: int | None = None,
) -> Statistics:
    """Collect the statistics of all activations of a graph that may be quantised.

    Args:
        graph_path: an FP32 graph, its nodes named by part.
        clips: the clips to run it on. Its `warn` is called if `cache` cannot be used.
        cache: file for the statistics; the name of the clips is added to its name (`cache_file`). Its content is
            not collected again, and an interrupted collection resumes where it stopped, even if the videos not counted
            yet were replaced; None for none.
        progress: called with the current step.
        threads: of ONNX Runtime; None for all cores.

    Raises:
        SourceError: if a video cannot be read, or is damaged and `clips` is strict; the message names it. What was collected
            before is kept.
        ExportError: if the graph cannot be run, or an activation is not finite.
        OutputError: if the cache cannot be written.
    """
    view = GraphView.read(graph_path)
    return collect_from(
        view, watched(view), clips, key=hash_graph(graph_path), cache=cache, progress=progress, threads=threads
    )


def collect_from(
    view: GraphView,
    names: list[str],
    clips: ClipSet,
    *,
    key: str,
    cache: Path | None,
    progress: Progress = no_progress,
    threads: int | None = None,
) -> Statistics:
    """Like `collect`, for some activations of a graph that may be in memory only.

    The graph runs block by block on one clip after the other, so only one block's activations must be held.

    Args:
        view: the graph.
        names: the activations.
        clips: see `collect`.
        key: identifies this graph; the statistics of another are not used.
        cache: see `collect`.
        progress: see `collect`.
        threads: see `collect`.
    """
    key = _digest([_FORMAT, key, names])
    identities = _identities(clips)
    cache = cache and cache_file(cache, clips)
    statistics = _cached(cache, key, identities, clips.warn)
    if statistics is None:
        statistics = Statistics({name: TensorStatistics() for name in names})
    if len(statistics.clips) == len(identities):
        return statistics
    segments = _segments(view, names, threads)
    inputs = {value.name: Input(view.shapes[value.name]) for value in view.model.graph.input}
    saved_s = time.monotonic()
    try:
        for index, clip in enumerate(clips):
            if index < len(statistics.clips):
                continue
            progress("reading activation ranges", index + 1, len(clips))
            statistics = _add(statistics, segments, inputs, clip, identities[index])
            if cache and time.monotonic() - saved_s > SAVE_EVERY_S:
                statistics.save(cache, key)
                saved_s = time.monotonic()
    finally:
        if cache and statistics.clips:
            statistics.save(cache, key)
    return statistics


def cache_file(cache: Path, clips: ClipSet) -> Path:
    """Return a file for these clips only, so that several sets have separate files.

    It is named by the identity of the clips, not by the content of the videos: if one is replaced, the statistics
    of those before it are kept.
    """
    files = [str(file.resolve()) for file in clips.files]
    return cache.with_name(f"{cache.stem}-{_digest([_made(clips), files, clips.windows])}{cache.suffix}")


def _cached(cache: Path | None, key: str, identities: list[str], warn: Warn) -> Statistics | None:
    """Return the content of the cache, if it is the beginning of the requested clips."""
    if cache is None or not cache.exists():
        return None
    try:
        found = Statistics.load(cache, key)
        if found.clips != tuple(identities[: len(found.clips)]):
            raise ExportError(f"{cache} belongs to videos that have changed since")
    except ExportError as error:
        warn(f"{error}; the statistics are collected again")
        return None
    return found


def _identities(clips: ClipSet) -> list[str]:
    """Return the identity of each clip: its video's name, size and time, the window, and the sampling."""
    made = _made(clips)
    try:
        videos = [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in clips.files]
    except OSError as error:
        raise SourceError(f"cannot read {error.filename}: {error.strerror}") from error
    if not videos:
        return [_digest([made, "demo", seed]) for seed in range(len(clips))]
    return [
        _digest([made, video, windows, window])
        for video, windows in zip(videos, clips.windows, strict=True)
        for window in range(windows)
    ]


def _made(clips: ClipSet) -> list[Any]:
    """Return how clips are sampled from videos."""
    spec = clips.spec
    return [vars(spec.geometry), spec.rate_fps, spec.resize, spec.sampling]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _add(
    statistics: Statistics, segments: list[_Segment], inputs: dict[str, Input], clip: Clip, identity: str
) -> Statistics:
    """Return the statistics with one more clip; a new object, so that an interrupt leaves no partial clip."""
    found: dict[str, TensorStatistics] = {}

    def run(names: list[str], values: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        for segment in segments:
            values |= segment.run(values)
            for name in segment.watched:
                try:
                    found[name] = found.get(name, TensorStatistics()) + TensorStatistics.of(values[name])
                except ValueError as error:
                    raise ExportError(
                        f"activation '{name}' has {error} on {clip.source}; INT8 cannot represent them"
                    ) from error
            values = {name: values[name] for name in segment.needed_later}
        return [values[name] for name in names]

    runner = ClipRunner(run, inputs)
    # a stream's state is older than a clip: a second time it is what a clip leaves behind
    frames = clip.frames if runner.layout is None else np.concatenate([clip.frames] * STREAM_PASSES)
    for _ in runner.show(frames, []):
        pass
    tensors = {name: tensor + found[name] for name, tensor in statistics.tensors.items()}
    return Statistics(tensors, (*statistics.clips, identity))


class _Segment:
    """A range of nodes as a separate graph, for one clip.

    Attributes:
        watched: activations to count.
        needed_later: tensors that this segment has or outputs, and later ones use.
    """

    def __init__(
        self, view: GraphView, nodes: list[NodeProto], watched: list[str], later: set[str], threads: int | None
    ) -> None:
        made = {name for node in nodes for name in node.output}
        used = dict.fromkeys(name for node in nodes for name in node.input if name)
        self.watched = watched
        self.inputs = [name for name in used if name not in made and name not in view.constants]
        self.outputs = [name for name in made if name in later or name in watched]
        self.needed_later = later
        graph = onnx.helper.make_graph(
            nodes,
            "segment",
            [_value(view, name) for name in self.inputs],
            [_value(view, name) for name in self.outputs],
            [view.constants[name] for name in used if name in view.constants],
        )
        model = onnx.helper.make_model(graph, opset_imports=view.model.opset_import, ir_version=view.model.ir_version)
        self._session = open_session(model, threads)

    def run(self, values: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the outputs by name."""
        found = self._session.run(self.outputs, {name: values[name] for name in self.inputs})
        return dict(zip(self.outputs, found, strict=True))


def _segments(view: GraphView, names: Collection[str], threads: int | None) -> list[_Segment]:
    """Split the graph at the ends of blocks, once there are enough activations."""
    stretches: list[list[NodeProto]] = [[]]
    held = 0
    for node in view.nodes:
        last = stretches[-1]
        if last and held >= SEGMENT_BYTES and block_of(last[-1].name) != block_of(node.name):
            stretches.append([])
            held = 0
        stretches[-1].append(node)
        held += sum(4 * prod(view.shapes[name]) for name in node.output if name in names)
    found: list[_Segment] = []
    later = {value.name for value in view.model.graph.output if value.name.startswith(FRESH)}
    for nodes in reversed(stretches):  # from the end, to know what is needed later
        made = {name for node in nodes for name in node.output}
        watched = [name for node in nodes for name in node.output if name in names]
        if watched or found or made & later:  # nodes after the last watched one are not run
            found.insert(0, _Segment(view, nodes, watched, later, threads))
            later = (later - made) | set(found[0].inputs)
    return found


def _value(view: GraphView, name: str) -> onnx.ValueInfoProto:
    given = {value.name: value.type.tensor_type.elem_type for value in view.model.graph.input}
    kind = given.get(name, TensorProto.FLOAT)
    return onnx.helper.make_tensor_value_info(name, kind, view.shapes[name])
