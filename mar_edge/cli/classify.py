"""`mar-edge classify`: whole clips."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

import typer

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


def classify(
    clips: Annotated[
        list[str], typer.Argument(metavar="CLIP...", help="Video files; for cameras and pipes there is run.")
    ],
    model: ModelOption = "egomotion",
    engine: EngineOption = "auto",
    mask: MaskOption = "auto",
    precision: PrecisionOption = "auto",
    views: ViewsOption = None,
    json: JsonOption = None,
    force: ForceOption = False,
) -> None:
    """Classify whole clips; a clip shorter than a window is filled up by repeating its last frame."""
    from rich.console import Console

    from mar_edge.errors import MarEdgeError
    from mar_edge.runtime.sinks.json_lines import JsonLines

    console = Console(stderr=True, highlight=False)
    wanted = read_views(views)
    loaded = load_model(model, engine, mask, precision)
    failed: list[str] = []
    with ExitStack() as stack:
        sink = None
        if json is not None:
            sink = JsonLines(json, force=force)
            stack.callback(sink.close)
        for clip in clips:
            try:
                result = loaded.classify(clip, views=wanted)
            except MarEdgeError as error:
                if len(clips) == 1:
                    raise
                failed.append(clip)
                console.print(f"mar-edge: {error}", style="red", markup=False, soft_wrap=True)
                continue
            notes = list(result.warnings)
            if result.repeated_frames:
                how = "its frames were" if loaded.spec.sampling == "uniform" else "its last frame was"
                notes.append(
                    f"{clip} is {result.duration_s:.2f} s long, shorter than one window; {how} repeated "
                    f"{result.repeated_frames} times"
                )
            for note in notes:
                console.print(f"warning: {note}", style="yellow", markup=False, soft_wrap=True)
                if sink is not None:
                    sink({"type": "warning", "stream": clip, "message": note})
            if sink is not None:
                sink(result.to_json())
            best = "  ".join(f"{label} {score:.1%}" for label, score in result.top(3))
            console.print(f"{clip}: {best}  ({result.views} views)", markup=False, soft_wrap=True)
    if failed:
        raise MarEdgeError(f"{len(failed)} of {len(clips)} clips could not be classified: {', '.join(failed)}")
