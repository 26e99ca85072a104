"""Runs an FP32 graph on real clips and collects what its activations do."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Collection
from math import prod
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from mar_edge.calibration.placement import sites
from mar_edge.calibration.statistics import Statistics, TensorStatistics
from mar_edge.calibration.trial import open_session
from mar_edge.errors import ExportError, SourceError
from mar_edge.files.graph_files import hash_graph
from mar_edge.model.graph_view import GraphView, block_of
from mar_edge.reporting import Progress, Warn, no_progress
from mar_edge.runtime.measurement.clip_set import Clip, ClipSet

SAVE_EVERY_S = 2.0
"""A killed collection loses no more than this, and the clip that it was at."""

SEGMENT_BYTES = 256 << 20
"""Activations that are held at once, but for a block that has more."""

_FORMAT = 1
"""Of the statistics; others are collected again."""

ADVISED_CLIPS = 64
"""From here on more clips changed neither ranges nor agreement of egomotion, see docs/how-to/int8.md."""


def too_few(clips: int) -> str | None:
    """Return what should be said of a number of clips, if it is small."""
    if clips >= ADVISED_CLIPS:
        return None
    return f"{clips} clips are few to calibrate on: activations that they do not show will be cut. Give {ADVISED_CLIPS} or more"


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
        clips: what it is run on. Its `warn` is told if `cache` cannot be used.
        cache: file that keeps the statistics, to whose name that of the clips is added (`cache_file`). What is in it is
            not collected again, and an interrupted collection goes on where it stopped, also if the videos not counted
            yet were replaced; None for none.
        progress: told what is being done.
        threads: of ONNX Runtime; None for all cores.

    Raises:
        SourceError: if a video cannot be read, or is damaged where `clips` refuse that, naming it; what was collected
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
    """Do what `collect` does for some activations of a graph that may be in memory only.

    The graph runs block by block on one clip after the other: what must be held is one block's activations.

    Args:
        view: the graph.
        names: the activations.
        clips: see `collect`.
        key: tells this graph from all others; the statistics of another are not used.
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
    saved_s = time.monotonic()
    try:
        for index, clip in enumerate(clips):
            if index < len(statistics.clips):
                continue
            progress("reading activation ranges", index + 1, len(clips))
            statistics = _add(statistics, segments, clip, identities[index])
            if cache and time.monotonic() - saved_s > SAVE_EVERY_S:
                statistics.save(cache, key)
                saved_s = time.monotonic()
    finally:
        if cache and statistics.clips:
            statistics.save(cache, key)
    return statistics


def cache_file(cache: Path, clips: ClipSet) -> Path:
    """Return a file of these clips alone, so that those of several sets stay beside each other.

    It is named by which clips they are, not by what is in the videos: one that is replaced keeps what was collected
    from those before it.
    """
    files = [str(file.resolve()) for file in clips.files]
    return cache.with_name(f"{cache.stem}-{_digest([_made(clips), files, clips.windows])}{cache.suffix}")


def _cached(cache: Path | None, key: str, identities: list[str], warn: Warn) -> Statistics | None:
    """Return what the cache has, if that is the beginning of what is wanted."""
    if cache is None or not cache.exists():
        return None
    try:
        found = Statistics.load(cache, key)
        if found.clips != tuple(identities[: len(found.clips)]):
            raise ExportError(f"{cache} is of videos that were changed since")
    except ExportError as error:
        warn(f"{error}; the statistics are collected again")
        return None
    return found


def _identities(clips: ClipSet) -> list[str]:
    """Return what identifies each clip: its video's name, size and time, the window, and how clips are made."""
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
    """Return how clips are made of videos."""
    spec = clips.spec
    return [vars(spec.geometry), spec.rate_fps, spec.resize, spec.sampling]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _add(statistics: Statistics, segments: list[_Segment], clip: Clip, identity: str) -> Statistics:
    """Return the statistics with one more clip; a new object, so that an interrupt leaves no half of a clip."""
    found: dict[str, TensorStatistics] = {}
    values: dict[str, NDArray[Any]] = {"frames": clip.frames[None]}
    for segment in segments:
        values |= segment.run(values)
        for name in segment.watched:
            try:
                found[name] = TensorStatistics.of(values[name])
            except ValueError as error:
                raise ExportError(f"activation '{name}' has {error} on {clip.source}; INT8 cannot hold them") from error
        values = {name: values[name] for name in segment.needed_later}
    tensors = {name: tensor + found[name] for name, tensor in statistics.tensors.items()}
    return Statistics(tensors, (*statistics.clips, identity))


class _Segment:
    """A stretch of nodes as a graph of its own, for one clip.

    Attributes:
        watched: activations to count.
        needed_later: tensors that this segment has or makes, and later ones take.
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
    """Cut the graph where a block ends and there is enough to hold."""
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
    later: set[str] = set()
    for nodes in reversed(stretches):  # from the end, as that tells what is needed later
        made = {name for node in nodes for name in node.output}
        watched = [name for node in nodes for name in node.output if name in names]
        if watched or found:  # nothing is run after the last one
            found.insert(0, _Segment(view, nodes, watched, later, threads))
            later = (later - made) | set(found[0].inputs)
    return found


def _value(view: GraphView, name: str) -> onnx.ValueInfoProto:
    kind = TensorProto.UINT8 if name == "frames" else TensorProto.FLOAT
    return onnx.helper.make_tensor_value_info(name, kind, view.shapes[name])
