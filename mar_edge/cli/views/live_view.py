"""The live view in the terminal: top labels as bars, rate, latency, dropped frames, last events."""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType

from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table

from mar_edge.console import Console, literal
from mar_edge.runtime.model import Model
from mar_edge.runtime.results import Event, Prediction
from mar_edge.runtime.sources.source import Frame

BAR_CELLS = 32
REFRESH_S = 0.1


class LiveView:
    """Draws the newest prediction in place.

    Args:
        model: the model.
        stream: name of the source.
        console: the console to draw on.
    """

    def __init__(self, model: Model, stream: str, console: Console) -> None:
        variant = model.variant
        self._title = f"mar-edge  {model.spec.name}  {stream}"
        self._foot = f"{model.engine.name}  mask {variant.mask} %  {variant.precision}  {variant.gmacs:.2f} GMACs"
        self._events: deque[Event] = deque(maxlen=4)
        self._times: deque[float] = deque(maxlen=60)
        self._prediction: Prediction | None = None
        self._frame: Frame | None = None
        self._drawn_s = 0.0
        self._live = Live(
            console=console, auto_refresh=False, transient=False, redirect_stdout=False, redirect_stderr=False
        )
        self._drawing = console.drawing(self._live)

    def __enter__(self) -> LiveView:
        """Start drawing."""
        self._drawing.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing; the last state stays visible."""
        self._drawing.__exit__(kind, error, trace)

    def add_event(self, event: Event) -> None:
        """Add an event to the list."""
        self._events.append(event)

    def update(self, frame: Frame, prediction: Prediction | None, *, dropped: int) -> None:
        """Record a frame, and draw at most ten times per second."""
        self.note(prediction)
        self._frame = frame
        if self._times[-1] - self._drawn_s >= REFRESH_S:
            self._drawn_s = self._times[-1]
            self._live.update(self.draw(frame, dropped=dropped), refresh=True)

    def finish(self, *, dropped: int) -> None:
        """Draw the last state."""
        if self._frame is not None:
            self._live.update(self.draw(self._frame, dropped=dropped), refresh=True)

    def note(self, prediction: Prediction | None) -> None:
        """Record a frame and its result, without drawing."""
        self._times.append(time.monotonic())
        self._prediction = prediction or self._prediction

    def draw(self, frame: Frame, *, dropped: int) -> Panel:
        """Return the current view."""
        bars = Table.grid(padding=(0, 1))
        shown = self._prediction
        for rank, (label, score) in enumerate(shown.top if shown else ()):
            style = "bold green" if rank == 0 else "dim"
            filled = round(score * BAR_CELLS)
            bar = literal("█" * filled, style="green" if rank == 0 else "blue") + literal(
                "░" * (BAR_CELLS - filled), style="dim"
            )
            bars.add_row(literal(label, style=style), bar, f"{score:5.1%}")
        if shown is None:
            bars.add_row(literal("filling the window …", style="dim"))
        span_s = self._times[-1] - self._times[0]
        rate = f"{(len(self._times) - 1) / span_s:.0f} frames/s" if span_s > 0 else "-"
        latency = f"{shown.latency_ms:.0f} ms" if shown else "-"
        state = f"{frame.time_s:7.2f} s   {rate}   latency {latency}   dropped {dropped}"
        if frame.truth is not None:
            state += f"   scripted: {frame.truth}"
        events = [
            literal(f"{e.start_s:7.2f} - {e.end_s:.2f} s  {e.label}  {e.score:.2f}", style="cyan") for e in self._events
        ]
        return Panel(
            Group(bars, literal(""), literal(state), *events),
            title=literal(self._title),
            subtitle=literal(self._foot),
            title_align="left",
            subtitle_align="left",
            width=78,
        )
