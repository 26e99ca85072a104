"""`mar-edge classify`: video files as clips."""

from __future__ import annotations

from typing import Annotated

import typer

from mar_edge.cli.json_output import json_output
from mar_edge.cli.options import (
    EngineOption,
    ForceOption,
    JsonOption,
    MaskOption,
    ModelOption,
    PrecisionOption,
    ViewsOption,
    load_model,
    read_views,
)
from mar_edge.counting import counted, counted_of


def classify(
    clips: Annotated[
        list[str], typer.Argument(metavar="CLIP...", help="Video files; for cameras and pipes use mar-edge run.")
    ],
    model: ModelOption = "egomotion",
    engine: EngineOption = "auto",
    mask: MaskOption = "auto",
    precision: PrecisionOption = "auto",
    views: ViewsOption = None,
    json: JsonOption = None,
    force: ForceOption = False,
) -> None:
    """Classify video files.

    A clip shorter than a window is filled by repeating its last frame; of a streaming model, as egomotion is, only a clip
    shorter than one time step.
    """
    from mar_edge.console import Console
    from mar_edge.errors import MarEdgeError

    console = Console()
    wanted = read_views(views)
    loaded = load_model(model, engine, mask, precision)
    failed: list[str] = []
    with json_output(json, force=force, inputs=clips) as sink:
        for clip in clips:
            try:
                result = loaded.classify(clip, views=wanted)
            except MarEdgeError as error:
                if sink is not None:
                    sink({"type": "warning", "stream": clip, "message": str(error)})
                if len(clips) == 1:
                    raise
                failed.append(clip)
                console.say(f"mar-edge: {error}", "red")
                continue
            for note in result.warnings:
                console.say(f"warning: {note}", "yellow")
                if sink is not None:
                    sink({"type": "warning", "stream": clip, "message": note})
            if sink is not None:
                sink(result.to_json())
            best = "  ".join(f"{label} {score:.1%}" for label, score in result.top(3))
            if not result.reliable:
                best = f"no reliable answer, {result.doubt}; best guess: {best}"
            console.say(f"{clip}: {best}  ({counted(result.views, 'view')})")
    if failed:
        raise MarEdgeError(
            f"{counted_of(len(failed), len(clips), 'clip')} could not be classified: {', '.join(failed)}"
        )
