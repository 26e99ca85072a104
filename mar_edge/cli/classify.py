"""`mar-edge classify`: whole clips."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

import typer

from mar_edge.cli.options import EngineOption, JsonOption, MaskOption, ModelOption, PrecisionOption, load_model


def classify(
    clips: Annotated[list[str], typer.Argument(metavar="CLIP...", help="Video files.")],
    model: ModelOption = "egomotion",
    engine: EngineOption = "auto",
    mask: MaskOption = "auto",
    precision: PrecisionOption = "auto",
    views: Annotated[
        str | None,
        typer.Option(
            "--views",
            metavar="CLIPSxCROPS",
            help="Windows x crops to average, as 5x3; default: all that fit side by side.",
        ),
    ] = None,
    json: JsonOption = None,
) -> None:
    """Classify whole clips; a clip shorter than a window is filled up by repeating its last frame."""
    from rich.console import Console

    from mar_edge.errors import MarEdgeError
    from mar_edge.runtime.sinks import JsonLines

    console = Console(stderr=True, highlight=False)
    wanted = _views(views)
    loaded = load_model(model, engine, mask, precision)
    failed: list[str] = []
    with ExitStack() as stack:
        sink = None
        if json is not None:
            sink = JsonLines(json)
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
                notes.append(
                    f"{clip} is {result.duration_s:.2f} s long, shorter than one window; its last frame was repeated "
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


def _views(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    clips, x, crops = text.partition("x")
    if not (x and text.isascii() and clips.isdigit() and crops.isdigit()):
        raise typer.BadParameter(f"'{text}' is not CLIPSxCROPS, for instance 2x3", param_hint="--views")
    return int(clips), int(crops)
