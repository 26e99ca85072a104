"""`mar-edge evaluate`: a model on labelled videos."""

from __future__ import annotations

import platform
import shlex
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mar_edge.cli.data.options import GroupOption
from mar_edge.cli.json_output import json_output
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
from mar_edge.cli.views.progress_bar import progress_bar
from mar_edge.counting import counted
from mar_edge.errors import OptionError
from mar_edge.extras import require
from mar_edge.files.graph_files import hash_file, hash_graph
from mar_edge.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mar_edge.datasets.video_list import VideoList
    from mar_edge.evaluation.detection import Detection
    from mar_edge.evaluation.metrics import Evaluation
    from mar_edge.runtime.model import Model


ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="A built-in model, a bundle's folder, or a checkpoint (.safetensors).")
]
DataOption = Annotated[
    Path,
    typer.Option(
        "--data",
        metavar="DATA",
        help="Labelled videos: a CSV with the columns path and label, a list 'path label', or a folder per class.",
    ),
]
RootOption = Annotated[
    Path | None, typer.Option("--root", metavar="DIR", help="Folder that paths in DATA start from; default: its own.")
]
SkipBrokenOption = Annotated[
    bool, typer.Option("--skip-broken", help="Leave out videos that cannot be read, and name them.")
]
ReportOption = Annotated[
    Path | None, typer.Option("--report", metavar="FILE.html", help="Write a report with pictures.")
]
FalseAlarmsOption = Annotated[
    float | None,
    typer.Option(
        "--false-alarms",
        metavar="SHARE",
        help="Choose the onset of each class at which at most this share of the clips of other classes begin an event, such as 0.01.",
    ),
]
ClassOption = Annotated[
    list[str] | None,
    typer.Option("--class", metavar="LABEL", help="With --false-alarms: only for this class; repeat it for several."),
]
SetOnsetOption = Annotated[
    bool,
    typer.Option(
        "--set-onset",
        help="With --false-alarms: write the onsets into the bundle, so that run uses them. DATA must not be the test list.",
    ),
]


def evaluate(
    model: ModelArgument,
    data: DataOption,
    root: RootOption = None,
    views: ViewsOption = None,
    engine: EngineOption = "auto",
    mask: MaskOption = "auto",
    precision: PrecisionOption = "auto",
    skip_broken: SkipBrokenOption = False,
    group: GroupOption = None,
    false_alarms: FalseAlarmsOption = None,
    classes: ClassOption = None,
    set_onset: SetOnsetOption = False,
    json: JsonOption = None,
    force: ForceOption = False,
    report: ReportOption = None,
) -> None:
    """Evaluate a model on labelled videos: accuracy, its interval, confusion, calibration, and each class as a detector."""
    from mar_edge.cli.views.detection_tables import print_detection
    from mar_edge.cli.views.evaluation_tables import print_evaluation
    from mar_edge.console import Console
    from mar_edge.evaluation import evaluation as evaluations
    from mar_edge.evaluation.chosen_onsets import check_target, onsets_of, remarks_on_data, set_onsets
    from mar_edge.evaluation.detection import check_detection, detect

    console = Console()
    wanted = read_views(views)
    _check_options(report, force=force, inputs=[model, data], set_onset=set_onset, false_alarms=false_alarms)
    with json_output(json, force=force, inputs=[model, data]) as sink:
        loaded = evaluations.open_model(model, engine=engine, mask=mask_percent(mask), precision=precision)
        if set_onset:
            check_target(loaded)
        wish: dict[str, Any] = {"false_alarms": false_alarms, "classes": classes or ()}
        with progress_bar(console) as progress:
            videos = evaluations.read_videos(data, loaded.labels, root=root, progress=progress)
            check_detection(videos.counts(), loaded.spec.idle_label, **wish)
            console.say(f"{_name(loaded)} on {data}: {counted(len(videos.videos), 'video')}")
            result = evaluations.evaluate(
                loaded, videos, views=wanted, skip_broken=skip_broken, group=group, progress=progress
            )
        detection = detect(result, idle_label=loaded.spec.idle_label, onsets=onsets_of(loaded), **wish)
        remarks = remarks_on_data(loaded, result.paths, videos.digest, sets=set_onset)
        result = replace(result, warnings=(*result.warnings, *remarks))
        print_evaluation(result, console)
        print_detection(detection, console)
        if sink is not None:
            for record in _records(loaded, videos, result, detection):
                sink(record)
    if report is not None:
        _write_report(report, loaded, videos, result, detection, force=force)
        console.say(f"report: {report}")
    if set_onset:
        made = {"command": shlex.join(["mar-edge", *sys.argv[1:]]), "data": str(data), "data_digest": videos.digest}
        for said in set_onsets(loaded, detection, made):
            console.say(f"written into {model}: {said}")


