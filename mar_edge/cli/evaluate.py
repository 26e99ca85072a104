"""`mar-edge evaluate`: a model on labelled videos."""

from __future__ import annotations

import platform
import shlex
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mar_edge.cli.options import (
    EngineOption,
    ForceOption,
    JsonOption,
    MaskOption,
    PrecisionOption,
    ViewsOption,
    mask_percent,
    read_views,
)
from mar_edge.cli.progress_bar import progress_bar
from mar_edge.files.graph_files import hash_file, hash_graph
from mar_edge.version import __version__

if TYPE_CHECKING:
    from mar_edge.datasets.video_list import VideoList
    from mar_edge.evaluation.metrics import Evaluation
    from mar_edge.runtime.model import Model


def evaluate(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A built-in model, a bundle's folder, or a checkpoint (.safetensors)."),
    ],
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            metavar="DATA",
            help="Labelled videos: a CSV with the columns path and label, a list 'path label', or a folder per class.",
        ),
    ],
    root: Annotated[
        Path | None,
        typer.Option("--root", metavar="DIR", help="What paths in DATA start from; default: its own folder."),
    ] = None,
    views: ViewsOption = None,
    engine: EngineOption = "auto",
    mask: MaskOption = "auto",
    precision: PrecisionOption = "auto",
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave out videos that cannot be read, and name them.")
    ] = False,
    json: JsonOption = None,
    force: ForceOption = False,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE.html", help="Write a report with pictures.")
    ] = None,
) -> None:
    """Judge a model on labelled videos: accuracy and its interval, confusion, calibration."""
    from rich.console import Console

    from mar_edge.cli.evaluation_tables import print_evaluation
    from mar_edge.evaluation import evaluation as evaluations
    from mar_edge.evaluation.report import check_report_path, write_report
    from mar_edge.extras import require
    from mar_edge.runtime.sinks.json_lines import JsonLines

    console = Console(stderr=True, highlight=False)
    wanted = read_views(views)
    if report is not None:
        require("matplotlib", "train")
        check_report_path(report, force=force)
    with ExitStack() as stack:
        sink = None
        if json is not None:
            sink = JsonLines(json, force=force)
            stack.callback(sink.close)
        loaded = evaluations.open_model(model, engine=engine, mask=mask_percent(mask), precision=precision)
        with progress_bar(console) as progress:
            videos = evaluations.read_videos(data, loaded.labels, root=root, progress=progress)
        console.print(f"{_name(loaded)} on {data}: {len(videos.videos)} videos", markup=False, soft_wrap=True)
        with progress_bar(console) as progress:
            result = evaluations.evaluate(
                loaded,
                videos,
                views=wanted,
                skip_broken=skip_broken,
                progress=progress,
            )
        print_evaluation(result, console)
        if sink is not None:
            for message in result.warnings:
                sink({"type": "warning", "stream": str(data), "message": message})
            for record in result.clips_json():
                sink(record)
            sink({**result.to_json(), **_record(loaded, videos)})
    if report is not None:
        write_report(
            report,
            title=f"{loaded.spec.name}: evaluation",
            facts=_facts(loaded, videos, result),
            evaluation=result,
            pictures=lambda index: evaluations.show(result.paths[index]),
            force=force,
        )
        console.print(f"report: {report}", markup=False, soft_wrap=True)


def _name(model: Model) -> str:
    variant = model.variant
    return f"{model.spec.name} ({model.engine.name}, mask {variant.mask} %, {variant.precision}, {variant.gmacs:.4g} GMACs)"


def _record(model: Model, videos: VideoList) -> dict[str, Any]:
    """Say in JSON what was judged, and on what."""
    variant = model.variant
    return {
        "model": model.spec.name,
        "file": str(model.engine.path),
        "sha256": _sha256(model.engine.path),
        "engine": model.engine.name,
        "mask": variant.mask,
        "precision": variant.precision,
        "gmacs": variant.gmacs,
        "data": str(videos.source),
        "data_digest": videos.digest,
    }


def _facts(model: Model, videos: VideoList, evaluation: Evaluation) -> dict[str, str]:
    """Say in words what was judged, and on what."""
    spec, variant = model.spec, model.variant
    size = f"{spec.geometry.frames} frames of {spec.geometry.width_px}x{spec.geometry.height_px} px"
    spread = "spread over the whole video" if spec.sampling == "uniform" else f"at {spec.rate_fps:g} a second"
    views = (
        "default" if evaluation.views is None else f"{evaluation.views[0]} clips x {evaluation.views[1]} crops a video"
    )
    a_clip = evaluation.windows / len(evaluation.names)
    return {
        "model": f"{spec.name}: {spec.description}" if spec.description else spec.name,
        "file": f"{model.engine.path}\nsha256 {_sha256(model.engine.path)}",
        "runs as": f"mask {variant.mask} %, {variant.precision}, in {model.engine.name}",
        "trained by": str(spec.provenance.get("command", "unknown")),
        "data": f"{videos.source}: {len(evaluation.names)} videos\ndigest {videos.digest}",
        "sampling": f"{size} {spread}; {spec.resize}; views: {views}",
        "work": f"{variant.gmacs:.4g} GMACs a view, {variant.gmacs * a_clip:.4g} a video ({a_clip:.3g} views)",
        "time": f"{evaluation.elapsed_s:.1f} s, with decoding",
        "command": shlex.join(["mar-edge", *sys.argv[1:]]),
        "versions": f"mar-edge {__version__}, Python {platform.python_version()}, {platform.platform()}",
    }


def _sha256(path: Path) -> str:
    """Return the hash of a checkpoint, or of a graph with its weights."""
    return hash_graph(path) if path.suffix == ".onnx" else hash_file(path)
