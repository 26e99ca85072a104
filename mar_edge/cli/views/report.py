"""The output of `mar-edge run`: JSON records, the live view, the window, warnings, and the summary at the end."""

from __future__ import annotations

import statistics
import time
from collections import deque
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from mar_edge.cli.views.live_view import LiveView
from mar_edge.cli.views.scoreboard import Scoreboard
from mar_edge.console import Console, literal
from mar_edge.counting import counted
from mar_edge.runtime.model import Model
from mar_edge.runtime.results import Event, Prediction
from mar_edge.runtime.sinks.sink import Sink
from mar_edge.runtime.sources.source import Frame, Source
from mar_edge.runtime.streams.session import Session

LATENCIES = 10_000


class Report:
    """Reports one run.

    Args:
        model: the model.
        source: the source.
        session: the session.
        sink: receives the JSON records; None for no JSON.
        show: whether to open a window.

    Attributes:
        closed: whether the user closed the window.
    """

    def __init__(self, model: Model, source: Source, session: Session, sink: Sink | None, *, show: bool) -> None:
        self.console = Console()
        self.closed = False
        self._model, self._source, self._session, self._sink = model, source, session, sink
        self._latency_ms: deque[float] = deque(maxlen=LATENCIES)
        self._began = False
        self._events = 0
        self._warnings = 0
        self._last_time_s = 0.0
        self._began_s = time.monotonic()
        self._stack = ExitStack()
        self._scoreboard = Scoreboard(model.spec.window_s)
        self._view = LiveView(model, source.name, self.console) if self.console.is_terminal else None
        self._window = None
        if show:
            from mar_edge.cli.views.window import Window

            self._window = Window(f"mar-edge: {source.name}")

    def __enter__(self) -> Report:
        """Start the live view."""
        if self._view is not None:
            self._stack.enter_context(self._view)
        if self._window is not None:
            self._stack.callback(self._window.close)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the live view and the window."""
        self._stack.close()

    def add(self, frame: Frame, prediction: Prediction | None) -> None:
        """Report the results of a frame, and with the first one the engine, the graph and the reason."""
        if not self._began:
            self._began = True
            variant = self._model.variant
            line = f"{self._model.spec.name}: {variant.precision} at mask {variant.mask} in {self._model.engine.name}"
            self.console.say(f"{line}, {self._model.reason}", "dim")
        self._last_time_s = frame.time_s
        self._tell_warnings()
        if prediction is not None:
            self._latency_ms.append(prediction.latency_ms)
            self._emit(prediction.to_json())
            self._tell_events(prediction.events)
            if frame.truth is not None:
                self._scoreboard.add(prediction.time_s, frame.truth, prediction.label)
        if frame.truth is not None:
            self._scoreboard.see(frame.time_s, frame.truth)
        if self._view is not None:
            self._view.update(frame, prediction, dropped=self._source.dropped)
        if self._window is not None:
            self.closed = not self._window.draw(frame, prediction)

    def say(self, message: str) -> None:
        """Print what the source waits for; not a record."""
        self.console.say(message, "dim")

    def finish(self) -> None:
        """Report the remaining results and the summary."""
        self._tell_warnings()
        self._tell_events(self._session.finish())
        if not self._session.inferences:
            window_s = self._model.spec.window_s
            if not self._session.frames:
                why = "no frame arrived, so nothing was recognised"
            elif self._last_time_s < window_s:
                why = (
                    f"{self._last_time_s:.2f} s received, shorter than one window of {window_s:.2f} s; nothing was recognised. "
                    "For a short clip run: mar-edge classify CLIP, which repeats frames"
                )
            else:
                why = f"no {window_s:.2f} s without a gap, so nothing was recognised; it has too few frames or too many gaps"
            self._warn(f"{self._source.name}: {why}")
        if self._view is not None:
            self._view.finish(dropped=self._source.dropped)
        summary = self._summary()
        self._emit(summary)
        self._stack.close()
        self.console.print(
            literal("")
            + literal(self._source.name, style="bold")
            + f": {counted(self._session.frames, 'frame')}, {counted(self._session.inferences, 'inference')}, "
            f"{counted(self._events, 'event')}, {summary['dropped']} dropped, "
            f"median latency {summary['latency_ms'] if summary['latency_ms'] is not None else '-'} ms"
        )
        if self._scoreboard.total:
            self._scoreboard.print(self.console)

    def _summary(self) -> dict[str, Any]:
        elapsed_s = time.monotonic() - self._began_s
        summary = {
            "type": "summary",
            "stream": self._source.name,
            "model": self._model.spec.name,
            "frames": self._session.frames,
            "inferences": self._session.inferences,
            "events": self._events,
            "warnings": self._warnings,
            "dropped": self._source.dropped,
            "source_s": round(self._last_time_s, 4),
            "elapsed_s": round(elapsed_s, 4),
            "latency_ms": round(statistics.median(self._latency_ms), 2) if self._latency_ms else None,
        }
        if self._scoreboard.total:
            summary["agreement"] = round(self._scoreboard.agreement, 4)
        return summary

    def _tell_events(self, events: tuple[Event, ...]) -> None:
        for event in events:
            self._events += 1
            self._emit(event.to_json())
            if self._view is not None:
                self._view.add_event(event)
            elif self._sink is None:
                line = f"{event.start_s:8.2f} - {event.end_s:8.2f} s  {event.label}  {event.score:.2f}"
                self.console.say(line)

    def _tell_warnings(self) -> None:
        for warnings in (self._source.warnings, self._session.warnings):
            for message in warnings.take():
                self._warn(message)

    def _warn(self, message: str) -> None:
        self._warnings += 1
        self._emit({"type": "warning", "stream": self._source.name, "message": message})
        self.console.say(f"warning: {message}", "yellow")

    def _emit(self, record: dict[str, Any]) -> None:
        if self._sink is not None:
            self._sink(record)
