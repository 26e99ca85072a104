"""`mar-edge run`: live recognition."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from mar_edge.cli.endings import interrupt_on_signals
from mar_edge.cli.options import (
    EngineOption,
    ForceOption,
    JsonOption,
    MaskOption,
    ModelOption,
    PrecisionOption,
    load_model,
)
from mar_edge.cli.standard_streams import print_line
from mar_edge.counting import counted

if TYPE_CHECKING:
    from mar_edge.cli.views.report import Report
    from mar_edge.runtime.sinks.background import Background
    from mar_edge.runtime.sinks.json_lines import JsonLines
    from mar_edge.runtime.sinks.sink import Sink
    from mar_edge.runtime.sources.source import Source
    from mar_edge.runtime.streams.session import Session


def run(
    camera: Annotated[int | None, typer.Option("--camera", min=0, metavar="N", help="Camera number.")] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--source", metavar="URI", help="A video file, a pipe ('-' for stdin), a camera's device, or 'demo'."
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
    json: JsonOption = None,
    force: ForceOption = False,
    show: Annotated[bool, typer.Option("--show", help="Open a window with the picture and the labels.")] = False,
) -> None:
    """Recognise actions in a camera, a file or the demo, until it ends or you press Ctrl-C."""
    if (camera is None) == (source is None):
        raise typer.BadParameter("give either --camera N or --source URI", param_hint="--camera / --source")
    from mar_edge.cli.views.report import Report
    from mar_edge.errors import MarEdgeError
    from mar_edge.runtime.sources.open import open_source

    interrupted = False
    interrupt_on_signals()  # a service manager's stop and a closed terminal end it as cleanly as Ctrl-C
    with ExitStack() as stack:
        opened = open_source(camera if camera is not None else str(source), say=lambda message: report.say(message))
        loaded = load_model(model, engine, mask, precision)
        session = loaded.session(stream=opened.name, hop=hop)
        sink = None if json is None else _open_sink(json, opened, stack, inputs=[source, model], force=force)
        report = Report(loaded, opened, session, sink, show=show)
        with report:
            try:
                _loop(opened, session, report, max_seconds)
            except KeyboardInterrupt:
                interrupted = True
            except MarEdgeError:
                if session.frames:  # no result until then is lost
                    report.finish()
                raise
            report.finish()
    if interrupted:
        raise typer.Exit(130)


def _open_sink(target: str, opened: Source, stack: ExitStack, *, inputs: Sequence[str | None], force: bool) -> Sink:
    """Open the target of `--json`, which the stack closes; a live source does not wait for it.

    Raises:
        OutputError: if it cannot be written, or is one of the inputs.
    """
    from mar_edge.cli.json_output import open_lines
    from mar_edge.runtime.sinks.background import Background
    from mar_edge.runtime.sources.open import waits_for_reader

    lines = open_lines(target, force=force, inputs=inputs)
    if waits_for_reader(opened):
        stack.callback(lines.close)
        return lines
    background = Background(lines, warn=opened.warnings)
    stack.callback(_close, background, lines)
    return background


def _close(background: Background, lines: JsonLines) -> None:
    if background.close():
        lines.close()
    if background.dropped:
        print_line(f"warning: {counted(background.dropped, 'JSON line', 'was', 'were')} not written")


def _loop(opened: Source, session: Session, report: Report, max_seconds: float | None) -> None:
    began_s = time.monotonic()
    with opened, _patience(opened, session, max_seconds):
        for frame in opened:
            live = frame.arrived_s is not None
            passed_s = time.monotonic() - began_s if live else frame.time_s
            if max_seconds is not None and passed_s > max_seconds:
                return
            result = session.push(
                frame.picture, frame.time_s, color=frame.color, arrived_s=frame.arrived_s, held=frame.held
            )
            report.add(frame, result)
            if report.closed:
                return


@contextmanager
def _patience(opened: Source, session: Session, max_seconds: float | None) -> Iterator[None]:
    """Stop a source without frames when the time is over: without a frame the clock is not checked elsewhere."""
    from mar_edge.runtime.sources.source import Stoppable

    if max_seconds is None or not isinstance(opened, Stoppable):
        yield
        return
    source = opened
    timer = threading.Timer(max_seconds, lambda: None if session.frames else source.stop())
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
