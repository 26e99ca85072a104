"""What `mar-edge run` prints for people: the live view, events, warnings, and a summary of each stream at its end."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from mar_edge.cli.views.live_view import LiveView, drops
from mar_edge.cli.views.scoreboard import print_score
from mar_edge.console import Console, literal
from mar_edge.counting import counted
from mar_edge.runtime.results import EventEnded, EventStarted, Kind, Notice, Prediction, Record, StreamStatus


class Terminal:
    """A sink for a person. Lines are printed as records come; the live view is drawn when the program says so.

    Args:
        title: of the live view.
        foot: below it.
        events: print a line for each event where there is no live view.
    """

    wants: frozenset[Kind] = frozenset(("prediction", "event", "notice", "summary"))

    def __init__(self, title: str, foot: str, *, events: bool) -> None:
        self.name = "the terminal"
        self.console = Console()
        self._events = events
        self._view = LiveView(title, foot, self.console) if self.console.is_terminal else None
        self._summaries: list[StreamStatus] = []

    def __enter__(self) -> Terminal:
        """Start the live view."""
        if self._view is not None:
            self._view.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the live view, and print the summaries of the streams that had a frame."""
        if self._view is not None:
            self._view.__exit__(kind, error, trace)
        for summary in self._summaries:
            if summary.frames or summary.code is None:
                self._summarise(summary)

    def say(self, line: str) -> None:
        """Print a line in passing."""
        self.console.say(line, "dim")

    def draw(self, streams: Sequence[StreamStatus]) -> None:
        """Draw the live view, if there is one."""
        if self._view is not None and streams:
            self._view.draw(streams)

    def write(self, record: Record) -> None:
        """Print what is printed at once, and take over the rest for the live view."""
        if isinstance(record, Notice):
            self.console.say(f"warning: {record.message}", "yellow")
        elif isinstance(record, StreamStatus):
            self._summaries.append(record)
        elif isinstance(record, (Prediction, EventStarted, EventEnded)):
            if self._view is not None:
                self._view.note(record)
            elif self._events and isinstance(record, EventEnded):
                self.console.say(f"{record.start_s:8.2f} - {record.end_s:8.2f} s  {record.label}  {record.score:.2f}")

    def close(self) -> None:
        """Nothing to close: the summaries come when the program ends."""

    def _summarise(self, stream: StreamStatus) -> None:
        latency = "-" if stream.latency_ms is None else f"{stream.latency_ms:.2f}"
        reused = f", {stream.reused} reused" if stream.reused else ""
        back = f", {counted(stream.reconnects, 'reconnect')}" if stream.reconnects else ""
        self.console.print(
            literal("")
            + literal(stream.stream, style="bold")
            + f": {counted(stream.frames, 'frame')}, {counted(stream.inferences, 'inference')}{reused}, "
            f"{counted(stream.events, 'event')}, {drops(stream.dropped)}{back}, median latency {latency} ms",
            soft_wrap=True,  # as `Console.say`
        )
        if stream.script is not None:
            print_score(self.console, stream.script, model=stream.model)