def _check_options(
    report: Path | None, *, force: bool, inputs: list[str | Path], set_onset: bool, false_alarms: float | None
) -> None:
    """Check options before the model is loaded.

    Raises:
        OptionError: if an onset is to be set, but not said for how many false alarms.
        OutputError, MissingExtraError: if a report cannot be written.
    """
    from mar_edge.evaluation.report import check_report_path

    if set_onset and false_alarms is None:
        raise OptionError("--set-onset needs the share of false alarms to choose onsets for: add --false-alarms 0.01")
    if report is not None:
        require("matplotlib", "train")
        check_report_path(report, force=force, inputs=inputs)


def _write_report(
    path: Path, model: Model, videos: VideoList, result: Evaluation, detection: Detection, *, force: bool
) -> None:
    from mar_edge.evaluation.evaluation import show
    from mar_edge.evaluation.report import write_report

    write_report(
        path,
        title=f"{model.spec.name}: evaluation",
        facts=_facts(model, videos, result),
        evaluation=result,
        detection=detection,
        pictures=lambda index: show(result.paths[index]),
        force=force,
    )


def _name(model: Model) -> str:
    variant = model.variant
    return f"{model.spec.name} ({model.engine.name}, mask {variant.mask} %, {variant.precision}, {variant.gmacs:.4g} GMACs)"


def _records(model: Model, videos: VideoList, result: Evaluation, detection: Detection) -> Iterator[dict[str, Any]]:
    """Yield the JSON records: warnings, one record per clip, and the evaluation."""
    for message in result.warnings:
        yield {"type": "warning", "stream": str(videos.source), "message": message}
    yield from result.clips_json()
    yield {**result.to_json(), **_record(model, videos), "detection": detection.to_json()}


def _record(model: Model, videos: VideoList) -> dict[str, Any]:
    """Return the model and the data of the evaluation as JSON."""
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
    """Return the model and the data of the evaluation as text."""
    spec, variant = model.spec, model.variant
    size = f"{spec.geometry.frames} frames of {spec.geometry.width_px}x{spec.geometry.height_px} px"
    spread = "spread over the entire video" if spec.sampling == "uniform" else f"at {spec.rate_fps:g} per second"
    views = (
        "default"
        if evaluation.views is None
        else f"{counted(evaluation.views[0], 'clip')} x {counted(evaluation.views[1], 'crop')} per video"
    )
    a_clip = evaluation.windows / len(evaluation.names)
    return {
        "model": f"{spec.name}: {spec.description}" if spec.description else spec.name,
        "file": f"{model.engine.path}\nsha256 {_sha256(model.engine.path)}",
        "runs as": f"mask {variant.mask} %, {variant.precision}, in {model.engine.name}",
        "trained by": str(spec.provenance.get("command", "unknown")),
        "data": f"{videos.source}: {counted(len(evaluation.names), 'video')}\ndigest {videos.digest}",
        "sampling": f"{size} {spread}; {spec.resize}; views: {views}",
        "work": f"{variant.gmacs:.4g} GMACs per view, {variant.gmacs * a_clip:.4g} per video ({a_clip:.3g} views)",
        "time": f"{evaluation.elapsed_s:.1f} s, including decoding",
        "command": shlex.join(["mar-edge", *sys.argv[1:]]),
        "versions": f"mar-edge {__version__}, Python {platform.python_version()}, {platform.platform()}",
    }


@cache  # JSON and report state it, and a file of weights may be large
def _sha256(path: Path) -> str:
    """Return the hash of a checkpoint, or of a graph with its weights."""
    return hash_graph(path) if path.suffix == ".onnx" else hash_file(path)
