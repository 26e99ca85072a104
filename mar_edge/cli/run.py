"""`mar-edge run`: live recognition of one or many streams."""

from __future__ import annotations

from typing import Annotated

import typer

from mar_edge.cli.endings import interrupt_on_signals
from mar_edge.cli.options import (
    EngineOption,
    ForceOption,
    JsonOption,
    MaskOption,
    ModelOption,
    PrecisionOption,
)


def run(
    camera: Annotated[int | None, typer.Option("--camera", min=0, metavar="N", help="Camera number.")] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--source",
            metavar="URI",
            help="A network camera (rtsp://, http://), a video file, a folder of images, a pipe ('-' for stdin), a camera's "
            "device, 'demo', and others; repeat it for several streams.",
        ),
    ] = None,
    model: ModelOption = "egomotion",
    engine: EngineOption = "auto",
    mask: MaskOption = "auto",
    precision: PrecisionOption = "auto",
    hop: Annotated[
        int | None, typer.Option("--hop", min=1, metavar="FRAMES", help="Sampled frames between two inferences.")
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option("--max-seconds", min=0, metavar="S", help="Stop after this many seconds.")
    ] = None,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Play files as if they were live, with all that is dropped then.")
    ] = False,
    max_age_ms: Annotated[
        float, typer.Option("--max-age-ms", min=1, metavar="MS", help="Skip live windows that are older than this.")
    ] = 500.0,
    max_retries: Annotated[
        int | None,
        typer.Option(
            "--max-retries", min=0, metavar="N", help="Failed attempts in a row that end a live stream; default: never."
        ),
    ] = None,
    json: JsonOption = None,
    force: ForceOption = False,
    show: Annotated[bool, typer.Option("--show", help="Open a window with the picture and the labels.")] = False,
) -> None:
    """Recognise actions in cameras, files or the demo, until they end or you press Ctrl-C."""
    interrupt_on_signals()  # a stop by a service manager and a closed terminal end it as cleanly as Ctrl-C
    sources = [*([camera] if camera is not None else []), *(source or [])]
    if not sources or (camera is not None and source):
        raise typer.BadParameter("give either --camera N or --source URI", param_hint="--camera / --source")
    from mar_edge.cli.live_run import LiveRun, StreamPlan
    from mar_edge.cli.options import load_model

    loaded = load_model(model, engine, mask, precision)
    plans = [
        StreamPlan(
            source=one,
            model=loaded,
            options={
                "hop": hop,
                "max_s": max_seconds,
                "realtime": realtime,
                "max_age_s": max_age_ms / 1000,
                "max_retries": max_retries,
            },
        )
        for one in sources
    ]
    live = LiveRun(plans, show=show, print_events=json is None)
    if json is not None:
        from mar_edge.runtime.sinks.json_lines import JsonLinesSink

        live.add_sink(JsonLinesSink(json, force=force, inputs=[*map(str, sources), model]))
    live.run()
