"""`mar-edge record`: makes labelled clips from a camera, by key or by timer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mar_edge.cli.endings import interrupt_on_signals
from mar_edge.cli.json_output import json_output
from mar_edge.cli.options import ForceOption, JsonOption
from mar_edge.cli.recording.keys import has_keys
from mar_edge.cli.run import CameraOption, ShowOption, StdinFormatOption
from mar_edge.errors import SourceError
from mar_edge.printable import typed

if TYPE_CHECKING:
    from mar_edge.cli.views.recording_view import RecordingView
    from mar_edge.cli.views.window import Windows
    from mar_edge.datasets.recording.label_folder import LabelFolder
    from mar_edge.runtime.sinks.json_lines import JsonLines

BEFORE_S = 0.5
SHOWN_CLASSES = 20

LabelOption = Annotated[str, typer.Option("--label", metavar="NAME", help="The class that the clips show.")]
OutOption = Annotated[
    Path, typer.Option("-o", "--out", metavar="FOLDER", help="Folder of classes; clips go to FOLDER/NAME.")
]
SourceOption = Annotated[
    str | None,
    typer.Option(
        "--source",
        metavar="URI",
        help="Any source of mar-edge run: a network camera, a camera's device, a pipe, 'demo', or a file.",
    ),
]
SecondsOption = Annotated[float, typer.Option("--seconds", min=0.2, max=600, metavar="S", help="Length of a clip.")]
EveryOption = Annotated[
    float | None,
    typer.Option(
        "--every",
        max=3600,
        metavar="S",
        help="Begin a clip every S seconds, counted down; without it the space or the enter key begins one.",
    ),
]
BeforeOption = Annotated[
    float | None,
    typer.Option("--before", min=0, max=60, metavar="S", help="Seconds of a clip from before the key; 0.5 by default."),
]
CountOption = Annotated[int | None, typer.Option("--count", min=1, metavar="N", help="Stop after N clips.")]
RecordingOption = Annotated[
    int | None,
    typer.Option(
        "--recording",
        min=1,
        max=9999,
        metavar="N",
        help="Go on with this recording, of the same person and place; default: a new one.",
    ),
]


def record(
    label: LabelOption,
    out: OutOption,
    camera: CameraOption = None,
    source: SourceOption = None,
    stdin_format: StdinFormatOption = None,
    seconds: SecondsOption = 3.0,
    every: EveryOption = None,
    before: BeforeOption = None,
    count: CountOption = None,
    recording: RecordingOption = None,
    show: ShowOption = False,
    json: JsonOption = None,
    force: ForceOption = False,
) -> None:
    """Record clips of one class for training: a key or a timer begins each; d deletes the last one, q ends."""
    wanted = source if camera is None else camera
    if wanted is None or None not in (source, camera):
        raise typer.BadParameter("give either --camera N or --source URI", param_hint="--camera / --source")
    _check_times(seconds, every, before, keys=has_keys() or show)
    interrupt_on_signals()
    windows = _windows(show)  # before PyAV is imported: with its libraries loaded first, OpenCV's first window hangs
    from mar_edge.cli.recording.recording_loop import Plan, RecordingLoop
    from mar_edge.cli.views.recording_view import RecordingView
    from mar_edge.datasets.recording.clip_recorder import ClipRecorder
    from mar_edge.datasets.recording.label_folder import LabelFolder
    from mar_edge.datasets.recording.live_frames import LiveFrames
    from mar_edge.runtime.sources.open import open_source

    # a person follows the picture, so a file is played as it was taken; a timer follows the times of its frames
    frames = LiveFrames(open_source(wanted, realtime=every is None, stdin_format=stdin_format))
    folder = LabelFolder(out, label, recording=recording)
    before_s = 0.0 if every is not None else min(BEFORE_S, seconds / 2) if before is None else before
    recorder = ClipRecorder(folder, length_s=seconds, before_s=before_s)
    view = RecordingView(f"{label}, recording {folder.recording}", _keys_line(every, show))
    plan = Plan(length_s=seconds, every_s=every, count=count)
    with json_output(json, force=force, inputs=[source]) as sink:
        loop = RecordingLoop(frames, folder, recorder, plan, view=view, tell=sink, windows=windows)
        try:
            loop.run()
        except SourceError:
            if folder.kept:
                view.say(f"What was recorded stays. To go on with this recording add --recording {folder.recording}")
            raise
        finally:
            if loop.began:
                _summarise(folder, view, sink)
    if loop.interrupted:
        raise typer.Exit(130)


def _windows(show: bool) -> Windows | None:
    if not show:
        return None
    from mar_edge.cli.views.window import Windows

    return Windows()


def _check_times(seconds: float, every: float | None, before: float | None, *, keys: bool) -> None:
    """Check that clips can be begun, and that their times fit together.

    Raises:
        BadParameter: if not.
    """
    if every is None and not keys:
        raise typer.BadParameter(
            "there is no terminal in which a key could begin a clip; give --every 5 for a timer", param_hint="--every"
        )
    if every is not None and not every >= seconds:  # nan, too
        raise typer.BadParameter(
            f"a clip takes {seconds:g} s, so one cannot begin every {every:g} s; give --every {seconds + 2:g} or shorter "
            "--seconds",
            param_hint="--every",
        )
    if before is not None and every is not None:
        raise typer.BadParameter("it is for clips that a key begins; leave it or --every out", param_hint="--before")
    if before is not None and before >= seconds:
        raise typer.BadParameter(
            f"a clip takes {seconds:g} s, so fewer of them can lie before the key", param_hint="--before"
        )


def _keys_line(every: float | None, show: bool) -> str:
    if not (has_keys() or show):
        return "Ctrl-C: end"
    begin = "" if every is not None else "space or enter: record   "
    return f"{begin}d: delete the last   q: end"


def _summarise(folder: LabelFolder, view: RecordingView, sink: JsonLines | None) -> None:
    """Say what lies in the folder of classes, and what to do next."""
    from mar_edge.counting import counted
    from mar_edge.datasets.recording.label_folder import count_clips

    counts = count_clips(folder.out)
    total = sum(counts.values())
    if sink is not None:
        sink({"type": "summary", "clips": folder.kept, "deleted": folder.deleted, "labels": counts})
    if not total:
        view.say(f"no clip was recorded; {folder.out} has none")
        return
    named = [f"{label} {count}" for label, count in counts.items()][:SHOWN_CLASSES]
    more = [f"{counted(len(counts) - SHOWN_CLASSES, 'more class')}"] if len(counts) > SHOWN_CLASSES else []
    view.say(
        f"{counted(folder.kept, 'clip')} recorded; {folder.out} has {counted(total, 'clip')}: {', '.join(named + more)}"
    )
    if len(counts) == 1:
        view.say("A model tells classes apart: record another one, with another --label.")
    view.say(f"Run: mar-edge data check {typed(folder.out)}")
